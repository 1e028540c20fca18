//! When API keys were last used, and how they begin, so that operators can tell them apart. In memory only: a restart forgets it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::keys::KeyId;
use crate::policy::time::UnixTime;

/// Keys that are remembered.
pub const SIGHTINGS_MAX: usize = 1 << 20;
/// Characters of a key that are remembered, and of a short key at most a quarter.
pub const BEGINNING_CHARS_MAX: usize = 7;
/// A later use is noted if it is so much later: each note costs other cores a cache miss.
const NOTED_EVERY_MS: u64 = 1_000;
/// So that cores seldom meet.
const SHARDS: usize = 64;

/// What is remembered of valid keys that were presented or created.
#[derive(Debug)]
pub struct KeySightings([RwLock<HashMap<KeyId, Sighting>>; SHARDS]);

#[derive(Debug)]
struct Sighting {
    begins: Box<str>,
    /// Unix time; 0: not used yet.
    last_ms: AtomicU64,
}

impl Default for KeySightings {
    fn default() -> Self {
        Self(std::array::from_fn(|_| RwLock::default()))
    }
}

impl KeySightings {
    /// The key is valid and was used.
    pub(super) fn used(&self, id: KeyId, key: &[u8], now: UnixTime) {
        self.note(id, key, now.as_millis());
    }

    /// The key has been created.
    pub(super) fn created(&self, id: KeyId, key: &[u8]) {
        self.note(id, key, 0);
    }

    fn note(&self, id: KeyId, key: &[u8], now_ms: u64) {
        let shard = &self.0[id.shard(SHARDS)];
        if let Some(sighting) = shard.read().get(&id) {
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
            begins: beginning(key),
            last_ms: AtomicU64::new(0),
        };
        let sighting = shard.entry(id).or_insert_with(sighting);
        sighting.last_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// How the key begins, and when it was last used, as far as that is known.
    pub fn of(&self, id: KeyId) -> (Option<String>, Option<UnixTime>) {
        let shard = self.0[id.shard(SHARDS)].read();
        let Some(sighting) = shard.get(&id) else {
            return (None, None);
        };
        let last = sighting.last_ms.load(Ordering::Relaxed);
        let last = (last > 0).then(|| UnixTime::from_millis(last));
        (Some(sighting.begins.to_string()), last)
    }
}

/// Keys are visible ASCII; anything else can't be one.
fn beginning(key: &[u8]) -> Box<str> {
    let shown = BEGINNING_CHARS_MAX.min(key.len() / 4);
    String::from_utf8_lossy(&key[..shown]).into()
}

#[cfg(test)]
mod tests {
    use super::super::keys::hash;
    use super::*;

    #[test]
    fn a_key_is_known_by_its_beginning_and_last_use() {
        let (sightings, key) = (KeySightings::default(), b"tg_abcdefghijklmnopqrstuvwxyz0123456789");
        let id = KeyId::of(&hash(key));
        assert_eq!(sightings.of(id), (None, None));
        sightings.created(id, key);
        assert_eq!(sightings.of(id), (Some("tg_abcd".to_owned()), None));
        let at = |ms: u64| UnixTime::from_millis(1_700_000_000_000 + ms);
        // Within a second it isn't noted again, and an earlier one never.
        for (used, last) in [(0_u64, 0), (999, 0), (1_000, 1_000), (10, 1_000), (5_000, 5_000)] {
            sightings.used(id, key, at(used));
            assert_eq!(sightings.of(id).1, Some(at(last)), "{used}");
        }
    }

    #[test]
    fn little_of_a_short_key_is_shown() {
        assert_eq!(&*beginning(b"key-1"), "k");
        assert_eq!(&*beginning(b"abc"), "");
    }
}
