//! Uses of API keys that are not written yet: requests note them here, without waiting, and the upkeep thread writes them each
//! minute (`key_uses`). So a key costs at most one write a minute, however often it is used.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::keys::{Beginning, KeyHash};
use crate::policy::time::UnixTime;

/// Keys that are noted at most; uses of others are not recorded until these are written.
pub const SIGHTINGS_MAX: usize = 1 << 20;
/// A later use is noted if it is so much later: each note costs other cores a cache miss.
const NOTED_EVERY_MS: u64 = 1_000;
/// So that cores seldom meet.
const SHARDS: usize = 64;

/// The last uses of keys since they were written. Never waits for a disk.
#[derive(Debug)]
pub struct KeySightings([RwLock<HashMap<KeyHash, Sighting>>; SHARDS]);

#[derive(Debug)]
struct Sighting {
    begins: Beginning,
    is_listed: bool,
    last_ms: AtomicU64,
}

/// The last use of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sighted {
    pub hash: KeyHash,
    pub begins: Beginning,
    /// Whether tiers.yaml lists the key; otherwise it is stored.
    pub is_listed: bool,
    pub last_used: UnixTime,
}

impl Default for KeySightings {
    fn default() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }
}

impl KeySightings {
    /// The key, which has that hash and is valid, was used.
    pub(super) fn used(&self, hash: &KeyHash, key: &[u8], is_listed: bool, now: UnixTime) {
        let (shard, now_ms) = (self.shard(hash), now.as_millis());
        if let Some(sighting) = shard.read().get(hash) {
            if now_ms >= sighting.last_ms.load(Ordering::Relaxed) + NOTED_EVERY_MS {
                sighting.last_ms.fetch_max(now_ms, Ordering::Relaxed);
            }
            return;
        }
        let mut shard = shard.write();
        if shard.len() >= SIGHTINGS_MAX / SHARDS {
            return;
        }
        let sighting = || Sighting {
            begins: Beginning::of(key),
            is_listed,
            last_ms: AtomicU64::new(0),
        };
        let sighting = shard.entry(*hash).or_insert_with(sighting);
        sighting.last_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// The key's last use, if it is not written yet.
    pub(super) fn of(&self, hash: &KeyHash) -> Option<Sighted> {
        let shard = self.shard(hash).read();
        shard.get(hash).map(|sighting| sighting.as_sighted(hash))
    }

    /// All uses that are not written yet.
    pub(super) fn unwritten(&self) -> Vec<Sighted> {
        let mut all = Vec::new();
        for shard in &self.0 {
            all.extend(shard.read().iter().map(|(hash, sighting)| sighting.as_sighted(hash)));
        }
        all
    }

    /// These uses are durable: forgets them, but for keys that were used again since.
    pub(super) fn written(&self, uses: &[Sighted]) {
        for used in uses {
            let mut shard = self.shard(&used.hash).write();
            let is_it = |sighting: &Sighting| sighting.last_ms.load(Ordering::Relaxed) == used.last_used.as_millis();
            if shard.get(&used.hash).is_some_and(is_it) {
                shard.remove(&used.hash);
            }
        }
    }

    fn shard(&self, hash: &KeyHash) -> &RwLock<HashMap<KeyHash, Sighting>> {
        &self.0[usize::from(hash[0]) % SHARDS]
    }
}

impl Sighting {
    fn as_sighted(&self, hash: &KeyHash) -> Sighted {
        Sighted {
            hash: *hash,
            begins: self.begins,
            is_listed: self.is_listed,
            last_used: UnixTime::from_millis(self.last_ms.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::hash;
    use super::*;

    const KEY: &[u8] = b"tg_abcdefghijklmnopqrstuvwxyz0123456789";

    fn at(ms: u64) -> UnixTime {
        UnixTime::from_millis(1_700_000_000_000 + ms)
    }

    #[test]
    fn a_key_is_known_by_its_beginning_and_last_use() {
        let (sightings, hash) = (KeySightings::default(), hash(KEY));
        assert_eq!(sightings.of(&hash), None);
        // Within a second it isn't noted again, and an earlier one never.
        for (used, last) in [(0_u64, 0), (999, 0), (1_000, 1_000), (10, 1_000), (5_000, 5_000)] {
            sightings.used(&hash, KEY, true, at(used));
            let sighted = sightings.of(&hash).expect("it was used");
            assert_eq!((sighted.last_used, sighted.is_listed), (at(last), true), "{used}");
            assert_eq!(sighted.begins.as_str(), "tg_abcd");
        }
    }

    #[test]
    fn what_is_written_is_forgotten_unless_used_since() {
        let sightings = KeySightings::default();
        let [one, other] = [hash(b"one"), hash(b"other")];
        sightings.used(&one, b"one", false, at(0));
        sightings.used(&other, b"other", false, at(0));
        let writing = sightings.unwritten();
        assert_eq!(writing.len(), 2);
        sightings.used(&other, b"other", false, at(2_000));
        sightings.written(&writing);
        assert_eq!(sightings.of(&one), None);
        let left = sightings.unwritten();
        assert_eq!(left.iter().map(|left| left.last_used).collect::<Vec<_>>(), [at(2_000)]);
    }
}
