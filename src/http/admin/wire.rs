//! Accounts and keys in JSON, and what of it fits the rules.

use axum::body::Bytes;
use axum::extract::Request;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;

use super::problem::Problem;
use super::sent::{Field, Fields};
use super::{Admin, limits, times};
use crate::clock::Clock;
use crate::http::limits::BlockByRule;
use crate::policy::rules::Rules;
use crate::policy::time::{Span, UnixTime};
use crate::store::account::{FIELDS, Kind, Numbers};
use crate::store::{Account, AccountPatch, AccountSpec, Key, Origin};

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
    spec: AccountSpec,
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

impl AccountLine {
    /// How that account is shown at present.
    pub fn of(account: &Account, admin: &Admin) -> Self {
        let now = admin.gate.clock().wall();
        let blocks = admin.limits().blocks_of_account(account.id, now);
        Self {
            blocked_by_rule: blocks.into_iter().map(RuleBlockLine::from).collect(),
            id: account.id.0,
            spec: account.spec(),
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

impl Fields for AccountSpec {
    fn all() -> Vec<Field> {
        let name = Field::required("name", "text");
        std::iter::once(name).chain(fields(false)).collect()
    }
}

impl Fields for AccountPatch {
    fn all() -> Vec<Field> {
        fields(true).collect()
    }
}

/// The fields of an account, or of what changes one.
fn fields(changes: bool) -> impl Iterator<Item = Field> {
    FIELDS.iter().map(move |field| Field {
        name: field.name,
        holds: field.kind.in_json(changes),
        required: !changes && field.kind == Kind::Tier,
    })
}

/// Whether the rules have what a new account names.
///
/// # Errors
/// Its tier, a quota or a request limit is not in them.
pub fn check_spec(spec: &AccountSpec, rules: &Rules) -> Result<(), Problem> {
    check_tier(&spec.tier, rules)?;
    check_quotas(&spec.tier, spec.quotas.keys(), rules)?;
    limits::check(spec.limits.keys(), rules)
}

/// Whether the rules have what is said anew of an account of that tier. What is taken away need not be there any more.
///
/// # Errors
/// As [`check_spec`].
pub fn check_patch(patch: &AccountPatch, tier: &str, rules: &Rules) -> Result<(), Problem> {
    fn given<T>(numbers: &Option<Numbers<Option<T>>>) -> impl Iterator<Item = &String> {
        let given = numbers.iter().flatten().filter(|(_, number)| number.is_some());
        given.map(|(name, _)| name)
    }
    if let Some(tier) = &patch.tier {
        check_tier(tier, rules)?;
    }
    check_quotas(patch.tier.as_deref().unwrap_or(tier), given(&patch.quotas), rules)?;
    limits::check(given(&patch.limits), rules)
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
