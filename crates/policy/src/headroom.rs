//! Whether the caller has headroom in its users, quotas and concurrency, before anything is taken (rules §2.4). A user
//! needs headroom of its own, and so does its delegating account.

use std::sync::Arc;

use super::Policy;
use super::caller::Caller;
use super::event::{AccountOverrides, AdmissionRequest, UnenforcedQuotas};
use super::refusal::Refusal;
use super::rules::{Quota, Rules, Tier};
use super::time::{Timestamp, UnixTime};

impl Policy {
    /// The delegating account's number of users is bounded (rules §5.9).
    pub(super) fn users_have_room(&mut self, ask: &AdmissionRequest, wall: UnixTime) -> Result<(), Refusal> {
        let (Caller::User { of, user }, Some(delegate)) = (ask.caller, &ask.delegate) else {
            return Ok(());
        };
        let limit = delegate.users_max;
        if self.users.may(of, user, limit, self.quotas.memory(), wall) {
            Ok(())
        } else {
            Err(Refusal::TooManyUsers { limit })
        }
    }

    /// Each quota needs headroom: debited + held + cost ≤ limit (rules §5.2). If several are depleted, the refusal names
    /// the one with the longest wait: a client that retries after that time is not refused by another quota. Returns the
    /// depleted quotas that aren't enforced.
    pub(super) fn quotas_have_room(
        &mut self,
        ask: &AdmissionRequest,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<UnenforcedQuotas, Refusal> {
        let wall = self.wall_clock(now);
        let mut longest: Option<Depleted> = None;
        let mut overdrawn = UnenforcedQuotas::new();
        for subject in quota_subjects(ask, rules) {
            if subject.tier.quotas.is_empty() {
                continue;
            }
            let held = self.concurrency.load(&subject.caller).held;
            for quota in &subject.tier.quotas {
                let Some(depleted) = self.depleted(&subject, quota, held, ask.cost, wall) else {
                    continue;
                };
                if !quota.enforce {
                    // A quota of the user and one of its account may have the same name.
                    if !overdrawn.contains(&depleted.name) {
                        overdrawn.push(depleted.name);
                    }
                } else if longest
                    .as_ref()
                    .is_none_or(|longest| depleted.lasts() > longest.lasts())
                {
                    longest = Some(depleted);
                }
            }
        }
        let reads = self.clock_reads(now);
        longest.map_or(Ok(overdrawn), |depleted| Err(depleted.refusal(reads)))
    }

    fn depleted(
        &mut self,
        subject: &QuotaSubject<'_>,
        quota: &Quota,
        held: u64,
        cost: u32,
        wall: UnixTime,
    ) -> Option<Depleted> {
        let limit = subject
            .own
            .and_then(|own| own.limit(&quota.name))
            .unwrap_or(quota.limit);
        let used = self.quotas.taken(quota.window, &subject.caller, held, wall);
        let asked = used + u64::from(cost);
        if asked <= limit {
            return None;
        }
        let never = u64::from(cost) > limit;
        let back = self.quotas.back(quota.window, &subject.caller, asked - limit);
        Some(Depleted {
            name: Arc::clone(&quota.name),
            limit,
            used,
            never,
            back: back.filter(|_| !never),
        })
    }

    pub(super) fn concurrency_has_room(&self, subject: &QuotaSubject<'_>) -> Result<(), Refusal> {
        let own = subject.own.and_then(|own| own.concurrency);
        let limit = own.unwrap_or(subject.tier.concurrency);
        let used = self.concurrency.load(&subject.caller).jobs;
        if used < limit {
            Ok(())
        } else {
            Err(Refusal::ConcurrencyExceeded { limit, used })
        }
    }
}

/// A subject whose terms must admit the job: its caller, or the delegating account.
pub(super) struct QuotaSubject<'a> {
    caller: Caller,
    tier: &'a Tier,
    own: Option<&'a AccountOverrides>,
}

/// With their tiers under these rules.
pub(super) fn quota_subjects<'a>(
    ask: &'a AdmissionRequest,
    rules: &'a Rules,
) -> impl Iterator<Item = QuotaSubject<'a>> {
    let caller = QuotaSubject {
        caller: ask.caller,
        tier: rules.tier(ask.tier),
        own: ask.own.as_deref(),
    };
    let account = ask.delegate.as_deref().map(|delegate| QuotaSubject {
        caller: Caller::Account(delegate.account),
        tier: rules.tier(delegate.tier),
        own: delegate.own.as_deref(),
    });
    std::iter::once(caller).chain(account)
}

/// A depleted quota.
struct Depleted {
    name: Arc<str>,
    limit: u64,
    used: u64,
    /// The job costs more than the whole quota.
    never: bool,
    /// When the job would fit, by the wall clock.
    back: Option<UnixTime>,
}

impl Depleted {
    /// For comparison: units held by jobs in flight may be released at any moment, so those sort first.
    fn lasts(&self) -> (bool, Option<UnixTime>) {
        (self.never, self.back)
    }

    /// `reads` is the reading of the system's clock. If the policy's clock stands still until that has caught up, the caller
    /// has to wait for that too.
    fn refusal(self, reads: UnixTime) -> Refusal {
        Refusal::QuotaDepleted {
            name: self.name,
            limit: self.limit,
            used: self.used,
            retry_after: self.back.map(|back| back.since(reads)),
        }
    }
}
