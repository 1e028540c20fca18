//! The callers that take part, and what they have of their own.

use std::sync::Arc;

use tiergate_policy::caller::{AccountId, Caller, NetworkId, UserId};
use tiergate_policy::rules::TierId;
use tiergate_policy::time::Timestamp;
use tiergate_policy::{AccountOverrides, Admission, JobId, Policy};

use super::super::request::request;
use super::super::rules::rules;

/// Callers that take part: a network, four accounts, and users of two of these.
pub(super) const CALLERS: u8 = 8;

pub(super) fn nth_caller(number: u8) -> Caller {
    let user = |of, user| Caller::User {
        of: AccountId(of),
        user: UserId(user),
    };
    match u32::from(number % CALLERS) {
        0 => Caller::Network(NetworkId(0)),
        5 => user(1, 1),
        6 => user(1, 2),
        7 => user(2, 1),
        other => Caller::Account(AccountId(other)),
    }
}

pub(super) fn callers() -> impl Iterator<Item = Caller> {
    (0..CALLERS).map(nth_caller)
}

/// Some numbers for what an account has of its own: a concurrency of 1 to 3 or its tier's, and up to two quotas.
pub(super) fn own(bits: u8) -> Arc<AccountOverrides> {
    let quota = |name: &str, limit: u8| (name.into(), u64::from(limit));
    let quotas = [quota("q0", bits >> 2), quota("q1", bits % 16)];
    Arc::new(AccountOverrides {
        concurrency: Some(u32::from(bits % 4)).filter(|limit| *limit > 0),
        quotas: quotas[..usize::from(bits >> 6) % 3].to_vec(),
        limits: Vec::new(),
    })
}

/// The id of a job in a policy with so many jobs that no history here reaches its place.
pub(super) fn unknown_job() -> JobId {
    let elsewhere = rules()
        .queue(0)
        .tier("all", |tier| tier.concurrency(1_000))
        .upstream("all", &[200]);
    let mut policy = Policy::new(Arc::new(elsewhere.build()));
    let ask = request(nth_caller(0), TierId(0));
    let last = (0..200).map(|_| policy.enter(&ask, Timestamp::ZERO)).last();
    match last {
        Some(Ok(Admission::Running { grant, .. })) => grant.job,
        other => unreachable!("there are slots enough: {other:?}"),
    }
}
