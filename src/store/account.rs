//! Who has an account, and what one may say of it. Whether its tier exists is asked elsewhere: tiers.yaml may have changed
//! since.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::keys::{Form, Key, KeyId};
use super::words::Words;
use crate::policy::Own;
use crate::policy::caller::AccountId;
use crate::policy::rules::Raise;
use crate::policy::time::UnixTime;

/// Characters of a name, all of them visible ASCII.
pub const NAME_CHARS: RangeInclusive<usize> = 1..=64;
/// Bytes of an address of mail (RFC 5321 §4.5.3.1.3, without its brackets).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Bytes of a note.
pub const NOTE_BYTES_MAX: usize = 1_024;
/// Quotas of an account's own.
pub const OWN_QUOTAS_MAX: usize = 16;
/// A concurrency of an account's own, in jobs.
pub const OWN_CONCURRENCY: RangeInclusive<u32> = 1..=10_000;
/// A quota of an account's own, in successes.
pub const OWN_QUOTA: RangeInclusive<u64> = 0..=1_000_000_000_000;
/// Request limits for which an account, or a network, has numbers of its own.
pub const OWN_LIMITS_MAX: usize = 16;
/// A number of somebody's own for a request limit, in requests.
pub const OWN_LIMIT: RangeInclusive<u32> = 0..=1_000_000_000;
/// Users that a delegating account may have.
pub const USERS: RangeInclusive<u32> = 1..=100_000;

/// Somebody with API keys. There may be a million of these in memory, so what few of them have stands apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Opaque, never given to another, not even to one of the same name.
    pub id: AccountId,
    /// As operators and upstreams know it: [`NAME_CHARS`] visible ASCII characters.
    pub name: Box<str>,
    /// The name of the tier whose terms it has. tiers.yaml may have no such tier any more.
    pub tier: Arc<str>,
    /// From which source of imports it came, if from one: such an import may remove it.
    pub source: Option<Arc<str>>,
    /// When it was made, or first listed.
    pub created: UnixTime,
    /// Whether it is turned away.
    pub blocked: bool,
    /// Where it stands.
    pub origin: Origin,
    /// The oldest first.
    keys: Box<[Key]>,
    rare: Option<Box<Rare>>,
}

/// What few accounts have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rare {
    email: Option<Box<str>>,
    note: Option<Box<str>>,
    /// Never an empty one.
    own: Option<Arc<Own>>,
    until: Option<UnixTime>,
    users_max: Option<u32>,
}

/// Where an account stands, and so where it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In tiers.yaml.
    Listed,
    /// In the store.
    Stored,
}

/// What somebody asks for who wants an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewAccount {
    /// Its name.
    pub name: String,
    /// How its owner is reached.
    pub email: Option<String>,
    /// The name of its tier.
    pub tier: String,
    /// What it has instead of what its tier gives.
    pub own: Own,
    /// Until when.
    pub until: Option<UnixTime>,
    /// Whether it is turned away.
    pub blocked: bool,
    /// Users for whom it may ask.
    pub users_max: Option<u32>,
    /// What operators want to remember.
    pub note: Option<String>,
    /// From which source of imports it comes.
    pub source: Option<String>,
}

/// What is to become different. `None` leaves as it is, `Some(None)` takes away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// How its owner is reached.
    pub email: Option<Option<String>>,
    /// The name of its tier.
    pub tier: Option<String>,
    /// Jobs at once.
    pub concurrency: Option<Option<u32>>,
    /// Limits of quotas, by their names. `None` gives the tier's back.
    pub quotas: Vec<(Arc<str>, Option<u64>)>,
    /// Numbers for request limits, by their names. `None` gives the tier's back.
    pub limits: Vec<(Arc<str>, Option<Raise>)>,
    /// Until when.
    pub until: Option<Option<UnixTime>>,
    /// Whether it is turned away.
    pub blocked: Option<bool>,
    /// Users for whom it may ask.
    pub users_max: Option<Option<u32>>,
    /// What operators want to remember.
    pub note: Option<Option<String>>,
    /// From which source of imports it comes.
    pub source: Option<Option<String>>,
}

/// What can't be said of an account or a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Illegal {
    /// Its name.
    Name,
    /// Its address.
    Email,
    /// The name of its tier.
    Tier,
    /// Its own concurrency.
    Concurrency,
    /// The limit, or the name, of a quota of its own.
    Quota,
    /// So many quotas of its own.
    Quotas,
    /// The number, or the name, of a request limit of its own.
    Limit,
    /// So many request limits of its own.
    Limits,
    /// So many users.
    Users,
    /// Its note.
    Note,
    /// The name of its source.
    Source,
    /// Why it is blocked.
    Why,
    /// A key's label.
    Label,
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |f: &mut fmt::Formatter<'_>, what, least: u64, most: u64| write!(f, "{what} is {least} to {most}");
        match self {
            Self::Name => {
                f.write_str("a name is 1 to 64 visible ASCII characters without spaces: it travels in a header")
            }
            Self::Email => write!(f, "an email is 3 to {EMAIL_BYTES_MAX} bytes with an @, without spaces"),
            Self::Tier => f.write_str("a tier's name is 1 to 64 visible ASCII characters"),
            Self::Concurrency => {
                let range = OWN_CONCURRENCY;
                number(f, "a concurrency", (*range.start()).into(), (*range.end()).into())
            }
            Self::Quota => number(f, "a quota", *OWN_QUOTA.start(), *OWN_QUOTA.end()),
            Self::Quotas => write!(f, "an account has at most {OWN_QUOTAS_MAX} quotas of its own"),
            Self::Limit => number(
                f,
                "a number for a request limit",
                (*OWN_LIMIT.start()).into(),
                (*OWN_LIMIT.end()).into(),
            ),
            Self::Limits => write!(
                f,
                "there are at most {OWN_LIMITS_MAX} numbers of one's own for request limits"
            ),
            Self::Users => number(f, "the number of users", (*USERS.start()).into(), (*USERS.end()).into()),
            Self::Note => write!(f, "a note is at most {NOTE_BYTES_MAX} bytes without control characters"),
            Self::Source => f.write_str("a source is 1 to 64 visible ASCII characters"),
            Self::Why => write!(
                f,
                "a reason is at most {NOTE_BYTES_MAX} bytes without control characters"
            ),
            Self::Label => {
                let max = super::keys::LABEL_BYTES_MAX;
                write!(f, "a label is at most {max} bytes without control characters")
            }
        }
    }
}

impl std::error::Error for Illegal {}

impl NewAccount {
    /// The account that this becomes.
    pub(super) fn made(self, id: AccountId, created: UnixTime, words: &Words) -> Result<Account, Illegal> {
        let account = self.unchecked(id, created, words);
        account.check()?;
        Ok(account)
    }

    /// The same of what was checked before.
    pub(super) fn unchecked(mut self, id: AccountId, created: UnixTime, words: &Words) -> Account {
        self.own.quotas.sort();
        self.own.limits.sort_by(|(one, _), (other, _)| one.cmp(other));
        let rare = Rare {
            email: self.email.map(Into::into),
            note: self.note.map(Into::into),
            own: (!self.own.is_empty()).then(|| Arc::new(self.own)),
            until: self.until,
            users_max: self.users_max,
        };
        let tier = words.share(&self.tier);
        Account {
            source: self.source.map(|source| words.share(&source)),
            blocked: self.blocked,
            rare: rare.boxed(),
            ..Account::bare(id, &self.name, tier, created, Origin::Stored)
        }
    }
}

impl Rare {
    /// Nothing, if that is what it is.
    fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// What almost every account has of its own.
static NOTHING: Own = Own {
    concurrency: None,
    quotas: Vec::new(),
    limits: Vec::new(),
};

impl Account {
    /// An account without anything but a name and a tier.
    pub(super) fn bare(id: AccountId, name: &str, tier: Arc<str>, created: UnixTime, origin: Origin) -> Self {
        Self {
            id,
            name: name.into(),
            tier,
            source: None,
            created,
            blocked: false,
            origin,
            keys: Box::default(),
            rare: None,
        }
    }

    /// An account as tiers.yaml lists it: its tier's terms, and nothing of its own.
    pub fn listed(id: AccountId, name: &str, tier: impl Into<Arc<str>>, since: UnixTime) -> Self {
        Self::bare(id, name, tier.into(), since, Origin::Listed)
    }

    /// How its owner is reached; at most [`EMAIL_BYTES_MAX`] bytes.
    pub fn email(&self) -> Option<&str> {
        self.rare.as_ref()?.email.as_deref()
    }

    /// What operators want to remember, at most [`NOTE_BYTES_MAX`] bytes.
    pub fn note(&self) -> Option<&str> {
        self.rare.as_ref()?.note.as_deref()
    }

    /// Until when it has these terms; from then on those of the anonymous tier, with its own counters.
    pub fn until(&self) -> Option<UnixTime> {
        self.rare.as_ref()?.until
    }

    /// Users for whom it may ask, within [`USERS`], if it is a delegating account (semantics §5.9).
    pub fn users_max(&self) -> Option<u32> {
        self.rare.as_ref()?.users_max
    }

    /// What it has instead of what its tier gives.
    pub fn own(&self) -> &Own {
        let own = self.rare.as_ref().and_then(|rare| rare.own.as_deref());
        own.unwrap_or(&NOTHING)
    }

    /// The same, to keep it; nothing if it is empty.
    pub fn shared_own(&self) -> Option<Arc<Own>> {
        self.rare.as_ref()?.own.clone()
    }

    /// Its keys, the oldest first.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Its key of that id.
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id() == id)
    }

    /// The account with these keys and no others.
    #[must_use]
    pub(super) fn with_keys(mut self, mut keys: Vec<Key>) -> Self {
        keys.sort_by_key(|key| (key.created, key.id()));
        self.keys = keys.into();
        self
    }

    /// The account as it is after that change.
    pub(super) fn changed(&self, change: &Change, words: &Words) -> Result<Self, Illegal> {
        let mut own = Own::clone(self.own());
        own.concurrency = change.concurrency.unwrap_or(own.concurrency);
        for (name, limit) in &change.quotas {
            set(&mut own.quotas, name, *limit);
        }
        for (name, raise) in &change.limits {
            set(&mut own.limits, name, *raise);
        }
        let old = self.rare.as_deref().cloned().unwrap_or_default();
        let text = |text: &Option<String>| text.as_deref().map(Into::into);
        let rare = Rare {
            email: change.email.as_ref().map_or(old.email, text),
            note: change.note.as_ref().map_or(old.note, text),
            own: match own == *self.own() {
                true => old.own,
                false => (!own.is_empty()).then(|| Arc::new(own)),
            },
            until: change.until.unwrap_or(old.until),
            users_max: change.users_max.unwrap_or(old.users_max),
        };
        let account = Self {
            tier: change
                .tier
                .as_deref()
                .map_or_else(|| Arc::clone(&self.tier), |tier| words.share(tier)),
            source: match &change.source {
                Some(source) => source.as_deref().map(|source| words.share(source)),
                None => self.source.clone(),
            },
            blocked: change.blocked.unwrap_or(self.blocked),
            rare: rare.boxed(),
            ..self.clone()
        };
        account.check()?;
        Ok(account)
    }

    /// The names of what another account has otherwise, keys left aside, as the admin API calls them.
    pub fn differences(&self, other: &Self) -> Vec<&'static str> {
        let (own, others) = (self.own(), other.own());
        let all = [
            ("tier", self.tier != other.tier),
            ("email", self.email() != other.email()),
            ("concurrency", own.concurrency != others.concurrency),
            ("quotas", own.quotas != others.quotas),
            ("limits", own.limits != others.limits),
            ("until", self.until() != other.until()),
            ("blocked", self.blocked != other.blocked),
            ("max_users", self.users_max() != other.users_max()),
            ("note", self.note() != other.note()),
            ("source", self.source != other.source),
        ];
        all.into_iter()
            .filter(|(_, differs)| *differs)
            .map(|(name, _)| name)
            .collect()
    }

    fn check(&self) -> Result<(), Illegal> {
        let own = self.own();
        let legal = [
            (is_name(&self.name), Illegal::Name),
            (self.email().is_none_or(is_email), Illegal::Email),
            (is_name(&self.tier), Illegal::Tier),
            (
                own.concurrency.is_none_or(|own| OWN_CONCURRENCY.contains(&own)),
                Illegal::Concurrency,
            ),
            (
                own.quotas
                    .iter()
                    .all(|(name, limit)| is_name(name) && OWN_QUOTA.contains(limit)),
                Illegal::Quota,
            ),
            (own.quotas.len() <= OWN_QUOTAS_MAX, Illegal::Quotas),
            (
                own.limits
                    .iter()
                    .all(|(name, raise)| is_name(name) && OWN_LIMIT.contains(&raise.number)),
                Illegal::Limit,
            ),
            (own.limits.len() <= OWN_LIMITS_MAX, Illegal::Limits),
            (
                self.users_max().is_none_or(|users| USERS.contains(&users)),
                Illegal::Users,
            ),
            (
                self.note().is_none_or(|note| is_text(note, NOTE_BYTES_MAX)),
                Illegal::Note,
            ),
            (self.source.as_deref().is_none_or(is_source), Illegal::Source),
        ];
        legal
            .into_iter()
            .try_for_each(|(is_legal, why)| if is_legal { Ok(()) } else { Err(why) })
    }
}

/// Gives that name that number, or takes it away. Names stay in order.
fn set<T>(numbers: &mut Vec<(Arc<str>, T)>, name: &Arc<str>, number: Option<T>) {
    let found = numbers.binary_search_by(|(other, _)| other.cmp(name));
    match (found, number) {
        (Ok(at), Some(number)) => numbers[at].1 = number,
        (Ok(at), None) => drop(numbers.remove(at)),
        (Err(at), Some(number)) => numbers.insert(at, (Arc::clone(name), number)),
        (Err(_), None) => {}
    }
}

/// Whether a source of imports may be called that.
pub fn is_source(name: &str) -> bool {
    is_name(name)
}

/// Whether this is a name that can travel in a header.
pub(super) fn is_name(name: &str) -> bool {
    NAME_CHARS.contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()) && !is_key(name)
}

fn is_email(email: &str) -> bool {
    let parts = email.rsplit_once('@');
    email.len() <= EMAIL_BYTES_MAX
        && parts.is_some_and(|(local, host)| !local.is_empty() && !host.is_empty())
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
}

/// Whether this is text for people of at most so many bytes.
pub(super) fn is_text(text: &str, bytes_max: usize) -> bool {
    text.len() <= bytes_max && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') && !is_key(text)
}

/// A key that was put in a field beside its own would be kept in plain text.
fn is_key(text: &str) -> bool {
    Form::of(text.trim().as_bytes()) == Form::Ours
}
