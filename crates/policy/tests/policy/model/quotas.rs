//! What callers have used and may use: quotas, and the users of delegating accounts.

use std::sync::Arc;

use tiergate_policy::caller::Caller;
use tiergate_policy::rules::{Quota, Tier, Window, WindowId};
use tiergate_policy::time::{Span, Timestamp, UnixTime};
use tiergate_policy::{AccountOverrides, Usage};

use super::super::debits::{leaves, width};
use super::super::request::AdmissionRequest;
use super::{Job, Model, Rejection, count};

impl Model {
    /// §5.9: the account has at most so many users. A user is one of them for as long as it may have a debit, counted from when
    /// it was last admitted; expired ones are removed when the number is full, at most once a minute.
    pub(super) fn users_have_room(&mut self, ask: &AdmissionRequest, wall: UnixTime) -> Result<(), Rejection> {
        let (Caller::User { of, user }, Some(delegate)) = (ask.caller, &ask.delegate) else {
            return Ok(());
        };
        let limit = delegate.users_max;
        let full = |model: &Self| {
            let of_account = || model.users.iter().filter(|known| known.0 == of);
            of_account().all(|known| known.1 != user) && count(of_account()) >= limit
        };
        let swept = self.users_swept.iter().find(|swept| swept.0 == of).map(|swept| swept.1);
        if full(self) && swept.is_some_and(|swept| wall.since(swept) >= Span::from_secs(60)) {
            let memory = self.memory();
            self.users.retain(|known| known.0 != of || wall.since(known.2) < memory);
            self.users_swept.retain(|swept| swept.0 != of);
            self.users_swept.push((of, wall));
        }
        if full(self) {
            Err(Rejection::TooManyUsers { limit })
        } else {
            Ok(())
        }
    }

    /// How long a debit may count: a rolling window and the bucket by which it is late; a month of 31 days and the hour that it
    /// is longer by where clocks are put back in it.
    fn memory(&self) -> Span {
        let memory = |window: &Window| match window {
            Window::Rolling(length) => *length + Span::from_millis(width(*length)),
            Window::Calendar(_) => Span::from_secs(31 * 86_400 + 3_600),
        };
        self.rules.windows.iter().map(memory).max().unwrap_or(Span::ZERO)
    }

    pub(super) fn note_user(&mut self, caller: Caller, at: UnixTime) {
        let Caller::User { of, user } = caller else { return };
        match self.users.iter_mut().find(|known| (known.0, known.1) == (of, user)) {
            Some(known) => known.2 = known.2.max(at),
            None => self.users.push((of, user, at)),
        }
        if self.users_swept.iter().all(|swept| swept.0 != of) {
            self.users_swept.push((of, UnixTime::default()));
        }
    }

    /// §5.2: debited + held + cost ≤ limit, in every quota of the caller and of the account that asks for it. Of those without
    /// headroom, the refusal names the one that refuses the job for longest, for good above all; the first of several.
    /// Where the clock stands still, it does so until the system's has caught up.
    pub(super) fn quotas_have_room(
        &self,
        ask: &AdmissionRequest,
        wall: UnixTime,
        now: Timestamp,
    ) -> Result<(), Rejection> {
        let cost = u64::from(ask.cost);
        let mut longest: Option<((bool, Option<Span>), Rejection)> = None;
        for (caller, tier, own) in self.quota_subjects(ask) {
            for quota in &tier.quotas {
                let limit = own_limit(own.as_deref(), quota);
                let used = self.debits.used(quota.window, caller, wall) + self.held(quota.window, caller, wall);
                if used + cost <= limit || !quota.enforce {
                    continue;
                }
                let missing = used + cost - limit;
                let back = self.debits.back(quota.window, caller, missing, wall);
                let retry_after = back
                    .filter(|_| cost <= limit)
                    .map(|back| back.since(self.wall_expected(now)));
                let lasts = (cost > limit, retry_after);
                if longest.as_ref().is_none_or(|(longest, _)| lasts > *longest) {
                    let name = Arc::clone(&quota.name);
                    let rejection = Rejection::QuotaDepleted {
                        name,
                        limit,
                        used,
                        retry_after,
                    };
                    longest = Some((lasts, rejection));
                }
            }
        }
        longest.map_or(Ok(()), |(_, rejection)| Err(rejection))
    }

    /// Quotas that would refuse it and aren't enforced, by name.
    pub fn overdrawn(&mut self, ask: &AdmissionRequest, now: Timestamp) -> Vec<Arc<str>> {
        let (wall, cost) = (self.wall_clock(now), u64::from(ask.cost));
        let mut names: Vec<Arc<str>> = Vec::new();
        for (caller, tier, own) in self.quota_subjects(ask) {
            for quota in tier.quotas.iter().filter(|quota| !quota.enforce) {
                let used = self.debits.used(quota.window, caller, wall) + self.held(quota.window, caller, wall);
                if used + cost > own_limit(own.as_deref(), quota) && !names.contains(&quota.name) {
                    names.push(Arc::clone(&quota.name));
                }
            }
        }
        names
    }

    /// The subjects whose terms must admit the job: its caller, and the account that asks for it.
    pub fn quota_subjects(&self, ask: &AdmissionRequest) -> Vec<(Caller, &Tier, Option<Arc<AccountOverrides>>)> {
        let mut quota_subjects = vec![(ask.caller, self.rules.tier(ask.tier), ask.own.clone())];
        if let Some(delegate) = &ask.delegate {
            let account = Caller::Account(delegate.account);
            quota_subjects.push((account, self.rules.tier(delegate.tier), delegate.own.clone()));
        }
        quota_subjects
    }

    /// What jobs in flight hold of the window; of a calendar's, only those admitted in the current period.
    pub(super) fn held(&self, window: WindowId, caller: Caller, wall: UnixTime) -> u64 {
        let window = &self.rules.windows[window];
        let counts = |job: &Job| match window {
            Window::Rolling(_) => true,
            Window::Calendar(_) => leaves(window, job.admitted).is_none_or(|leaves| wall < leaves),
        };
        let jobs = self.jobs.iter().filter(|job| job.counts_for(caller) && counts(job));
        jobs.map(|job| u64::from(job.cost)).sum()
    }

    pub fn usage(&mut self, window: WindowId, caller: Caller, now: Timestamp) -> Usage {
        let wall = self.wall_clock(now);
        let used = self.debits.used(window, caller, wall);
        Usage {
            used,
            held: self.held(window, caller, wall),
            next_free: self.debits.back(window, caller, 1, wall),
            next_reset: match &self.rules.windows[window] {
                Window::Rolling(_) => self.debits.back(window, caller, used.max(1), wall),
                window @ Window::Calendar(_) => leaves(window, wall).filter(|_| used > 0),
            },
        }
    }

    /// A debit of the past; one from the future counts as of now.
    pub fn remember(&mut self, window: WindowId, caller: Caller, admitted: UnixTime, units: u64, now: Timestamp) {
        let at = admitted.min(self.wall_clock(now));
        self.debits.remember(window, caller, at, units);
        self.note_user(caller, at);
    }

    /// All debits have been read back.
    pub fn refilled(&mut self) {
        for (_, caller, admitted, _) in self.debits.all() {
            self.note_user(caller, admitted);
        }
    }
}

/// The caller's own limit, otherwise its tier's.
pub fn own_limit(own: Option<&AccountOverrides>, quota: &Quota) -> u64 {
    let of_its_own = own.and_then(|own| own.quotas.iter().find(|(name, _)| *name == quota.name));
    of_its_own.map_or(quota.limit, |(_, limit)| *limit)
}
