//! How an account and a key lie in the store: a version, then the fields one after the other. Numbers are little-endian, text has
//! its length before it (two bytes), what may be missing has a 0 or a 1 before it.
//!
//! Absent on purpose: checksums, which redb keeps for every page, and serde: a renamed field must not change what lies on a disk.

use std::sync::Arc;

use super::account::{Account, Origin};
use super::keys::{Key, KeyHash};
use crate::policy::Own;
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;

/// The first byte of every record.
const VERSION: u8 = 1;

/// A record is not of a form that this program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// What is kept of an account beside its id. Every text of it is at most 64 KiB long: the account was checked.
pub fn account(account: &Account) -> Vec<u8> {
    let mut out = Writer(vec![VERSION]);
    out.text(&account.name);
    out.maybe(account.email.as_deref(), Writer::text);
    out.text(&account.tier);
    out.maybe(account.own.concurrency, Writer::u32);
    out.u16(account.own.quotas.len());
    for (name, limit) in &account.own.quotas {
        out.text(name);
        out.u64(*limit);
    }
    out.maybe(account.until, Writer::time);
    out.0.push(u8::from(account.blocked));
    out.maybe(account.users_max, Writer::u32);
    out.maybe(account.note.as_deref(), Writer::text);
    out.time(account.created);
    out.0
}

/// The account of that id that was kept so.
///
/// # Errors
/// It wasn't.
pub fn read_account(id: AccountId, bytes: &[u8]) -> Result<Account, Unreadable> {
    let mut from = Reader::of(bytes)?;
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
            limits: Vec::new(),
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
    let mut out = Writer(vec![VERSION]);
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
    let mut from = Reader::of(bytes)?;
    let key = Key {
        hash,
        account: AccountId(from.u32()?),
        label: from.text()?,
        created: from.time()?,
        expires: from.maybe(Reader::time)?,
    };
    from.end(key)
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
    fn of(bytes: &'b [u8]) -> Result<Self, Unreadable> {
        match bytes {
            [VERSION, rest @ ..] => Ok(Self(rest)),
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

    fn full() -> Account {
        Account {
            id: AccountId(7),
            name: "acme-bot".to_owned(),
            email: Some("bot@acme.example".to_owned()),
            tier: "$20".to_owned(),
            own: Arc::new(Own {
                concurrency: Some(6),
                quotas: vec![("daily".into(), 5_000), ("monthly".into(), 0)],
                limits: Vec::new(),
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

    proptest! {
        #[test]
        fn no_bytes_are_too_strange_to_be_called_unreadable(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _any = read_account(AccountId(1), &bytes);
            let _any = read_key([0; 32], &bytes);
        }
    }
}
