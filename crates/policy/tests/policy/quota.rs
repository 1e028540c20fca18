//! Quotas, rule by rule (rules §5), and regressions.

use tiergate_policy::caller::{AccountId, Caller};
use tiergate_policy::refusal::Refusal;
use tiergate_policy::rules::{Rules, Window, WindowId};
use tiergate_policy::time::{Span, UnixTime};
use tiergate_policy::{DebitNumber, Outcome, Usage};

use super::harness::{Harness, ask, caller, rules};
use super::request::{AdmissionRequest, RequestExt};
use super::rules::{RulesBuilder, TierBuilder, calendar};

/// 28 May 2026, 20:26:40 UTC: between the starts of [`months`].
const MAY: UnixTime = UnixTime::from_secs(1_780_000_000);
const DAY: Span = Span::from_secs(86_400);
const FIRST: WindowId = WindowId(0);

fn after(span: Span) -> UnixTime {
    MAY + span
}

/// A calendar whose periods begin on the first of May, June and July, in UTC.
fn months() -> Window {
    let starts = [1_777_593_600, 1_780_272_000, 1_782_864_000];
    calendar("month UTC", starts.map(UnixTime::from_secs))
}

/// Until when it is May.
const JUNE: UnixTime = UnixTime::from_secs(1_780_272_000);

/// A tier of each priority, with a quota of that limit in each of the windows.
fn limited(windows: &[Window], limits: &[u64]) -> RulesBuilder {
    let quotas = |tier| {
        let each =
            |tier: TierBuilder, (at, limit): (usize, &u64)| tier.quota(&format!("q{at}"), *limit, windows[at].clone());
        limits.iter().enumerate().fold(tier, each)
    };
    rules(8, 100).windows(windows.to_vec()).edit_tiers(quotas)
}

/// A policy in May.
fn in_may(rules: impl Into<Rules>) -> Harness {
    let mut harness = Harness::new(rules);
    harness.set_clock(MAY);
    harness
}

impl Harness {
    fn succeeds_at_once(&mut self, ask: &AdmissionRequest) {
        let job = self.runs(ask).job;
        self.succeeds(job);
    }

    fn usage(&mut self, window: WindowId, caller: Caller) -> Usage {
        self.policy.usage(window, &caller, self.now)
    }
}

#[test]
fn parallel_requests_cannot_overspend() {
    let mut harness = in_may(limited(&[Window::Rolling(DAY)], &[10]));
    let jobs: Vec<_> = (0..3).map(|_| harness.runs(&ask(1, 3).cost(3)).job).collect();
    let refused = harness.refused(&ask(1, 3).cost(2));
    assert!(
        matches!(
            refused,
            Refusal::QuotaDepleted {
                limit: 10,
                used: 9,
                retry_after: None, // jobs in flight hold what is missing
                ..
            }
        ),
        "{refused:?}"
    );
    harness.policy.end(jobs[0], Outcome::Failed, harness.now);
    harness.policy.end(jobs[1], Outcome::Cancelled, harness.now);
    harness.succeeds(jobs[2]);
    let usage = harness.usage(FIRST, caller(1));
    assert_eq!((usage.used, usage.held), (3, 0), "only success debits");
}

#[test]
fn a_debit_belongs_to_the_month_of_admission() {
    let mut harness = in_may(limited(&[months()], &[2]));
    let job = harness.runs(&ask(1, 3).cost(2)).job;
    harness.set_clock(JUNE);
    let usage = harness.usage(FIRST, caller(1));
    assert_eq!((usage.used, usage.held), (0, 0), "what it holds is May's");
    let of_june = harness.runs(&ask(1, 3).cost(2)).job;
    harness.succeeds(job);
    let usage = harness.usage(FIRST, caller(1));
    assert_eq!(
        (usage.used, usage.held),
        (0, 2),
        "its debit is May's, June's hold goes on"
    );
    harness.succeeds(of_june);
    assert_eq!(harness.usage(FIRST, caller(1)).used, 2);
    harness.refused(&ask(1, 3));
}

#[test]
fn a_job_that_ends_after_midnight_debits_the_old_day() {
    // The clock isn't read between the period's end and the job's: the period begins only after the debit.
    let mut harness = in_may(limited(&[months()], &[2]));
    let job = harness.runs(&ask(1, 3)).job;
    harness.pass(JUNE.since(MAY));
    harness.succeeds(job);
    assert_eq!(harness.usage(FIRST, caller(1)).used, 0);
    assert!(!harness.policy.has_debit(&caller(1)));
}

/// Regression: the refusal named the first quota without headroom. So a caller that had spent both the day's and the month's
/// was told to retry tomorrow, and then told once more to retry in three weeks.
#[test]
fn the_refusing_quota_is_the_one_that_lasts_longest() {
    let mut harness = in_may(limited(&[Window::Rolling(DAY), months()], &[2, 2]));
    harness.succeeds_at_once(&ask(1, 3).cost(2));
    let refused = harness.refused(&ask(1, 3));
    assert!(
        matches!(&refused, Refusal::QuotaDepleted { name, .. } if **name == *"q1"),
        "{refused:?}"
    );
    assert_eq!(refused.retry_after(), Some(JUNE.since(MAY)));
    harness.pass(JUNE.since(MAY));
    harness.runs(&ask(1, 3));

    // What a request costs too much for, it costs too much for tomorrow too.
    let mut harness = in_may(limited(&[Window::Rolling(DAY), months()], &[2, 4]));
    harness.succeeds_at_once(&ask(1, 3).cost(2));
    let refused = harness.refused(&ask(1, 3).cost(3));
    assert!(
        matches!(&refused, Refusal::QuotaDepleted { name, retry_after: None, .. } if **name == *"q0"),
        "{refused:?}"
    );
}

/// Regression: a calendar that was new in reloaded rules began its current period when the clock was next read. A job that
/// ended before wrote its debit on the page of the time before, which was then thrown away.
#[test]
fn a_new_calendar_counts_jobs_that_end_at_once() {
    let mut harness = in_may(limited(&[Window::Rolling(DAY)], &[9]));
    let job = harness.runs(&ask(1, 3).cost(3)).job;
    let rules = limited(&[Window::Rolling(DAY), months()], &[9, 9]);
    harness.reload(rules);
    harness.succeeds(job);
    assert_eq!(harness.usage(WindowId(1), caller(1)).used, 3);
}

/// Users were taken to have gone after 31 days. October has an hour more where clocks are put back in it, so in its last hour
/// an account could have users beyond its number while the debits of the first hour still counted.
#[test]
fn users_are_remembered_for_the_longest_month() {
    let mut harness = in_may(limited(&[months()], &[9]));
    let user = |user| ask(1, 3).by_user(AccountId(1), user, 1);
    harness.succeeds_at_once(&user(1));
    harness.pass(Span::from_secs(31 * 86_400 + 1_800));
    assert_eq!(harness.refused(&user(2)), Refusal::TooManyUsers { limit: 1 });
    harness.pass(Span::from_secs(1_800));
    harness.runs(&user(2));
}

/// A record of no units made a debtor of its caller: in a calendar's window until the period's end.
#[test]
fn a_debit_of_nothing_makes_no_debtor() {
    let mut harness = in_may(limited(&[Window::Rolling(DAY), months()], &[9, 9]));
    for window in [WindowId(0), WindowId(1)] {
        harness.policy.remember(window, caller(1), MAY, 0, harness.now);
    }
    harness.succeeds_at_once(&ask(1, 3).cost(0));
    assert!(!harness.policy.has_debit(&caller(1)));
    assert_eq!(harness.policy.debtors(), [0; 3]);
}

/// A window of seconds counted them in 32 bits. With a clock beyond 2106 the first debit ended a program that checks for
/// overflow, and was not counted by one that doesn't.
#[test]
fn a_clock_set_to_the_far_future_changes_nothing() {
    let second = Window::Rolling(Span::from_secs(1));
    let mut harness = in_may(limited(&[second], &[1]));
    harness.set_clock(UnixTime::from_secs(u64::from(u32::MAX) + 10));
    harness.succeeds_at_once(&ask(1, 3));
    harness.refused(&ask(1, 3));
    harness.pass(Span::from_secs(2));
    harness.runs(&ask(1, 3));
}

#[test]
fn counts_belong_to_the_window_not_to_the_tier() {
    let mut harness = in_may(limited(&[Window::Rolling(DAY), months()], &[5, 5]));
    harness.succeeds_at_once(&ask(1, 3).cost(4));
    harness.refused(&ask(1, 6).cost(2));
    let more = limited(&[months(), Window::Rolling(DAY)], &[20, 20]);
    harness.reload(more.edit_tier("p6", |tier| tier.named("another")));
    for window in [WindowId(0), WindowId(1)] {
        assert_eq!(harness.usage(window, caller(1)).used, 4);
    }
    // The eighth name.
    harness.runs(&ask(1, 7).cost(16));
    harness.refused(&ask(1, 3));
}

/// A window that a reload has made counts from a debit's number on; below, debits are to be read back (rules §5.17).
#[test]
fn a_new_window_counts_what_nobody_reads_back() {
    let mut harness = in_may(limited(&[Window::Rolling(DAY)], &[9]));
    harness.succeeds_at_once(&ask(1, 3).cost(1));
    let [committed, later] = [2, 4].map(|cost| harness.runs(&ask(1, 3).cost(cost)));
    let both = [Window::Rolling(DAY), months()];
    harness.reload(limited(&both, &[9, 9]));
    assert!(harness.policy.has_new_windows());
    let new = harness.policy.count_from(DebitNumber(7));
    assert_eq!(new.entries().collect::<Vec<_>>(), [(WindowId(1), &both[1])]);
    assert!(!harness.policy.has_new_windows());
    harness.policy.succeed(committed.job, DebitNumber(6), harness.now);
    harness.policy.succeed(later.job, DebitNumber(8), harness.now);
    let used = |harness: &mut Harness| [0, 1].map(|window| harness.usage(WindowId(window), caller(1)).used);
    assert_eq!(used(&mut harness), [7, 4]);
    let counts = |harness: &Harness, first| harness.policy.counts_from(WindowId(1), DebitNumber(first));
    assert!(counts(&harness, 7) && !counts(&harness, 6));
    let at = after(Span::ZERO);
    harness.policy.remember(WindowId(1), caller(1), at, 3, harness.now);
    assert_eq!(used(&mut harness), [7, 7]);
    // The same windows in another order are the same still; one that goes and comes counts anew.
    let turned = [months(), Window::Rolling(DAY)];
    harness.reload(limited(&turned, &[9, 9]));
    assert!(counts(&harness, 7));
    assert_eq!(used(&mut harness), [7, 7]);
    harness.reload(limited(&turned[1..], &[9]));
    harness.reload(limited(&turned, &[9, 9]));
    harness.policy.count_from(DebitNumber(9));
    assert!(counts(&harness, 9) && !counts(&harness, 7));
    assert_eq!(used(&mut harness), [7, 0]);
}

#[test]
fn a_record_from_the_future_counts_as_of_now() {
    for (window, comes_back) in [
        // A whole minute's bucket is over 20 s after this time of May.
        (Window::Rolling(DAY), after(DAY + Span::from_secs(20))),
        (months(), JUNE),
    ] {
        let mut harness = in_may(limited(&[window], &[5]));
        let next_year = after(Span::from_secs(365 * 86_400));
        harness.policy.remember(FIRST, caller(1), next_year, 2, harness.now);
        let usage = harness.usage(FIRST, caller(1));
        assert_eq!((usage.used, usage.next_free), (2, Some(comes_back)));
    }
}
