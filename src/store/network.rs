//! A network's entry, as operators set it: its own request limits, a note, a block.
//!
//! Blocks made by a rule are elsewhere: they are not stored. Nor is it checked whether a limit of a given name exists, since
//! tiers.yaml may have changed.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use super::account::{Bounds, Change, Illegal, NOTE, NOTE_BYTES_MAX, OWN_LIMIT, Rule, check_numbers};
use crate::policy::time::UnixTime;

/// Stored network entries, at most.
pub const NETWORKS_MAX: usize = 100_000;
/// The prefix length of the IPv6 network that one client is assumed to control.
const V6_BITS: u8 = 64;
/// Prefix lengths of IPv6 networks that may be IPv4-mapped (`::ffff:192.0.2.0/120`).
const MAPPED_BITS: RangeInclusive<u8> = 96..=128;

/// The reason for a block.
const WHY: Bounds = Bounds::of("a reason", Rule::Text(NOTE_BYTES_MAX));

/// A network's own request limits, by name.
pub type OwnNumbers = Arc<[(Arc<str>, u32)]>;

/// The entry of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkEntry {
    /// The network in [`canonical`] form.
    pub network: IpNet,
    /// Requests per window of the limit of that name: at most [`OWN_NUMBERS_MAX`](super::account::OWN_NUMBERS_MAX), each at most
    /// 1,000,000,000.
    pub limits: OwnNumbers,
    /// An operator's note, at most [`NOTE_BYTES_MAX`] bytes.
    pub note: Option<String>,
    /// Its block, if any.
    pub block: Option<Block>,
    /// Whether tiers.yaml blocks it, regardless of `block`.
    pub declared: bool,
}

/// A block of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// When it was blocked.
    pub since: UnixTime,
    /// When it ends; `None`: when it is unblocked.
    pub until: Option<UnixTime>,
    /// The reason, for operators; at most [`NOTE_BYTES_MAX`] bytes.
    pub why: Option<String>,
}

impl Block {
    /// Whether it has expired.
    pub fn is_over(&self, now: UnixTime) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// A change to a network's entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkChange {
    /// Request limits by name. `None` removes the network's own.
    pub limits: Vec<(Arc<str>, Option<u32>)>,
    /// The note.
    pub note: Change<String>,
    /// The block.
    pub block: Change<Block>,
}

impl NetworkEntry {
    /// An empty entry, unless tiers.yaml lists the network.
    pub fn bare(network: IpNet, declared: bool) -> Self {
        Self {
            network,
            limits: Arc::default(),
            note: None,
            block: None,
            declared,
        }
    }

    /// Whether the entry is empty, so that nothing is stored.
    pub fn is_bare(&self) -> bool {
        self.limits.is_empty() && self.note.is_none() && self.block.is_none()
    }

    /// Whether the network is blocked.
    pub fn is_blocked(&self, now: UnixTime) -> bool {
        self.declared || self.block.as_ref().is_some_and(|block| !block.is_over(now))
    }

    /// Whether it has an expired block.
    pub(super) fn has_block_over(&self, now: UnixTime) -> bool {
        self.block.as_ref().is_some_and(|block| block.is_over(now))
    }

    /// The same without an expired block.
    pub fn at(&self, now: UnixTime) -> Self {
        Self {
            block: self.block.clone().filter(|block| !block.is_over(now)),
            ..self.clone()
        }
    }

    /// The entry after that change, without an expired block.
    pub(super) fn changed(&self, change: &NetworkChange, now: UnixTime) -> Result<Self, Illegal> {
        let mut limits = self.limits.to_vec();
        for (name, number) in &change.limits {
            limits.retain(|(other, _)| other != name);
            limits.extend(number.map(|number| (Arc::clone(name), number)));
        }
        let old = self.at(now);
        let new = Self {
            limits: limits.into(),
            note: change.note.clone().of(old.note),
            block: change.block.clone().of(old.block),
            ..old
        };
        new.check()?;
        Ok(new)
    }

    fn check(&self) -> Result<(), Illegal> {
        let limits = self.limits.iter().map(|(name, number)| (&**name, u64::from(*number)));
        check_numbers(limits, OWN_LIMIT)?;
        let why = self.block.as_ref().and_then(|block| block.why.as_deref());
        self.note.as_deref().map_or(Ok(()), |note| NOTE.text(note))?;
        why.map_or(Ok(()), |why| WHY.text(why))
    }
}

/// The canonical form of a network: without host bits, and as IPv4 if it is IPv4-mapped. A shorter IPv6 prefix than /96 never
/// means IPv4 addresses.
///
/// ```
/// use tiergate::store::network::canonical;
/// let network = |text: &str| text.parse().unwrap();
/// assert_eq!(canonical(network("192.0.2.7/24")), network("192.0.2.0/24"));
/// assert_eq!(canonical(network("::ffff:192.0.2.7/120")), network("192.0.2.0/24"));
/// assert_eq!(canonical(network("::ffff:192.0.2.7/95")), network("::fffe:0:0/95"));
/// ```
pub fn canonical(network: IpNet) -> IpNet {
    let network = network.trunc();
    match (network, network.addr().to_canonical()) {
        (IpNet::V6(v6), IpAddr::V4(v4)) if MAPPED_BITS.contains(&v6.prefix_len()) => {
            let bits = v6.prefix_len() - MAPPED_BITS.start();
            Ipv4Net::new(v4, bits).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}

/// The network that an address alone stands for: an IPv4 address itself, or the /64 of an IPv6 address.
pub fn network_of(address: IpAddr) -> IpNet {
    let network = IpNet::from(address.to_canonical());
    match network {
        IpNet::V4(_) => network,
        IpNet::V6(_) => IpNet::new(network.addr(), V6_BITS).map_or(network, |network| network.trunc()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::account::OWN_NUMBERS_MAX;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn bare() -> NetworkEntry {
        NetworkEntry::bare("192.0.2.0/24".parse().expect("a network"), false)
    }

    fn block(until: Option<UnixTime>) -> Block {
        Block {
            since: UnixTime::from_secs(1),
            until,
            why: None,
        }
    }

    #[test]
    fn an_address_stands_for_its_callers_network() {
        let of = |text: &str| network_of(text.parse().expect("an address")).to_string();
        assert_eq!(of("192.0.2.7"), "192.0.2.7/32");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7/32");
        assert_eq!(of("2001:db8:1:2:3::4"), "2001:db8:1:2::/64");
    }

    #[test]
    fn a_change_affects_only_the_named_fields() {
        let first = NetworkChange {
            limits: vec![("http".into(), Some(300)), ("burst".into(), Some(0))],
            note: Change::Set("a school".to_owned()),
            block: Change::Set(block(None)),
        };
        let known = bare().changed(&first, NOW).expect("legal");
        let second = NetworkChange {
            limits: vec![
                ("http".into(), Some(400)),
                ("burst".into(), None),
                ("other".into(), None),
            ],
            ..NetworkChange::default()
        };
        let changed = known.changed(&second, NOW).expect("legal");
        assert_eq!(*changed.limits, [("http".into(), 400)]);
        assert_eq!((&changed.note, &changed.block), (&known.note, &known.block));
        let gone = NetworkChange {
            limits: vec![("http".into(), None)],
            note: Change::Clear,
            block: Change::Clear,
        };
        assert!(changed.changed(&gone, NOW).expect("legal").is_bare());
    }

    #[test]
    fn an_expired_block_is_removed_by_the_next_change() {
        let blocked = NetworkEntry {
            block: Some(block(Some(NOW))),
            ..bare()
        };
        let before = UnixTime::from_millis(NOW.as_millis() - 1);
        assert!(blocked.is_blocked(before) && !blocked.is_blocked(NOW));
        let unchanged = NetworkChange::default();
        assert_eq!(blocked.changed(&unchanged, before).as_ref(), Ok(&blocked));
        assert_eq!(blocked.changed(&unchanged, NOW), Ok(bare()));
    }

    #[test]
    fn out_of_range_values_are_reported() {
        let changed = |change: &NetworkChange| bare().changed(change, NOW).map(|_| ());
        let limits = |limits: Vec<(String, u32)>| NetworkChange {
            limits: limits
                .into_iter()
                .map(|(name, number)| (name.into(), Some(number)))
                .collect(),
            ..NetworkChange::default()
        };
        let many = |count| limits((0..count).map(|number| (format!("limit-{number}"), 1)).collect());
        assert_eq!(changed(&many(OWN_NUMBERS_MAX)), Ok(()));
        assert_eq!(
            changed(&many(OWN_NUMBERS_MAX + 1)),
            Err(Illegal(Bounds::of("a number for a request limit", Rule::Entries)))
        );
        let most = 1_000_000_000;
        assert_eq!(changed(&limits(vec![("http".to_owned(), most)])), Ok(()));
        assert_eq!(
            changed(&limits(vec![("http".to_owned(), most + 1)])),
            Err(Illegal(OWN_LIMIT))
        );
        let spaced = changed(&limits(vec![("h ttp".to_owned(), 1)])).map_err(|error| error.to_string());
        assert!(spaced.is_err_and(|error| error.contains("visible ASCII characters without spaces")));
        let long = "x".repeat(NOTE_BYTES_MAX + 1);
        let note = NetworkChange {
            note: Change::Set(long.clone()),
            ..NetworkChange::default()
        };
        assert_eq!(changed(&note), Err(Illegal(NOTE)));
        let why = NetworkChange {
            block: Change::Set(Block {
                why: Some(long),
                ..block(None)
            }),
            ..NetworkChange::default()
        };
        assert_eq!(changed(&why), Err(Illegal(WHY)));
    }
}
