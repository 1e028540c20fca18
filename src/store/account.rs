//! Who has an account, and what one may say of it.
//!
//! Absent on purpose: what it has used, and whether its tier exists: tiers.yaml may have changed since.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::keys::Form;
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

/// Somebody with API keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Opaque, never given to another, not even to one of the same name.
    pub id: AccountId,
    /// As operators and upstreams know it: [`NAME_CHARS`] visible ASCII characters.
    pub name: String,
    /// How its owner is reached; at most [`EMAIL_BYTES_MAX`] bytes.
    pub email: Option<String>,
    /// The name of the tier whose terms it has. tiers.yaml may have no such tier any more.
    pub tier: String,
    /// What it has instead of what its tier gives.
    pub own: Arc<Own>,
    /// Until when it has these terms; from then on those of the anonymous tier, with its own counters.
    pub until: Option<UnixTime>,
    /// Whether it is turned away.
    pub blocked: bool,
    /// Users for whom it may ask, within [`USERS`], if it is a delegating account (semantics §5.9).
    pub users_max: Option<u32>,
    /// What operators want to remember, at most [`NOTE_BYTES_MAX`] bytes.
    pub note: Option<String>,
    /// When it was made, or first listed.
    pub created: UnixTime,
    /// Where it stands.
    pub origin: Origin,
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
    pub(super) fn made(self, id: AccountId, created: UnixTime) -> Result<Account, Illegal> {
        let account = Account {
            id,
            name: self.name,
            email: self.email,
            tier: self.tier,
            own: Arc::new(self.own),
            until: self.until,
            blocked: self.blocked,
            users_max: self.users_max,
            note: self.note,
            created,
            origin: Origin::Stored,
        };
        account.check()?;
        Ok(account)
    }
}

impl Account {
    /// An account as tiers.yaml lists it: its tier's terms, and nothing of its own.
    pub fn listed(id: AccountId, name: String, tier: String, since: UnixTime) -> Self {
        Self {
            id,
            name,
            email: None,
            tier,
            own: Arc::default(),
            until: None,
            blocked: false,
            users_max: None,
            note: None,
            created: since,
            origin: Origin::Listed,
        }
    }

    /// The account as it is after that change.
    pub(super) fn changed(&self, change: &Change) -> Result<Self, Illegal> {
        let mut own = Own::clone(&self.own);
        own.concurrency = change.concurrency.unwrap_or(own.concurrency);
        for (name, limit) in &change.quotas {
            own.quotas.retain(|(other, _)| other != name);
            own.quotas.extend(limit.map(|limit| (Arc::clone(name), limit)));
        }
        for (name, raise) in &change.limits {
            own.limits.retain(|(other, _)| other != name);
            own.limits.extend(raise.map(|raise| (Arc::clone(name), raise)));
        }
        let account = Self {
            email: change.email.clone().unwrap_or_else(|| self.email.clone()),
            tier: change.tier.clone().unwrap_or_else(|| self.tier.clone()),
            own: Arc::new(own),
            until: change.until.unwrap_or(self.until),
            blocked: change.blocked.unwrap_or(self.blocked),
            users_max: change.users_max.unwrap_or(self.users_max),
            note: change.note.clone().unwrap_or_else(|| self.note.clone()),
            ..self.clone()
        };
        account.check()?;
        Ok(account)
    }

    fn check(&self) -> Result<(), Illegal> {
        let legal = [
            (is_name(&self.name), Illegal::Name),
            (self.email.as_deref().is_none_or(is_email), Illegal::Email),
            (is_name(&self.tier), Illegal::Tier),
            (
                self.own.concurrency.is_none_or(|own| OWN_CONCURRENCY.contains(&own)),
                Illegal::Concurrency,
            ),
            (
                self.own
                    .quotas
                    .iter()
                    .all(|(name, limit)| is_name(name) && OWN_QUOTA.contains(limit)),
                Illegal::Quota,
            ),
            (self.own.quotas.len() <= OWN_QUOTAS_MAX, Illegal::Quotas),
            (
                self.own
                    .limits
                    .iter()
                    .all(|(name, raise)| is_name(name) && OWN_LIMIT.contains(&raise.number)),
                Illegal::Limit,
            ),
            (self.own.limits.len() <= OWN_LIMITS_MAX, Illegal::Limits),
            (
                self.users_max.is_none_or(|users| USERS.contains(&users)),
                Illegal::Users,
            ),
            (
                self.note.as_deref().is_none_or(|note| is_text(note, NOTE_BYTES_MAX)),
                Illegal::Note,
            ),
        ];
        legal
            .into_iter()
            .try_for_each(|(is_legal, why)| if is_legal { Ok(()) } else { Err(why) })
    }
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
