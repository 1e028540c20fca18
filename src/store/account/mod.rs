//! An account and its terms. Whether its tier exists is checked elsewhere, since tiers.yaml may have changed.

mod bounds;
mod fields;
mod value;

use std::sync::Arc;

pub(super) use self::bounds::{Bounds, NOTE, OWN_LIMIT, Rule, SOURCE, check_numbers};
pub use self::bounds::{EMAIL_BYTES_MAX, Illegal, NAME_CHARS, NOTE_BYTES_MAX, OWN_NUMBERS_MAX};
pub(super) use self::fields::columns;
pub use self::fields::{AccountPatch, AccountSpec, FIELDS, Field};
pub use self::value::{Change, FieldKind, Numbers, OwnLimit, Until};
use super::interner::Interner;
use super::keys::{Key, KeyId};
use crate::policy::AccountOverrides;
use crate::policy::caller::AccountId;
use crate::policy::time::UnixTime;

/// An account. There may be a million in memory, so rarely used fields are boxed; [`AccountSpec`] is the flat form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Opaque and never reused, not even for a later account of the same name.
    pub id: AccountId,
    /// As operators and upstream servers know it: [`NAME_CHARS`] visible ASCII characters.
    pub name: Box<str>,
    /// The name of its tier, which tiers.yaml may no longer have.
    pub tier: Arc<str>,
    /// The import source that owns it, if any: such an import may remove it.
    pub source: Option<Arc<str>>,
    /// When it was created or first declared.
    pub created: UnixTime,
    /// Whether it is blocked.
    pub blocked: bool,
    /// Where it is defined.
    pub origin: Origin,
    /// Oldest first.
    keys: Box<[Key]>,
    rare: Option<Box<RareFields>>,
}

/// Rarely used fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct RareFields {
    email: Option<Box<str>>,
    note: Option<Box<str>>,
    /// `None` rather than empty.
    own: Option<Arc<AccountOverrides>>,
    until: Option<UnixTime>,
    users_max: Option<u32>,
}

/// Where an account is defined, and so where it is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In tiers.yaml.
    Declared,
    /// In the store.
    Stored,
}

impl RareFields {
    /// `None` if all fields are empty.
    fn boxed(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// Shared by the accounts without overrides.
static NO_OVERRIDES: AccountOverrides = AccountOverrides {
    concurrency: None,
    quotas: Vec::new(),
    limits: Vec::new(),
};

impl Account {
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

    /// An account as tiers.yaml lists it: its tier's terms, without overrides.
    pub fn declared(id: AccountId, name: &str, tier: impl Into<Arc<str>>, since: UnixTime) -> Self {
        Self::bare(id, name, tier.into(), since, Origin::Declared)
    }

    /// The owner's email address; at most [`EMAIL_BYTES_MAX`] bytes.
    pub fn email(&self) -> Option<&str> {
        self.rare.as_ref()?.email.as_deref()
    }

    /// An operator's note, at most [`NOTE_BYTES_MAX`] bytes.
    pub fn note(&self) -> Option<&str> {
        self.rare.as_ref()?.note.as_deref()
    }

    /// From then on it has the anonymous tier's terms, with its own counters.
    pub fn until(&self) -> Option<UnixTime> {
        self.rare.as_ref()?.until
    }

    /// Maximum number of delegated users, if it is a delegating account (rules §5.9).
    pub fn users_max(&self) -> Option<u32> {
        self.rare.as_ref()?.users_max
    }

    /// What overrides its tier's terms.
    pub fn overrides(&self) -> &AccountOverrides {
        let own = self.rare.as_ref().and_then(|rare| rare.own.as_deref());
        own.unwrap_or(&NO_OVERRIDES)
    }

    /// The same, shared; `None` if there is nothing.
    pub fn shared_overrides(&self) -> Option<Arc<AccountOverrides>> {
        self.rare.as_ref()?.own.clone()
    }

    /// Its keys, oldest first.
    pub fn keys(&self) -> &[Key] {
        &self.keys
    }

    /// Its key of that id.
    pub fn key(&self, id: KeyId) -> Option<&Key> {
        self.keys.iter().find(|key| key.id() == id)
    }

    /// The same account with exactly these keys.
    #[must_use]
    pub(super) fn with_keys(mut self, mut keys: Vec<Key>) -> Self {
        keys.sort_by_key(|key| (key.created, key.id()));
        self.keys = keys.into();
        self
    }

    pub(super) fn of(spec: AccountSpec, id: AccountId, created: UnixTime, interner: &Interner) -> Self {
        let tier = interner.share(&spec.tier);
        let bare = Self::bare(id, &spec.name, tier, created, Origin::Stored);
        bare.with(spec, interner)
    }

    /// Its terms in flat form.
    pub fn spec(&self) -> AccountSpec {
        let own = self.overrides();
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

    fn with(self, spec: AccountSpec, interner: &Interner) -> Self {
        let own = AccountOverrides {
            concurrency: spec.concurrency,
            quotas: by_name(spec.quotas),
            limits: by_name(spec.limits),
        };
        let rare = RareFields {
            email: spec.email.map(Into::into),
            note: spec.note.map(Into::into),
            own: match own == *self.overrides() {
                true => self.shared_overrides(),
                false => (!own.is_empty()).then(|| Arc::new(own)),
            },
            until: spec.until.map(|Until(time)| time),
            users_max: spec.max_users,
        };
        Self {
            tier: interner.share(&spec.tier),
            source: spec.source.map(|source| interner.share(&source)),
            blocked: spec.blocked,
            rare: rare.boxed(),
            ..self
        }
    }

    /// The account after that change.
    ///
    /// # Errors
    /// A value would be out of bounds.
    pub(super) fn changed(&self, patch: &AccountPatch, interner: &Interner) -> Result<Self, Illegal> {
        let mut spec = self.spec();
        spec.patch(patch);
        spec.check()?;
        Ok(self.clone().with(spec, interner))
    }

    /// Whether the name, email or note contains that lower-case text.
    pub fn contains(&self, text: &str) -> bool {
        let written = [Some(&*self.name), self.email(), self.note()];
        written
            .into_iter()
            .flatten()
            .any(|field| field.to_lowercase().contains(text))
    }
}

/// Overrides in the form of the spec.
fn numbers<T: Copy, U: From<T>>(own: &[(Arc<str>, T)]) -> Numbers<U> {
    own.iter()
        .map(|(name, number)| (name.to_string(), (*number).into()))
        .collect()
}

/// Overrides in the form of the account.
fn by_name<T: From<U>, U>(numbers: Numbers<U>) -> Vec<(Arc<str>, T)> {
    numbers
        .into_iter()
        .map(|(name, number)| (name.into(), number.into()))
        .collect()
}
