//! Accounts and keys in JSON, and what of it fits the rules. A field that is renamed in the store keeps its name here.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::Request;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Deserializer, Serialize};

use super::limits::{self, RaiseLine};
use super::problem::Problem;
use super::sent::{Field, Fields};
use super::{Admin, times};
use crate::clock::Clock;
use crate::http::limits::BlockByRule;
use crate::policy::Own;
use crate::policy::rules::{Raise, Rules};
use crate::policy::time::{Span, UnixTime};
use crate::store::{Account, Change, Key, NewAccount, Origin};

/// Bytes of a body that tells of one account or key.
pub const BODY_BYTES_MAX: usize = 16 << 10;

/// The whole body.
///
/// # Errors
/// It is too long, takes longer than that, or broke off.
pub async fn read(request: Request, bytes_max: usize, timeout: Span, clock: &Clock) -> Result<Bytes, Problem> {
    let read = async {
        let mut body = Limited::new(request.into_body(), bytes_max);
        // At once as large as it says that it is, so that a long one is held once.
        let told = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        let mut bytes = Vec::with_capacity(told.min(bytes_max));
        while let Some(frame) = body.frame().await {
            if let Ok(some) = frame?.into_data() {
                bytes.extend_from_slice(&some);
            }
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Bytes::from(bytes))
    };
    let read = tokio::select! {
        biased;
        read = read => read,
        () = clock.sleep(timeout) => return Err(Problem::too_slow(timeout)),
    };
    match read {
        Ok(body) => Ok(body),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::too_large(bytes_max)),
        Err(_) => Err(Problem::bad_request("the body broke off")),
    }
}

/// An account as it is shown.
#[derive(Debug, Serialize)]
pub struct AccountLine {
    id: u32,
    #[serde(flatten)]
    terms: Terms,
    keys: usize,
    created: String,
    /// `stored`, or `listed` in tiers.yaml, where it is changed then.
    origin: &'static str,
    blocked_by_rule: Vec<RuleBlockLine>,
}

/// A block that the rule of a limit has made.
#[derive(Debug, Serialize)]
pub struct RuleBlockLine {
    limit: String,
    until: String,
}

impl From<BlockByRule> for RuleBlockLine {
    fn from(block: BlockByRule) -> Self {
        Self {
            limit: block.limit.to_string(),
            until: times::written(block.until),
        }
    }
}

/// What can be said of an account, and what an export says of it.
#[derive(Debug, Serialize)]
pub struct Terms {
    name: String,
    email: Option<String>,
    tier: String,
    concurrency: Option<u32>,
    quotas: BTreeMap<String, u64>,
    limits: BTreeMap<String, RaiseLine>,
    until: Option<String>,
    blocked: bool,
    max_users: Option<u32>,
    note: Option<String>,
    source: Option<String>,
}

impl Terms {
    /// Those of that account.
    pub fn of(account: &Account) -> Self {
        let quota = |(name, limit): &(Arc<str>, u64)| (name.to_string(), *limit);
        let raise = |(name, raise): &(Arc<str>, Raise)| (name.to_string(), RaiseLine::from(*raise));
        Self {
            name: account.name.to_string(),
            email: account.email().map(str::to_owned),
            tier: account.tier.to_string(),
            concurrency: account.own().concurrency,
            quotas: account.own().quotas.iter().map(quota).collect(),
            limits: account.own().limits.iter().map(raise).collect(),
            until: account.until().map(times::written),
            blocked: account.blocked,
            max_users: account.users_max(),
            note: account.note().map(str::to_owned),
            source: account.source.as_deref().map(str::to_owned),
        }
    }
}

impl AccountLine {
    /// How that account is shown at present.
    pub fn of(account: &Account, admin: &Admin) -> Self {
        let now = admin.gate.clock().wall();
        let blocks = admin.limits().blocks_of_account(account.id, now);
        Self {
            blocked_by_rule: blocks.into_iter().map(RuleBlockLine::from).collect(),
            id: account.id.0,
            terms: Terms::of(account),
            keys: account.keys().len(),
            created: times::written(account.created),
            origin: match account.origin {
                Origin::Listed => "listed",
                Origin::Stored => "stored",
            },
        }
    }
}

/// A key as it is shown: never the key itself.
#[derive(Debug, Serialize)]
pub struct KeyLine {
    id: String,
    label: String,
    created: String,
    expires: Option<String>,
    expired: bool,
}

impl KeyLine {
    /// How that key is shown at that time.
    pub fn of(key: &Key, now: UnixTime) -> Self {
        Self {
            id: key.id().to_string(),
            label: key.label.to_string(),
            created: times::written(key.created),
            expires: key.expires.map(times::written),
            expired: key.is_expired(now),
        }
    }
}

/// What is sent to make an account.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLine {
    name: String,
    tier: String,
    email: Option<String>,
    concurrency: Option<u32>,
    #[serde(default)]
    quotas: BTreeMap<String, u64>,
    #[serde(default)]
    limits: BTreeMap<String, RaiseLine>,
    until: Option<String>,
    #[serde(default)]
    blocked: bool,
    max_users: Option<u32>,
    note: Option<String>,
    source: Option<String>,
}

/// What fields of both hold.
const TIER: &str = "the name of a tier";
const TEXT: &str = "text, or null";
const NUMBER: &str = "a whole number, or null";
const UNTIL: &str = "a time as text, such as \"2027-01-01\", or null";
const BLOCKED: &str = "true or false";

impl Fields for NewLine {
    const ALL: &'static [Field] = &[
        Field::required("name", "text"),
        Field::required("tier", TIER),
        Field::optional("email", TEXT),
        Field::optional("concurrency", NUMBER),
        Field::optional("quotas", "an object of whole numbers by the names of quotas"),
        Field::optional(
            "limits",
            "an object of numbers by the names of request limits, each such as 300, or { \"limit\": 5000, \"lifts\": \"network\" }",
        ),
        Field::optional("until", UNTIL),
        Field::optional("blocked", BLOCKED),
        Field::optional("max_users", NUMBER),
        Field::optional("note", TEXT),
        Field::optional("source", TEXT),
    ];
}

impl Fields for ChangeLine {
    const ALL: &'static [Field] = &[
        Field::optional("email", TEXT),
        Field::optional("tier", TIER),
        Field::optional("concurrency", NUMBER),
        Field::optional("quotas", "an object of whole numbers or null by the names of quotas"),
        Field::optional(
            "limits",
            "an object of numbers or null by the names of request limits, each such as 300, or { \"limit\": 5000, \"lifts\": \"network\" }",
        ),
        Field::optional("until", UNTIL),
        Field::optional("blocked", BLOCKED),
        Field::optional("max_users", NUMBER),
        Field::optional("note", TEXT),
        Field::optional("source", TEXT),
    ];
}

impl NewLine {
    /// The account that is asked for.
    ///
    /// # Errors
    /// Its tier, a quota or a request limit is not in the rules, or `until` is no time.
    pub fn account(self, rules: &Rules) -> Result<NewAccount, Problem> {
        check_tier(&self.tier, rules)?;
        check_quotas(&self.tier, self.quotas.keys(), rules)?;
        limits::check(self.limits.keys(), rules)?;
        Ok(NewAccount {
            until: self
                .until
                .as_deref()
                .map(|until| times::point(until, "until"))
                .transpose()?,
            own: Own {
                concurrency: self.concurrency,
                quotas: limits::by_name(self.quotas, |limit| limit),
                limits: limits::by_name(self.limits, Raise::from),
            },
            name: self.name,
            email: self.email,
            tier: self.tier,
            blocked: self.blocked,
            users_max: self.max_users,
            note: self.note,
            source: self.source,
        })
    }
}

/// What is sent to change an account. What is left out stays as it is, `null` takes away.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChangeLine {
    #[serde(deserialize_with = "said")]
    email: Option<Option<String>>,
    tier: Option<String>,
    #[serde(deserialize_with = "said")]
    concurrency: Option<Option<u32>>,
    quotas: Option<BTreeMap<String, Option<u64>>>,
    limits: Option<BTreeMap<String, Option<RaiseLine>>>,
    #[serde(deserialize_with = "said")]
    until: Option<Option<String>>,
    blocked: Option<bool>,
    #[serde(deserialize_with = "said")]
    max_users: Option<Option<u32>>,
    #[serde(deserialize_with = "said")]
    note: Option<Option<String>>,
    #[serde(deserialize_with = "said")]
    source: Option<Option<String>>,
}

/// Tells `null` from nothing said.
pub(super) fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

impl ChangeLine {
    /// What a table of accounts says of one.
    pub fn of_table(email: Option<String>, tier: Option<String>) -> Self {
        Self {
            email: email.map(Some),
            tier,
            ..Self::default()
        }
    }

    /// The tier that it names.
    pub fn tier(&self) -> Option<&str> {
        self.tier.as_deref()
    }

    /// Numbers of that account's own go which it doesn't name, of the kinds of which it names any.
    pub fn replace(&mut self, own: &Own) {
        if let Some(quotas) = &mut self.quotas {
            for (name, _) in &own.quotas {
                quotas.entry(name.to_string()).or_insert(None);
            }
        }
        if let Some(limits) = &mut self.limits {
            for (name, _) in &own.limits {
                limits.entry(name.to_string()).or_insert(None);
            }
        }
    }

    /// Whether it lets in who is blocked.
    pub fn unblocks(&self) -> bool {
        self.blocked == Some(false)
    }

    /// The change that is asked for, of an account of that tier.
    ///
    /// # Errors
    /// As [`NewLine::account`].
    pub fn change(self, tier: &str, rules: &Rules) -> Result<Change, Problem> {
        if let Some(tier) = &self.tier {
            check_tier(tier, rules)?;
        }
        let (quotas, raises) = (self.quotas.unwrap_or_default(), self.limits.unwrap_or_default());
        // What is taken away need not be there any more.
        let given = quotas.iter().filter(|(_, limit)| limit.is_some());
        check_quotas(self.tier.as_deref().unwrap_or(tier), given.map(|(name, _)| name), rules)?;
        let given = raises.iter().filter(|(_, raise)| raise.is_some());
        limits::check(given.map(|(name, _)| name), rules)?;
        let until = match self.until {
            Some(Some(until)) => Some(Some(times::point(&until, "until")?)),
            Some(None) => Some(None),
            None => None,
        };
        Ok(Change {
            email: self.email,
            tier: self.tier,
            concurrency: self.concurrency,
            quotas: limits::by_name(quotas, |limit| limit),
            limits: limits::by_name(raises, |raise| raise.map(Raise::from)),
            until,
            blocked: self.blocked,
            users_max: self.max_users,
            note: self.note,
            source: self.source,
        })
    }
}

/// Whether there is that tier. What was asked for is not repeated: in an import it may be a key in the wrong column.
fn check_tier(tier: &str, rules: &Rules) -> Result<(), Problem> {
    let known = || rules.tiers.iter().map(|tier| &*tier.name);
    if known().any(|name| name == tier) {
        return Ok(());
    }
    let known = known().collect::<Vec<_>>().join(", ");
    Err(Problem::bad_request(format!(
        "there is no such tier; there are {known}"
    )))
}

fn check_quotas<'n>(tier: &str, names: impl Iterator<Item = &'n String>, rules: &Rules) -> Result<(), Problem> {
    let known = quotas_of(tier, rules);
    for name in names {
        if !known.contains(&name.as_str()) {
            let error = match known.as_slice() {
                [] => format!("the tier {tier} has no quotas that an account could have of its own"),
                known => format!("the tier {tier} has no such quota; it has {}", known.join(", ")),
            };
            return Err(Problem::bad_request(error));
        }
    }
    Ok(())
}

/// The names of a tier's quotas.
fn quotas_of<'r>(tier: &str, rules: &'r Rules) -> Vec<&'r str> {
    let tier = rules.tiers.iter().find(|known| *known.name == *tier);
    tier.into_iter()
        .flat_map(|tier| &tier.quotas)
        .map(|quota| &*quota.name)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use crate::http::admin::BODY_TIMEOUT;
    use axum::body::Body;
    use hyper::body::Frame;

    use super::*;

    /// A body of which nothing ever comes.
    struct Never;

    impl hyper::body::Body for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    /// Who had the token and sent less than was announced kept a connection for ever.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
        let clock = Clock::start();
        let request = Request::new(Body::new(Never));
        let problem = read(request, BODY_BYTES_MAX, BODY_TIMEOUT, &clock)
            .await
            .expect_err("it never comes");
        assert_eq!(problem.error(), "the body did not come within 30s");
        assert!(clock.now().since(crate::policy::time::Timestamp::ZERO) >= BODY_TIMEOUT);
    }
}
