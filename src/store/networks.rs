//! Network entries in memory: every request looks its address up here, even in a flood, without waiting for a disk.
//!
//! Each prefix length in use has a table, so a look-up takes as many steps as there are lengths, however many networks there
//! are. Without entries it takes no lock.
//!
//! Changes are checked, and durable, before they are made here.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::BuildHasherDefault;
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ipnet::IpNet;
use parking_lot::RwLock;

use super::network::{NetworkEntry, OwnNumbers, canonical};
use crate::policy::caller::NumberHasher;
use crate::policy::time::UnixTime;

/// What applies to a client's address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkTerms {
    /// Whether any network that contains it is blocked.
    pub blocked: bool,
    /// The limits of the narrowest network that contains it and has limits of its own.
    pub limits: Option<OwnNumbers>,
}

/// All network entries.
#[derive(Debug, Default)]
pub struct Networks {
    /// Whether a look-up could find anything. A request that misses a concurrent change counts as earlier.
    finds: AtomicBool,
    state: RwLock<NetworksState>,
}

/// Guarded by the lock, which is held for a look-up and never across an await.
#[derive(Debug, Default)]
struct NetworksState {
    /// The networks that tiers.yaml blocks.
    declared: BTreeSet<IpNet>,
    entries: BTreeMap<IpNet, Arc<NetworkEntry>>,
    /// The number of stored entries.
    stored: usize,
    v4: Vec<Length>,
    v6: Vec<Length>,
}

/// All networks of one prefix length. The longest comes first.
#[derive(Debug)]
struct Length {
    bits: u8,
    /// Only operators add entries, so the hasher need not resist flooding.
    slots: HashMap<Prefix, Slot, BuildHasherDefault<NumberHasher>>,
}

/// The upper and lower half of a prefix, with zero host bits. An IPv4 prefix is in the uppermost 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Prefix(u64, u64);

/// What requests need of an entry.
#[derive(Debug)]
struct Slot {
    /// The end of its block: the epoch without one, [`FOR_GOOD`] for a permanent one.
    blocked_until: UnixTime,
    limits: Option<OwnNumbers>,
}

/// Later than any clock.
const FOR_GOOD: UnixTime = UnixTime::from_millis(u64::MAX);

impl Networks {
    /// No entries but the networks that tiers.yaml blocks, for good.
    pub fn new(declared: Vec<IpNet>) -> Self {
        let networks = Self::default();
        networks.set_declared(declared);
        networks
    }

    /// Replaces the networks that tiers.yaml blocks, at once for all requests. Stored entries stay. Doesn't wait for the disk.
    pub fn set_declared(&self, declared: Vec<IpNet>) {
        let declared = declared.into_iter().map(canonical).collect();
        let mut state = self.state.write();
        state.set_declared(declared);
        self.finds.store(state.finds(), Ordering::Release);
    }

    /// What applies to that address at that time. An IPv4-mapped address counts as IPv4.
    pub fn find(&self, address: IpAddr, now: UnixTime) -> NetworkTerms {
        let mut terms = NetworkTerms::default();
        if !self.finds.load(Ordering::Acquire) {
            return terms;
        }
        let address = address.to_canonical();
        let whole = Prefix::of(address, u8::MAX);
        let state = self.state.read();
        for length in state.lengths(address) {
            if let Some(slot) = length.slots.get(&whole.cut(length.bits)) {
                terms.blocked |= now < slot.blocked_until;
                if terms.limits.is_none() {
                    terms.limits.clone_from(&slot.limits);
                }
            }
        }
        terms
    }

    /// The entry of exactly that network. Its block may have expired.
    pub fn get(&self, network: IpNet) -> Option<Arc<NetworkEntry>> {
        self.state.read().entries.get(&canonical(network)).cloned()
    }

    /// The entries of all networks that contain that one, its own first.
    pub fn around(&self, network: IpNet) -> Vec<Arc<NetworkEntry>> {
        let state = self.state.read();
        let wider = std::iter::successors(Some(canonical(network)), IpNet::supernet);
        wider
            .filter_map(|network| state.entries.get(&network).cloned())
            .collect()
    }

    /// Up to `limit` entries after that network, in the order of addresses: IPv4 first, and wider networks before those in them.
    pub fn page(&self, after: Option<IpNet>, limit: usize) -> Vec<Arc<NetworkEntry>> {
        let state = self.state.read();
        let after = after.map_or(Bound::Unbounded, |after| Bound::Excluded(canonical(after)));
        let entries = state.entries.range((after, Bound::Unbounded));
        entries.map(|(_, entry)| Arc::clone(entry)).take(limit).collect()
    }

    /// The number of stored entries, without networks that only tiers.yaml lists.
    pub fn len(&self) -> usize {
        self.state.read().stored
    }

    /// Whether no entry is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An empty entry for that network.
    pub(super) fn bare(&self, network: IpNet) -> NetworkEntry {
        NetworkEntry::bare(network, self.state.read().declared.contains(&network))
    }

    /// Stored entries with an expired block, as they should be now.
    pub(super) fn over(&self, now: UnixTime) -> Vec<Arc<NetworkEntry>> {
        let state = self.state.read();
        let over = state.entries.values().filter(|entry| entry.has_block_over(now));
        over.map(|entry| Arc::new(entry.at(now))).collect()
    }

    /// Applies these entries, at once for all requests.
    pub(super) fn take(&self, entries: &[Arc<NetworkEntry>]) {
        let mut state = self.state.write();
        for entry in entries {
            state.put(entry);
        }
        self.finds.store(state.finds(), Ordering::Release);
    }

    /// Replaces all stored entries; declared networks stay.
    pub(super) fn restore(&self, stored: Vec<NetworkEntry>) {
        let mut new = NetworksState::default();
        new.set_declared(self.state.read().declared.clone());
        for entry in stored {
            new.put(&Arc::new(entry));
        }
        let mut state = self.state.write();
        // The list may have changed meanwhile.
        new.set_declared(std::mem::take(&mut state.declared));
        *state = new;
        self.finds.store(state.finds(), Ordering::Release);
    }
}

impl NetworksState {
    fn lengths(&self, address: IpAddr) -> &[Length] {
        match address {
            IpAddr::V4(_) => &self.v4,
            IpAddr::V6(_) => &self.v6,
        }
    }

    fn finds(&self) -> bool {
        !(self.v4.is_empty() && self.v6.is_empty())
    }

    fn set_declared(&mut self, declared: BTreeSet<IpNet>) {
        let before = std::mem::replace(&mut self.declared, declared);
        let changed: Vec<IpNet> = before.symmetric_difference(&self.declared).copied().collect();
        for network in changed {
            let entry = self.entries.get(&network).cloned();
            self.put(&entry.unwrap_or_else(|| Arc::new(NetworkEntry::bare(network, false))));
        }
    }

    /// Applies an entry. Whether it is declared comes from the current list, which may be newer than the entry.
    fn put(&mut self, entry: &Arc<NetworkEntry>) {
        let declared = self.declared.contains(&entry.network);
        let entry = &match entry.declared == declared {
            true => Arc::clone(entry),
            false => Arc::new(NetworkEntry {
                declared,
                ..NetworkEntry::clone(entry)
            }),
        };
        let old = if entry.is_bare() && !entry.declared {
            self.entries.remove(&entry.network)
        } else {
            self.entries.insert(entry.network, Arc::clone(entry))
        };
        let was_stored = old.is_some_and(|old| !old.is_bare());
        self.stored = self.stored + usize::from(!entry.is_bare()) - usize::from(was_stored);
        self.put_slot(entry);
    }

    fn put_slot(&mut self, entry: &NetworkEntry) {
        let (address, bits) = (entry.network.addr(), entry.network.prefix_len());
        let lengths = match address {
            IpAddr::V4(_) => &mut self.v4,
            IpAddr::V6(_) => &mut self.v6,
        };
        let place = lengths.binary_search_by_key(&std::cmp::Reverse(bits), |length| std::cmp::Reverse(length.bits));
        let prefix = Prefix::of(address, bits);
        match (Slot::of(entry), place) {
            (Some(slot), Ok(at)) => {
                lengths[at].slots.insert(prefix, slot);
            }
            (Some(slot), Err(at)) => {
                let slots = HashMap::from_iter([(prefix, slot)]);
                lengths.insert(at, Length { bits, slots });
            }
            (None, Ok(at)) => {
                lengths[at].slots.remove(&prefix);
                if lengths[at].slots.is_empty() {
                    lengths.remove(at);
                }
            }
            (None, Err(_)) => {}
        }
    }
}

impl Prefix {
    /// The first `bits` bits of an address.
    fn of(address: IpAddr, bits: u8) -> Self {
        let whole = match address {
            IpAddr::V4(v4) => Self(u64::from(v4.to_bits()) << 32, 0),
            IpAddr::V6(v6) => Self((v6.to_bits() >> 64) as u64, v6.to_bits() as u64),
        };
        whole.cut(bits)
    }

    fn cut(self, bits: u8) -> Self {
        let mask = |bits: u8| u64::MAX.checked_shl(64 - u32::from(bits.min(64))).unwrap_or(0);
        Self(self.0 & mask(bits), self.1 & mask(bits.saturating_sub(64)))
    }
}

impl Slot {
    /// `None`: a request would find nothing in it.
    fn of(entry: &NetworkEntry) -> Option<Self> {
        let blocked_until = match &entry.block {
            _ if entry.declared => FOR_GOOD,
            Some(block) => block.until.unwrap_or(FOR_GOOD),
            None => UnixTime::default(),
        };
        let limits = (!entry.limits.is_empty()).then(|| Arc::clone(&entry.limits));
        let finds = limits.is_some() || blocked_until > UnixTime::default();
        finds.then_some(Self { blocked_until, limits })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;
    use crate::store::network::Block;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn net(text: &str) -> IpNet {
        text.parse().expect("a network")
    }

    fn numbers(number: u32) -> OwnNumbers {
        Arc::new([("http".into(), number)])
    }

    fn blocked(network: IpNet, until: Option<UnixTime>) -> NetworkEntry {
        let (since, why) = (UnixTime::from_secs(1), None);
        NetworkEntry {
            block: Some(Block { since, until, why }),
            ..NetworkEntry::bare(network, false)
        }
    }

    /// The reference: scans all networks in turn.
    fn scan(declared: &[IpNet], entries: &[NetworkEntry], address: IpAddr, now: UnixTime) -> NetworkTerms {
        let address = address.to_canonical();
        let declared = declared.iter().map(|network| canonical(*network));
        let around = || entries.iter().filter(|entry| entry.network.contains(&address));
        let own = around().filter(|entry| !entry.limits.is_empty());
        let narrowest = own.max_by_key(|entry| entry.network.prefix_len());
        NetworkTerms {
            blocked: declared.clone().any(|network| network.contains(&address))
                || around().any(|entry| entry.is_blocked(now)),
            limits: narrowest.map(|entry| Arc::clone(&entry.limits)),
        }
    }

    /// Addresses many of which share long prefixes; IPv4 ones in both spellings.
    fn address() -> impl Strategy<Value = IpAddr> {
        let v4 = prop::sample::select(vec![0, 0xC000_0200, 0xC000_0280, 0xFFFF_FFFF]);
        let v4 = (v4, 0..=0xFFu32).prop_map(|(base, low)| Ipv4Addr::from_bits(base ^ low));
        let v6 = prop::sample::select(vec![0, 0x2001_0db8 << 96, 0x2001_0db8_0000_0001 << 64, u128::MAX]);
        let low = prop_oneof![0..4u128, (0..4u128).prop_map(|low| low << 62)];
        let v6 = (v6, low).prop_map(|(base, low)| Ipv6Addr::from_bits(base ^ low));
        prop_oneof![
            v4.clone().prop_map(IpAddr::V4),
            v4.prop_map(|v4| IpAddr::V6(v4.to_ipv6_mapped())),
            v6.prop_map(IpAddr::V6),
        ]
    }

    fn network() -> impl Strategy<Value = IpNet> {
        (address(), 0..=32u8).prop_map(|(address, off)| {
            let most = if address.is_ipv4() { 32 } else { 128 };
            IpNet::new(address, most - off).expect("no longer than the address")
        })
    }

    /// An entry with everything, or next to nothing.
    fn entry() -> impl Strategy<Value = NetworkEntry> {
        let until = prop::option::of((0..3u64).prop_map(|at| UnixTime::from_millis(NOW.as_millis() - 1 + at)));
        let said = (prop::option::of(0..9u32), prop::option::of(until));
        (network(), said).prop_map(|(network, (own, block))| {
            let network = canonical(network);
            let entry = block.map_or(NetworkEntry::bare(network, false), |until| blocked(network, until));
            NetworkEntry {
                limits: own.map(numbers).unwrap_or_default(),
                ..entry
            }
        })
    }

    proptest! {
        #[test]
        fn a_look_up_finds_what_a_scan_finds(
            declared in prop::collection::vec(network(), 0..3),
            said in prop::collection::vec(entry(), 0..24),
            asked in prop::collection::vec(address(), 24),
            before in prop::collection::vec(network(), 0..3),
        ) {
            let asked_again = asked.clone();
            let networks = Networks::new(declared.clone());
            let mut entries: Vec<NetworkEntry> = Vec::new();
            for entry in said {
                entries.retain(|other| other.network != entry.network);
                let declared = networks.bare(entry.network).declared;
                networks.take(&[Arc::new(NetworkEntry { declared, ..entry.clone() })]);
                entries.push(entry);
            }
            let again = Networks::new(declared.clone());
            again.restore(entries.clone());
            for address in asked {
                let expected = scan(&declared, &entries, address, NOW);
                prop_assert_eq!(&networks.find(address, NOW), &expected, "{}", address);
                prop_assert_eq!(&again.find(address, NOW), &expected, "{}, all at once", address);
            }
            prop_assert_eq!(networks.page(None, usize::MAX), again.page(None, usize::MAX));
            prop_assert_eq!(networks.len(), entries.iter().filter(|entry| !entry.is_bare()).count());
            let other = Networks::new(before);
            other.restore(entries);
            other.set_declared(declared);
            prop_assert_eq!(networks.page(None, usize::MAX), other.page(None, usize::MAX), "listed later");
            for address in asked_again {
                prop_assert_eq!(networks.find(address, NOW), other.find(address, NOW), "{}, listed later", address);
            }
        }
    }

    #[test]
    fn removed_settings_leave_nothing_behind() {
        let networks = Networks::default();
        let network = net("192.0.2.0/24");
        networks.take(&[Arc::new(blocked(network, None))]);
        let address = "192.0.2.7".parse().expect("an address");
        assert!(networks.find(address, NOW).blocked);
        networks.take(&[Arc::new(NetworkEntry::bare(network, false))]);
        assert_eq!(networks.find(address, NOW), NetworkTerms::default());
        assert!(!networks.finds.load(Ordering::Acquire), "no look-up takes the lock");
        assert!(networks.state.read().v4.is_empty() && networks.page(None, 1).is_empty());
    }

    #[test]
    fn a_listed_network_stays_whatever_is_stored() {
        let network = net("2001:db8::/32");
        let networks = Networks::new(vec![net("2001:db8:ffff::/32")]);
        let address = "2001:db8::1".parse().expect("an address");
        assert!(networks.find(address, NOW).blocked);
        assert!(networks.is_empty(), "nothing is stored");
        for entry in [blocked(network, Some(NOW)), NetworkEntry::bare(network, false)] {
            networks.take(&[Arc::new(NetworkEntry {
                declared: true,
                ..entry
            })]);
            assert!(networks.find(address, NOW).blocked);
        }
        networks.restore(vec![blocked(network, Some(NOW))]);
        let declared: Vec<bool> = networks.page(None, 9).iter().map(|entry| entry.declared).collect();
        assert_eq!((declared, networks.len()), (vec![true], 1));
    }

    #[test]
    fn a_list_is_replaced_at_once_and_what_is_stored_stays() {
        let (kept, gone, come) = (net("192.0.2.0/24"), net("198.51.100.0/24"), net("203.0.113.0/24"));
        let networks = Networks::new(vec![kept, gone]);
        let own = NetworkEntry {
            limits: numbers(7),
            ..NetworkEntry::bare(gone, true)
        };
        networks.take(&[Arc::new(own), Arc::new(blocked(net("10.0.0.0/8"), None))]);
        networks.set_declared(vec![come, kept]);
        let found = |text: &str| {
            let known = networks.find(text.parse().expect("an address"), NOW);
            (known.blocked, known.limits.is_some())
        };
        let asked = ["192.0.2.1", "198.51.100.1", "203.0.113.1", "10.1.2.3"];
        let expected = [(true, false), (false, true), (true, false), (true, false)];
        assert_eq!(asked.map(found), expected);
        assert_eq!((networks.len(), networks.page(None, 9).len()), (2, 4));
        networks.restore(vec![blocked(gone, None)]);
        let declared = |network| networks.get(network).map(|entry| entry.declared);
        assert_eq!([kept, gone, come].map(declared), [Some(true), Some(false), Some(true)]);
        networks.set_declared(Vec::new());
        assert_eq!((networks.len(), networks.page(None, 9).len()), (1, 1));
    }

    /// Regression: an operator's change prepared before the list changed, and applied after it, carried the old list's state: it
    /// lifted the block that had just been added.
    #[test]
    fn a_lookup_in_an_old_list_lifts_no_block() {
        let network = net("192.0.2.0/24");
        let networks = Networks::default();
        let read = networks.bare(network);
        networks.set_declared(vec![network]);
        let own = numbers(7);
        networks.take(&[Arc::new(NetworkEntry { limits: own, ..read })]);
        let address = "192.0.2.7".parse().expect("an address");
        assert!(networks.find(address, NOW).blocked);
        assert!(networks.get(network).is_some_and(|entry| entry.declared));
    }

    #[test]
    fn networks_page_by_address_and_list_outwards() {
        let mut texts = [
            "10.0.0.0/8",
            "10.0.0.0/16",
            "10.1.0.0/16",
            "192.0.2.0/24",
            "2001:db8::/32",
        ];
        let networks = Networks::default();
        let entries = texts.iter().rev().map(|text| blocked(net(text), None));
        networks.restore(entries.collect());
        let shown = |entries: Vec<Arc<NetworkEntry>>| {
            let text = |entry: &Arc<NetworkEntry>| entry.network.to_string();
            entries.iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(shown(networks.page(None, 2)), texts[..2]);
        assert_eq!(shown(networks.page(Some(net("10.0.0.0/16")), 9)), texts[2..]);
        let around = shown(networks.around(net("10.0.0.1/32")));
        texts[..2].reverse();
        assert_eq!(around, texts[..2]);
    }
}
