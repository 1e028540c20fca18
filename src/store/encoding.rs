//! How an account, a key and a network lie in the store: a version, then the fields one after the other. Numbers are
//! little-endian, text has its length before it (two bytes), what may be missing has a 0 or a 1 before it.
//!
//! Absent on purpose: checksums, which redb keeps for every page, and serde: a renamed field must not change what lies on a
//! disk.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::account::{Account, Origin};
use super::keys::{Key, KeyHash};
use super::network::{Block, NetworkEntry, canonical};
use crate::policy::Own;
use crate::policy::caller::AccountId;
use crate::policy::rules::Raise;
use crate::policy::time::UnixTime;

/// The first byte of an account's record. Version 1 has no request limits.
const ACCOUNT_VERSION: u8 = 2;
/// The first byte of a key's record.
const KEY_VERSION: u8 = 1;
/// The first byte of a network's record.
const NETWORK_VERSION: u8 = 1;
/// Bytes of an IPv4 address, and of its network's prefix.
const V4_KEY_BYTES: usize = 5;
/// Bytes of an IPv6 address, and of its network's prefix.
const V6_KEY_BYTES: usize = 17;

/// A record is not of a form that this program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// What is kept of an account beside its id. Every text of it is at most 64 KiB long: the account was checked.
pub fn account(account: &Account) -> Vec<u8> {
    let mut out = Writer(vec![ACCOUNT_VERSION]);
    out.text(&account.name);
    out.maybe(account.email.as_deref(), Writer::text);
    out.text(&account.tier);
    out.maybe(account.own.concurrency, Writer::u32);
    out.u16(account.own.quotas.len());
    for (name, limit) in &account.own.quotas {
        out.text(name);
        out.u64(*limit);
    }
    out.u16(account.own.limits.len());
    for (name, raise) in &account.own.limits {
        out.text(name);
        out.u32(raise.number);
        out.0.push(u8::from(raise.lifts_network));
    }
    out.maybe(account.until, Writer::time);
    out.0.push(u8::from(account.blocked));
    out.maybe(account.users_max, Writer::u32);
    out.maybe(account.note.as_deref(), Writer::text);
    out.time(account.created);
    out.0
}

/// The account of that id that was kept so, by this version or an earlier one.
///
/// # Errors
/// It wasn't.
pub fn read_account(id: AccountId, bytes: &[u8]) -> Result<Account, Unreadable> {
    let (version, mut from) = Reader::of(bytes, ACCOUNT_VERSION)?;
    let account = Account {
        id,
        name: from.text()?,
        email: from.maybe(Reader::text)?,
        tier: from.text()?,
        own: Arc::new(Own {
            concurrency: from.maybe(Reader::u32)?,
            quotas: (0..from.u16()?)
                .map(|_| Ok((from.text()?.into(), from.u64()?)))
                .collect::<Result<_, _>>()?,
            limits: match version {
                1 => Vec::new(),
                _ => (0..from.u16()?)
                    .map(|_| Ok((from.text()?.into(), from.raise()?)))
                    .collect::<Result<_, _>>()?,
            },
        }),
        until: from.maybe(Reader::time)?,
        blocked: from.flag()?,
        users_max: from.maybe(Reader::u32)?,
        note: from.maybe(Reader::text)?,
        created: from.time()?,
        origin: Origin::Stored,
    };
    from.end(account)
}

/// What is kept of a key beside its hash.
pub fn key(key: &Key) -> Vec<u8> {
    let mut out = Writer(vec![KEY_VERSION]);
    out.u32(key.account.0);
    out.text(&key.label);
    out.time(key.created);
    out.maybe(key.expires, Writer::time);
    out.0
}

/// The key of that hash that was kept so.
///
/// # Errors
/// It wasn't.
pub fn read_key(hash: KeyHash, bytes: &[u8]) -> Result<Key, Unreadable> {
    let (_, mut from) = Reader::of(bytes, KEY_VERSION)?;
    let key = Key {
        hash,
        account: AccountId(from.u32()?),
        label: from.text()?,
        created: from.time()?,
        expires: from.maybe(Reader::time)?,
    };
    from.end(key)
}

/// Under what a network is kept: its address, then how many of its bits count.
pub fn network_key(network: &IpNet) -> Vec<u8> {
    let mut key = match network.addr() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    key.push(network.prefix_len());
    key
}

/// What is kept of a network beside that. Every text of it is at most 64 KiB long: the entry was checked.
pub fn network(entry: &NetworkEntry) -> Vec<u8> {
    let mut out = Writer(vec![NETWORK_VERSION]);
    out.u16(entry.limits.len());
    for (name, number) in entry.limits.iter() {
        out.text(name);
        out.u32(*number);
    }
    out.maybe(entry.note.as_deref(), Writer::text);
    out.maybe(entry.block.as_ref(), |out, block| {
        out.time(block.since);
        out.maybe(block.until, Writer::time);
        out.maybe(block.why.as_deref(), Writer::text);
    });
    out.0
}

/// The network of that key that was kept so. Whether tiers.yaml lists it is not kept.
///
/// # Errors
/// It wasn't.
pub fn read_network(key: &[u8], bytes: &[u8]) -> Result<NetworkEntry, Unreadable> {
    let (address, bits): (IpAddr, u8) = match (<[u8; V4_KEY_BYTES]>::try_from(key), <[u8; V6_KEY_BYTES]>::try_from(key))
    {
        (Ok([a, b, c, d, bits]), _) => ([a, b, c, d].into(), bits),
        (_, Ok([address @ .., bits])) => (IpAddr::from(address), bits),
        _ => return Err(Unreadable),
    };
    let network = IpNet::new(address, bits).map_err(|_| Unreadable)?;
    let (_, mut from) = Reader::of(bytes, NETWORK_VERSION)?;
    let entry = NetworkEntry {
        network: canonical(network),
        limits: (0..from.u16()?)
            .map(|_| Ok((from.text()?.into(), from.u32()?)))
            .collect::<Result<_, _>>()?,
        note: from.maybe(Reader::text)?,
        block: from.maybe(Reader::block)?,
        listed: false,
    };
    // Spelled otherwise it would be kept twice, and said of it nothing is kept at all.
    if entry.network == network && !entry.is_bare() {
        from.end(entry)
    } else {
        Err(Unreadable)
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn u16(&mut self, number: usize) {
        let number = u16::try_from(number).expect("what is kept was checked, and is far shorter");
        self.0.extend(number.to_le_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn time(&mut self, time: UnixTime) {
        self.u64(time.as_millis());
    }

    fn text(&mut self, text: &str) {
        self.u16(text.len());
        self.0.extend(text.as_bytes());
    }

    fn maybe<T>(&mut self, value: Option<T>, write: impl Fn(&mut Self, T)) {
        self.0.push(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    /// A record of that version or an earlier one, and of which.
    fn of(bytes: &'b [u8], newest: u8) -> Result<(u8, Self), Unreadable> {
        match bytes {
            [version, rest @ ..] if (1..=newest).contains(version) => Ok((*version, Self(rest))),
            _ => Err(Unreadable),
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, Unreadable> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Unreadable> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Unreadable> {
        self.take().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Result<UnixTime, Unreadable> {
        self.u64().map(UnixTime::from_millis)
    }

    fn flag(&mut self) -> Result<bool, Unreadable> {
        match self.take()? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(Unreadable),
        }
    }

    fn raise(&mut self) -> Result<Raise, Unreadable> {
        Ok(Raise {
            number: self.u32()?,
            lifts_network: self.flag()?,
        })
    }

    fn block(&mut self) -> Result<Block, Unreadable> {
        Ok(Block {
            since: self.time()?,
            until: self.maybe(Self::time)?,
            why: self.maybe(Self::text)?,
        })
    }

    fn text(&mut self) -> Result<String, Unreadable> {
        let length = usize::from(self.u16()?);
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Unreadable)?;
        self.0 = rest;
        String::from_utf8(taken.to_vec()).map_err(|_| Unreadable)
    }

    fn maybe<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, Unreadable>) -> Result<Option<T>, Unreadable> {
        Ok(if self.flag()? { Some(read(self)?) } else { None })
    }

    fn end<T>(self, whole: T) -> Result<T, Unreadable> {
        if self.0.is_empty() { Ok(whole) } else { Err(Unreadable) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raise(number: u32, lifts_network: bool) -> Raise {
        Raise { number, lifts_network }
    }

    fn full() -> Account {
        Account {
            id: AccountId(7),
            name: "acme-bot".to_owned(),
            email: Some("bot@acme.example".to_owned()),
            tier: "$20".to_owned(),
            own: Arc::new(Own {
                concurrency: Some(6),
                quotas: vec![("daily".into(), 5_000), ("monthly".into(), 0)],
                limits: vec![
                    ("http".into(), raise(300, false)),
                    ("hourly".into(), raise(5_000, true)),
                ],
            }),
            until: Some(UnixTime::from_secs(1_798_761_600)),
            blocked: true,
            users_max: Some(10_000),
            note: Some("asked for more, twice".to_owned()),
            created: UnixTime::from_millis(1),
            origin: Origin::Stored,
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_shorter_or_longer() {
        let bare = Account {
            email: None,
            own: Arc::default(),
            until: None,
            blocked: false,
            users_max: None,
            note: None,
            ..full()
        };
        for whole in [full(), bare] {
            let mut bytes = account(&whole);
            assert_eq!(read_account(whole.id, &bytes), Ok(whole.clone()));
            for shorter in 0..bytes.len() {
                assert_eq!(read_account(whole.id, &bytes[..shorter]), Err(Unreadable));
            }
            bytes.push(0);
            assert_eq!(read_account(whole.id, &bytes), Err(Unreadable));
        }
        let whole = Key {
            hash: [7; 32],
            account: AccountId(7),
            label: "bot".to_owned(),
            created: UnixTime::from_secs(1),
            expires: Some(UnixTime::from_secs(2)),
        };
        assert_eq!(read_key(whole.hash, &key(&whole)), Ok(whole));
    }

    fn full_network() -> NetworkEntry {
        NetworkEntry {
            limits: Arc::new([("http".into(), 300), ("burst".into(), 0)]),
            note: Some("a school".to_owned()),
            block: Some(Block {
                since: UnixTime::from_secs(1),
                until: Some(UnixTime::from_secs(2)),
                why: Some("scrapes".to_owned()),
            }),
            ..NetworkEntry::bare("192.0.2.0/24".parse().expect("a network"), false)
        }
    }

    #[test]
    fn a_network_is_read_as_it_was_written() {
        let v6 = NetworkEntry {
            network: "2001:db8::/33".parse().expect("a network"),
            ..full_network()
        };
        let noted = NetworkEntry {
            limits: Arc::default(),
            block: None,
            ..v6.clone()
        };
        for whole in [full_network(), v6, noted] {
            let (key, mut bytes) = (network_key(&whole.network), network(&whole));
            assert_eq!(read_network(&key, &bytes), Ok(whole.clone()));
            for shorter in 0..bytes.len() {
                assert_eq!(read_network(&key, &bytes[..shorter]), Err(Unreadable));
            }
            for shorter in 0..key.len() {
                assert_eq!(read_network(&key[..shorter], &bytes), Err(Unreadable));
            }
            bytes.push(0);
            assert_eq!(read_network(&key, &bytes), Err(Unreadable));
        }
    }

    #[test]
    fn a_network_of_another_spelling_or_of_which_nothing_is_said_is_none_of_ours() {
        let bytes = network(&full_network());
        let wrong = [
            &[192, 0, 2, 7, 24][..],
            &[192, 0, 2, 0, 33],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 192, 0, 2, 7, 128],
        ];
        for key in wrong {
            assert_eq!(read_network(key, &bytes), Err(Unreadable), "{key:?}");
        }
        let bare = NetworkEntry::bare(full_network().network, true);
        assert_eq!(
            read_network(&network_key(&bare.network), &network(&bare)),
            Err(Unreadable)
        );
    }

    /// Accounts that were written before there were request limits.
    #[test]
    fn an_account_of_the_first_version_is_read() {
        let mut bytes = vec![1, 4, 0];
        bytes.extend(b"acme");
        bytes.extend([0, 3, 0]);
        bytes.extend(b"$20");
        bytes.extend([1, 6, 0, 0, 0]);
        bytes.extend([1, 0, 5, 0]);
        bytes.extend(b"daily");
        bytes.extend(5_000u64.to_le_bytes());
        bytes.extend([0, 1, 0, 0]);
        bytes.extend(1_000u64.to_le_bytes());
        let expected = Account {
            name: "acme".to_owned(),
            email: None,
            own: Arc::new(Own {
                concurrency: Some(6),
                quotas: vec![("daily".into(), 5_000)],
                limits: Vec::new(),
            }),
            until: None,
            users_max: None,
            note: None,
            created: UnixTime::from_secs(1),
            ..full()
        };
        assert_eq!(read_account(AccountId(7), &bytes), Ok(expected));
        bytes[0] = ACCOUNT_VERSION + 1;
        assert_eq!(read_account(AccountId(7), &bytes), Err(Unreadable));
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_to_be_called_unreadable(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _any = read_account(AccountId(1), &bytes);
            let _any = read_key([0; 32], &bytes);
            let _any = read_network(&[192, 0, 2, 0, 24], &bytes);
            let _any = read_network(&bytes, &network(&full_network()));
        }
    }
}
