//! Who has an account, and what one may say of it. Whether its tier exists is asked elsewhere: tiers.yaml may have changed
//! since.

mod bounds;
mod fields;
mod value;

use std::sync::Arc;

pub(super) use self::bounds::{Bounds, NOTE, OWN_LIMIT, Rule, SOURCE, check_numbers};
pub use self::bounds::{EMAIL_BYTES_MAX, Illegal, NAME_CHARS, NOTE_BYTES_MAX, OWN_NUMBERS_MAX};
pub(super) use self::fields::columns;
pub use self::fields::{AccountPatch, AccountSpec, FIELDS, Field};
pub use self::value::{Change, Kind, Numbers, OwnLimit, Until};
use super::keys::{Key, KeyId};
use super::words::Words;
use crate::policy::Own;
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;

/// Somebody with API keys. There may be a million of these in memory, so what few of them have stands apart;
/// [`AccountSpec`] is the same laid out flat.
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

    /// Users for whom it may ask, if it is a delegating account (semantics §5.9).
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

    /// The account that this asks for, unchecked.
    pub(super) fn of(spec: AccountSpec, id: AccountId, created: UnixTime, words: &Words) -> Self {
        let tier = words.share(&spec.tier);
        let bare = Self::bare(id, &spec.name, tier, created, Origin::Stored);
        bare.with(spec, words)
    }

    /// All that is said of it.
    pub fn spec(&self) -> AccountSpec {
        let own = self.own();
        AccountSpec {
            name: self.name.to_string(),
            tier: self.tier.to_string(),
            email: self.email().map(str::to_owned),
            concurrency: own.concurrency,
            quotas: numbers(&own.quotas),
            limits: numbers(&own.limits),
            until: self.until().map(Until),
            blocked: self.blocked,
            max_users: self.users_max(),
            note: self.note().map(str::to_owned),
            source: self.source.as_deref().map(str::to_owned),
        }
    }

    /// The same account with all of that said of it, but for its name.
    fn with(self, spec: AccountSpec, words: &Words) -> Self {
        let own = Own {
            concurrency: spec.concurrency,
            quotas: by_name(spec.quotas),
            limits: by_name(spec.limits),
        };
        let rare = Rare {
            email: spec.email.map(Into::into),
            note: spec.note.map(Into::into),
            own: match own == *self.own() {
                true => self.shared_own(),
                false => (!own.is_empty()).then(|| Arc::new(own)),
            },
            until: spec.until.map(|Until(time)| time),
            users_max: spec.max_users,
        };
        Self {
            tier: words.share(&spec.tier),
            source: spec.source.map(|source| words.share(&source)),
            blocked: spec.blocked,
            rare: rare.boxed(),
            ..self
        }
    }

    /// The account as it is after that change.
    ///
    /// # Errors
    /// It would say something that is out of bounds.
    pub(super) fn changed(&self, patch: &AccountPatch, words: &Words) -> Result<Self, Illegal> {
        let mut spec = self.spec();
        spec.patch(patch);
        spec.check()?;
        Ok(self.clone().with(spec, words))
    }

    /// Whether its name, or what people write of it, contains that text, which is in lower case.
    pub fn contains(&self, text: &str) -> bool {
        let written = [Some(&*self.name), self.email(), self.note()];
        written
            .into_iter()
            .flatten()
            .any(|field| field.to_lowercase().contains(text))
    }
}

/// Numbers of an account's own as its spec has them.
fn numbers<T: Copy, U: From<T>>(own: &[(Arc<str>, T)]) -> Numbers<U> {
    own.iter()
        .map(|(name, number)| (name.to_string(), (*number).into()))
        .collect()
}

/// The same as the account has them.
fn by_name<T: From<U>, U>(numbers: Numbers<U>) -> Vec<(Arc<str>, T)> {
    numbers
        .into_iter()
        .map(|(name, number)| (name.into(), number.into()))
        .collect()
}
