//! Accounts and keys in JSON, and checks against the rules.

use axum::body::Bytes;
use axum::extract::Request;
use http_body::Body as _;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;

use super::problem::Problem;
use super::sent::{BodyField, BodyFields};
use super::{Admin, limits, times};
use crate::clock::Clock;
use crate::http::limits::BlockByRule;
use crate::policy::rules::Rules;
use crate::policy::time::{Span, UnixTime};
use crate::store::account::{FIELDS, FieldKind, Numbers};
use crate::store::{Account, AccountPatch, AccountSpec, Beginning, Key, KeyUse, Origin};

/// The most bytes of a body that describes one account or key.
pub const BODY_BYTES_MAX: usize = 16 << 10;
/// The most characters of a tier's name that an error repeats.
const NAME_CHARS_MAX: usize = 64;

/// Reads the whole body.
///
/// # Errors
/// It is too long, takes too long, or its connection failed.
pub async fn read(request: Request, bytes_max: usize, timeout: Span, clock: &Clock) -> Result<Bytes, Problem> {
    let read = async {
        let mut body = Limited::new(request.into_body(), bytes_max);
        // Reserve the announced length at once, so that a long body is not copied.
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
        Err(_) => Err(Problem::bad_request("the body ended early")),
    }
}

/// An account as the API shows it.
#[derive(Debug, Serialize)]
pub struct AccountLine {
    id: u32,
    #[serde(flatten)]
    spec: AccountSpec,
    /// `false` if tiers.yaml has no tier of that name: the account has the anonymous tier's terms. Otherwise left out.
    #[serde(skip_serializing_if = "Clone::clone")]
    tier_exists: bool,
    keys: usize,
    created: String,
    /// `stored`, or `listed` in tiers.yaml: then it must be changed there.
    origin: &'static str,
    blocked_by_rule: Vec<RuleBlockLine>,
}

/// A block by the rule of a limit.
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
    /// The account as it is now.
    pub fn of(account: &Account, admin: &Admin) -> Self {
        let now = admin.gate.clock().wall();
        let blocks = admin.limits().blocks_of_account(account.id, now);
        Self {
            blocked_by_rule: blocks.into_iter().map(RuleBlockLine::from).collect(),
            id: account.id.0,
            spec: account.spec(),
            tier_exists: admin.rules().tier_named(&account.tier).is_some(),
            keys: account.keys().len(),
            created: times::written(account.created),
            origin: match account.origin {
                Origin::Declared => "listed",
                Origin::Stored => "stored",
            },
        }
    }
}

/// A key as the API shows it: never the key itself.
#[derive(Debug, Serialize)]
pub struct KeyLine {
    id: String,
    label: String,
    /// Its first characters; `null` until they are known, of a key that was given by its hash.
    begins: Option<String>,
    /// Its last use; `null`: never, or before tiergate recorded it.
    last_used: Option<String>,
    created: String,
    expires: Option<String>,
    expired: bool,
}

impl KeyLine {
    /// The key at that time.
    pub fn of(key: &Key, used: &KeyUse, now: UnixTime) -> Self {
        let begins = used.begins.as_ref().map(Beginning::as_str);
        Self {
            id: key.id().to_string(),
            begins: begins.filter(|begins| !begins.is_empty()).map(str::to_owned),
            last_used: used.last_used.map(times::written),
            label: key.label.to_string(),
            created: times::written(key.created),
            expires: key.expires.map(times::written),
            expired: key.is_expired(now),
        }
    }
}

impl BodyFields for AccountSpec {
    fn all() -> Vec<BodyField> {
        let name = BodyField::required("name", "text");
        std::iter::once(name).chain(fields(false)).collect()
    }
}

impl BodyFields for AccountPatch {
    fn all() -> Vec<BodyField> {
        fields(true).collect()
    }
}

/// The fields of an account, or of a change to one.
fn fields(changes: bool) -> impl Iterator<Item = BodyField> {
    FIELDS.iter().map(move |field| BodyField {
        name: field.name,
        holds: field.kind.in_json(changes),
        required: !changes && field.kind == FieldKind::Tier,
    })
}

/// Checks that the rules have what a new account names.
///
/// # Errors
/// Its tier, a quota or a request limit is unknown.
pub fn check_spec(spec: &AccountSpec, rules: &Rules) -> Result<(), Problem> {
    check_tier(&spec.tier, rules)?;
    check_quotas(&spec.tier, spec.quotas.keys(), rules)?;
    limits::check(spec.limits.keys(), rules)
}

/// Checks a change to an account of that tier. What it removes need not exist any more.
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

fn check_tier(tier: &str, rules: &Rules) -> Result<(), Problem> {
    if rules.tier_named(tier).is_some() {
        return Ok(());
    }
    let shown: String = tier
        .chars()
        .take(NAME_CHARS_MAX)
        .flat_map(char::escape_default)
        .collect();
    Err(Problem::bad_request(format!(
        "there is no tier `{shown}`; there are {}",
        tiers_of(rules)
    )))
}

/// Checks that the tier of an import's line exists. The error does not repeat it: it may be a key in the wrong column.
///
/// # Errors
/// It does not exist.
pub fn check_imported_tier(tier: &str, rules: &Rules) -> Result<(), String> {
    match rules.tier_named(tier) {
        Some(_) => Ok(()),
        None => Err(format!("there is no such tier; there are {}", tiers_of(rules))),
    }
}

fn tiers_of(rules: &Rules) -> String {
    let names: Vec<&str> = rules.tiers.iter().map(|tier| &*tier.name).collect();
    names.join(", ")
}

fn check_quotas<'n>(tier: &str, names: impl Iterator<Item = &'n String>, rules: &Rules) -> Result<(), Problem> {
    let known = quotas_of(tier, rules);
    for name in names {
        if !known.contains(&name.as_str()) {
            let error = match known.as_slice() {
                [] => format!("the tier {tier} has no quotas that an account could override"),
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

    /// A body that never yields anything.
    struct Never;

    impl hyper::body::Body for Never {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    /// Regression: a client with the token that sent less than announced kept its connection for ever.
    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for_for_ever() {
        let clock = Clock::start();
        let request = Request::new(Body::new(Never));
        let problem = read(request, BODY_BYTES_MAX, BODY_TIMEOUT, &clock)
            .await
            .expect_err("it never comes");
        assert_eq!(problem.error(), "the body did not arrive within 30s");
        assert!(clock.now().since(crate::policy::time::Timestamp::ZERO) >= BODY_TIMEOUT);
    }
}
