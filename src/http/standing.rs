//! A caller's identity: the account of its key, the network of its address, or the user for whom a delegating account sends
//! requests (rules §2.2, §5.9), with the tier and overrides that apply. The look-up charges nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::caller::{KeyPlaces, parameter};
use crate::policy::caller::{Caller, NetworkId, UserId};
use crate::policy::refusal::Refusal;
use crate::policy::rules::{Quota, Rules, Tier, TierId};
use crate::policy::time::UnixTime;
use crate::policy::{AccountOverrides, Delegate};
use crate::store::{Account, AccountView, Pseudonyms};

/// The most bytes of a delegated user's name.
const USER_BYTES_MAX: usize = 64;
/// The header that names a user; it may be a query parameter instead.
const USER_HEADER: HeaderName = HeaderName::from_static("x-tiergate-user");
const USER_PARAMETER: &str = "uid";

/// A caller's identity, by the rules of the [`Callers`] that identified it.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The caller that is counted.
    pub caller: Caller,
    /// Its tier.
    pub tier_id: TierId,
    /// Its account, or the delegating account, if there is one.
    pub account: Option<Arc<Account>>,
    /// Individual settings that override those of the tier.
    pub own: Option<Arc<AccountOverrides>>,
    /// The delegating account, which is counted too.
    pub delegate: Option<Box<Delegate>>,
}

impl Standing {
    /// Its tier in these rules, which must be those of its identity.
    pub fn tier<'r>(&self, rules: &'r Rules) -> &'r Tier {
        rules.tier(self.tier_id)
    }

    /// The terms of the delegating account, if this is a delegated user.
    pub fn delegating(&self) -> Option<Self> {
        let delegate = self.delegate.as_ref()?;
        Some(Self {
            caller: Caller::Account(delegate.account),
            tier_id: delegate.tier,
            account: self.account.clone(),
            own: delegate.own.clone(),
            delegate: None,
        })
    }

    /// The individual settings and the tier of its account; for a delegated user, of the delegating account. Clients without an
    /// account have the anonymous tier.
    pub fn of_account(&self) -> (Option<&AccountOverrides>, TierId) {
        match &self.delegate {
            Some(delegate) => (delegate.own.as_deref(), delegate.tier),
            None => (self.own.as_deref(), self.tier_id),
        }
    }

    /// The caller's name for itself: its account's mail address, otherwise the account's name; the client's address if there is
    /// no account.
    pub fn id(&self, address: IpAddr) -> String {
        self.account.as_ref().map_or_else(
            || address.to_string(),
            |account| account.email().unwrap_or(&account.name).to_owned(),
        )
    }

    /// The most jobs that it may have queued and running at once.
    pub fn concurrency(&self, rules: &Rules) -> u32 {
        let own = self.own.as_ref().and_then(|own| own.concurrency);
        own.unwrap_or(self.tier(rules).concurrency)
    }

    /// The units that it may use of that quota.
    pub fn limit(&self, quota: &Quota) -> u64 {
        let own = self.own.as_ref().and_then(|own| own.limit(&quota.name));
        own.unwrap_or(quota.limit)
    }
}

/// Identifies callers.
#[derive(Debug)]
pub struct Callers {
    keys: KeyPlaces,
    accounts: Arc<AccountView>,
    pseudonyms: Pseudonyms,
    rules: Arc<Rules>,
    /// By name.
    tiers: HashMap<Arc<str>, TierId>,
}

impl Callers {
    /// Identifies callers by these accounts and rules.
    pub fn new(keys: KeyPlaces, accounts: Arc<AccountView>, pseudonyms: Pseudonyms, rules: Arc<Rules>) -> Self {
        let tiers = rules.tiers.entries();
        Self {
            tiers: tiers.map(|(id, tier)| (Arc::clone(&tier.name), id)).collect(),
            keys,
            accounts,
            pseudonyms,
            rules,
        }
    }

    /// Finds the key, removes it from the request, and returns the terms of its owner and the remaining query. An invalid key
    /// never falls back to anonymous; clients without a key are counted by network.
    ///
    /// # Errors
    /// Two different keys, an unknown or expired key, a blocked account, or a user's name that is too long or given twice.
    pub fn identify(
        &self,
        head: &mut Parts,
        network: NetworkId,
        now: UnixTime,
    ) -> Result<(Standing, Option<String>), Refusal> {
        let taken = self.keys.take(&mut head.headers, head.uri.query())?;
        let query = taken.query.map(std::borrow::Cow::into_owned);
        let standing = match taken.key {
            None => self.standing(Caller::Network(network), None, now),
            Some(key) => {
                let account = self.accounts.find(&key, now).ok_or(Refusal::InvalidKey)?;
                if account.blocked {
                    return Err(Refusal::Blocked);
                }
                self.account(account, &head.headers, query.as_deref(), now)?
            }
        };
        Ok((standing, query))
    }

    /// The account's identity at that time, for requests of its own, not of its users.
    pub fn standing_of(&self, account: Arc<Account>, now: UnixTime) -> Standing {
        self.standing(Caller::Account(account.id), Some(account), now)
    }

    /// Identifies the same caller again by these accounts and rules, which came into force meanwhile. An account that tiers.yaml
    /// does not declare is unchanged; a delegated user whose account may no longer delegate is counted as that account.
    pub fn refresh(&self, before: &Standing, now: UnixTime) -> Standing {
        let Some(account) = &before.account else {
            return self.standing(before.caller, None, now);
        };
        let account = self.accounts.declared(account.id).unwrap_or(account);
        match (before.caller, account.users_max()) {
            (Caller::User { user, .. }, Some(users_max)) => self.user(user, users_max, Arc::clone(account), now),
            _ => self.standing_of(Arc::clone(account), now),
        }
    }

    /// The terms of the account, or of the user for whom it asks.
    fn account(
        &self,
        account: Arc<Account>,
        headers: &HeaderMap,
        query: Option<&str>,
        now: UnixTime,
    ) -> Result<Standing, Refusal> {
        let Some(users_max) = account.users_max() else {
            return Ok(self.standing_of(account, now));
        };
        Ok(match user(headers, query)? {
            Some(user) => {
                let user = self.pseudonyms.user(account.id, &user);
                self.user(user, users_max, account, now)
            }
            None => self.standing_of(account, now),
        })
    }

    /// The terms of that account's user.
    fn user(&self, user: UserId, users_max: u32, account: Arc<Account>, now: UnixTime) -> Standing {
        let of = self.standing_of(Arc::clone(&account), now);
        Standing {
            caller: Caller::User { of: account.id, user },
            tier_id: self.rules.anonymous,
            own: None,
            delegate: Some(Box::new(Delegate {
                account: account.id,
                tier: of.tier_id,
                own: of.own,
                users_max,
            })),
            account: Some(account),
        }
    }

    /// The caller's terms: those of its account's tier. An expired account, or one whose tier no longer exists, has those of the
    /// anonymous tier.
    fn standing(&self, caller: Caller, account: Option<Arc<Account>>, now: UnixTime) -> Standing {
        let valid = account
            .as_ref()
            .filter(|account| account.until().is_none_or(|until| now < until));
        let tier = valid.and_then(|account| self.tiers.get(&*account.tier).copied());
        let own = valid.and_then(|account| account.shared_overrides());
        Standing {
            caller,
            tier_id: tier.unwrap_or(self.rules.anonymous),
            own,
            account,
            delegate: None,
        }
    }
}

/// The user that the request names; an empty name counts as none.
fn user(headers: &HeaderMap, query: Option<&str>) -> Result<Option<Vec<u8>>, Refusal> {
    let named = headers
        .get_all(USER_HEADER)
        .iter()
        .map(|value| value.as_bytes().to_vec());
    let asked = query.unwrap_or_default().split('&');
    let asked = asked.filter_map(|part| parameter(part, USER_PARAMETER));
    let mut found: Option<Vec<u8>> = None;
    for name in named.chain(asked).filter(|name| !name.is_empty()) {
        if name.len() > USER_BYTES_MAX {
            return Err(Refusal::BadRequest("uid is longer than 64 bytes".into()));
        }
        if found.as_ref().is_some_and(|found| *found != name) {
            return Err(Refusal::BadRequest("two different uids in one request".into()));
        }
        found = Some(name);
    }
    Ok(found)
}
