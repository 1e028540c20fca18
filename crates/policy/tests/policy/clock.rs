//! Quotas while the system's wall clock is set forward and back (rules §5.11): nothing freezes, no debit vanishes, and a
//! refused caller is told truly when to come back.
//!
//! Regressions: a clock that was ahead for seconds froze all quotas for as long as it had been ahead, and said
//! `Retry-After: 11` again and again; and while a short step back was waited out, `Retry-After` left that wait out.

use proptest::collection::vec;
use proptest::prelude::*;
use tiergate_policy::caller::{AccountId, Caller};
use tiergate_policy::refusal::Refusal;
use tiergate_policy::rules::{Rules, Window, WindowId};
use tiergate_policy::time::{Span, Timestamp, UnixTime};
use tiergate_policy::{ClockStep, DebitNumber};

use super::harness::{Harness, ask, caller, rules};
use super::request::{AdmissionRequest, RequestExt};
use super::rules::{RulesBuilder, TierBuilder, calendar, rolling};
use super::seeded::runner;

/// 28 May 2026, 20:26:40 UTC.
const MAY: UnixTime = UnixTime::from_secs(1_780_000_000);
const HOUR: Span = Span::from_secs(3_600);
const DAY: Span = Span::from_secs(86_400);
const YEAR: Span = Span::from_secs(365 * 86_400);
const MS: Span = Span::from_millis(1);
const HISTORIES: u32 = 400;

/// An hour, and further than any calendar is computed.
fn jumps() -> [Span; 4] {
    [
        HOUR,
        YEAR,
        Span::from_secs(80 * 365 * 86_400),
        Span::from_secs(300 * 365 * 86_400),
    ]
}

/// Months of 30 days, for 74 years.
fn months() -> Window {
    let start = |month: u64| MAY + Span::from_secs(month * 30 * 86_400 + 43_200);
    calendar("month UTC", (0..900).map(start))
}

fn windows() -> [Window; 4] {
    [rolling(10), rolling(86_400), rolling(30 * 86_400), months()]
}

fn limited(windows: &[Window], limit: u64) -> RulesBuilder {
    let quotas = |tier| {
        let each =
            |tier: TierBuilder, (at, window): (usize, &Window)| tier.quota(&format!("q{at}"), limit, window.clone());
        windows.iter().enumerate().fold(tier, each)
    };
    rules(0, 1_000).edit_tiers(quotas)
}

/// A policy, and a list of all debits from which windows are filled.
struct Books {
    harness: Harness,
    debits: Vec<(Caller, UnixTime, u64)>,
    fills: u64,
}

impl Books {
    fn new(rules: impl Into<Rules>) -> Self {
        let mut harness = Harness::new(rules);
        harness.set_clock(MAY);
        Self {
            harness,
            debits: Vec::new(),
            fills: 0,
        }
    }

    /// What the system's wall clock reads if nobody sets it.
    fn reads(&self) -> UnixTime {
        self.harness.policy.clock_reads(self.harness.now)
    }

    fn forward(&mut self, by: Span) {
        self.set(self.reads() + by);
    }

    fn back(&mut self, by: Span) {
        let to = self.reads().as_millis().saturating_sub(by.as_millis());
        self.set(UnixTime::from_millis(to));
    }

    fn set(&mut self, reading: UnixTime) {
        if let ClockStep::Followed { to, .. } = self.harness.set_clock(reading) {
            self.debits.iter_mut().for_each(|(_, at, _)| *at = to.min(*at));
            self.fill();
        }
    }

    fn fill(&mut self) {
        let Harness { policy, now, .. } = &mut self.harness;
        self.fills += 1;
        policy.count_from(DebitNumber(self.fills));
        for window in policy.rules().clone().windows.ids() {
            for (caller, at, units) in &self.debits {
                policy.remember(window, *caller, *at, *units, *now);
            }
        }
    }

    fn succeeds(&mut self, ask: &AdmissionRequest) {
        let job = self.harness.runs(ask).job;
        let at = self.harness.policy.job(job).expect("it runs").admitted;
        self.debits.push((ask.caller, at, ask.cost.into()));
        self.harness.succeeds(job);
    }

    fn used(&mut self, window: u16, number: u64) -> u64 {
        let Harness { policy, now, .. } = &mut self.harness;
        policy.usage(WindowId(window), &caller(number), *now).used
    }

    /// A millisecond before the time that it was told it is refused again; at that time it passes.
    fn comes_back(&mut self, ask: &AdmissionRequest) -> Span {
        let told = self.harness.refused(ask).retry_after().expect("a debit comes back");
        self.harness.pass(Span::from_nanos(told.as_nanos() - MS.as_nanos()));
        assert_eq!(self.harness.refused(ask).retry_after(), Some(MS));
        self.harness.pass(MS);
        self.succeeds(ask);
        told
    }
}

/// Regression: the clock was an hour ahead for 2.5 s. A caller that had sent nothing got 402 with `Retry-After: 11`, again and again, for
/// an hour; after a year ahead, for a year.
#[test]
fn a_clock_that_was_ahead_freezes_no_quota() {
    for jump in jumps() {
        let mut books = Books::new(limited(&windows()[..1], 1));
        books.forward(jump);
        books.succeeds(&ask(1, 0));
        books.harness.pass(Span::from_millis(2_500));
        books.back(jump);
        let told = books.harness.refused(&ask(1, 0)).retry_after();
        assert!(told <= Some(Span::from_secs(11)), "{told:?}");
        books.succeeds(&ask(2, 0));
        for number in [2, 1, 2] {
            if books.used(0, number) > 0 {
                let told = books.comes_back(&ask(number, 0));
                assert!(told <= Span::from_secs(11), "{told}");
            } else {
                books.succeeds(&ask(number, 0));
            }
        }
    }
}

/// What windows have forgotten while the clock was ahead counts again when it is back.
#[test]
fn no_debit_vanishes_by_jumps_and_back() {
    let mut books = Books::new(limited(&windows()[1..], 100));
    let mut ahead = Span::ZERO;
    books.succeeds(&ask(1, 0));
    for jump in [Span::from_secs(25 * 3_600)].into_iter().chain(jumps()) {
        books.forward(jump);
        ahead = ahead + jump;
        for _ in 0..256 {
            books.harness.policy.sweep(books.harness.now);
        }
        books.succeeds(&ask(1, 0));
        books.harness.pass(Span::from_secs(1));
    }
    books.back(ahead);
    for window in 0..3 {
        assert_eq!(books.used(window, 1), 6, "{:?}", windows()[usize::from(window) + 1]);
    }
    books.harness.pass(DAY + Span::from_secs(120));
    assert_eq!([0, 1, 2].map(|window| books.used(window, 1)), [0, 6, 0]);
}

/// The page of a calendar was turned only forward. Beyond the last period that is computed there is no end to turn it at, so one
/// jump of 80 years froze the count of a month for good.
#[test]
fn a_calendar_goes_on_after_a_jump_beyond_its_end() {
    let mut books = Books::new(limited(&[months()], 1));
    let far = jumps()[2];
    books.forward(far);
    books.succeeds(&ask(1, 0));
    assert_eq!(books.harness.refused(&ask(1, 0)).retry_after(), None, "no end is known");
    books.back(far);
    let told = books.comes_back(&ask(1, 0));
    assert_eq!(told, Span::from_secs(43_200), "until the month's end");
}

#[test]
fn a_short_step_back_is_waited_out_and_told() {
    for window in [Window::Rolling(DAY), months()] {
        let mut books = Books::new(limited(&[window], 1));
        books.succeeds(&ask(1, 0));
        let said = books
            .harness
            .refused(&ask(1, 0))
            .retry_after()
            .expect("a debit comes back");
        let back = Span::from_secs(240);
        books.back(back);
        assert!(!books.harness.policy.has_new_windows());
        let told = books.harness.refused(&ask(1, 0)).retry_after();
        assert_eq!(told, Some(said + back), "quotas stand still for so long");
        books.harness.pass(back);
        assert_eq!(books.harness.refused(&ask(1, 0)).retry_after(), Some(said));
        books.back(back);
        books.comes_back(&ask(1, 0));
    }
}

#[test]
fn jobs_in_flight_are_dated_back() {
    let mut books = Books::new(limited(&[Window::Rolling(HOUR), months()], 9));
    let before = books.harness.runs(&ask(1, 0)).job;
    books.forward(YEAR);
    let ahead = books.harness.runs(&ask(1, 0)).job;
    books.back(YEAR);
    let dates = [before, ahead].map(|job| books.harness.policy.job(job).expect("it runs").admitted);
    assert_eq!(dates, [MAY, MAY]);
    for job in [before, ahead] {
        books.harness.succeeds(job);
    }
    assert_eq!([books.used(0, 1), books.used(1, 1)], [2, 2]);
    books.harness.pass(HOUR + Span::from_secs(3));
    assert_eq!([books.used(0, 1), books.used(1, 1)], [0, 2]);
}

/// Regression: the time at which expired users were last removed was in the future, so the account stayed full until then.
#[test]
fn users_expire_after_a_clock_was_ahead() {
    let mut books = Books::new(limited(&[Window::Rolling(HOUR)], 9));
    let user = |user| ask(1, 0).by_user(AccountId(1), user, 1);
    books.forward(YEAR);
    books.succeeds(&user(1));
    let full = Refusal::TooManyUsers { limit: 1 };
    assert_eq!(books.harness.refused(&user(2)), full);
    books.back(YEAR);
    assert_eq!(books.harness.refused(&user(2)), full);
    books.harness.pass(HOUR + Span::from_secs(3));
    books.succeeds(&user(2));
}

#[test]
fn a_recount_counts_every_debit_once() {
    let mut books = Books::new(limited(&windows(), 9));
    books.succeeds(&ask(1, 0));
    let running = books.harness.runs(&ask(1, 0)).job;
    books.harness.policy.recount(books.harness.now);
    assert!(books.harness.policy.has_new_windows());
    assert_eq!(books.used(3, 1), 0);
    books.fill();
    books.harness.succeeds(running);
    assert_eq!([0, 1, 2, 3].map(|window| books.used(window, 1)), [2; 4]);
}

#[test]
fn the_clocks_agree_since_they_were_last_set() {
    let mut books = Books::new(limited(&[], 0));
    let since = |books: &Books| books.harness.policy.clock_agreed_since();
    assert_eq!(since(&books), Timestamp::ZERO);
    books.harness.pass(HOUR);
    books.forward(Span::from_secs(1));
    assert_eq!(since(&books), Timestamp::ZERO);
    books.back(Span::from_secs(2));
    assert_eq!(since(&books), books.harness.now);
}

// ---- random histories

#[derive(Clone, Copy, Debug)]
enum Deed {
    /// A request of that cost; if it is refused, retried when told.
    Request(u32),
    Pass(Span),
    Forward(Span),
    Back(Span),
}

fn deed() -> impl Strategy<Value = Deed> {
    let step = || {
        prop_oneof![
            3 => (1..400_u64).prop_map(Span::from_secs),
            1 => prop::sample::select(jumps().to_vec()),
        ]
    };
    prop_oneof![
        6 => (1..=3_u32).prop_map(Deed::Request),
        3 => (1..20_000_u64).prop_map(Span::from_millis).prop_map(Deed::Pass),
        1 => (1..3 * 86_400_u64).prop_map(Span::from_secs).prop_map(Deed::Pass),
        1 => step().prop_map(Deed::Forward),
        2 => step().prop_map(Deed::Back),
    ]
}

#[test]
fn a_retry_at_the_time_told_is_admitted() {
    let (mut runner, seed, _) = runner(HISTORIES);
    let history = (prop::sample::select(windows().to_vec()), 3..=8_u64, vec(deed(), 20..80));
    let told = std::cell::Cell::new(0_u64);
    let result = runner.run(&history, |(window, limit, deeds)| {
        let mut books = Books::new(limited(&[window], limit));
        for deed in deeds {
            match deed {
                Deed::Request(cost) => {
                    let ask = ask(1, 0).cost(cost);
                    let fits = books.used(0, 1) + u64::from(cost) <= limit;
                    match fits {
                        true => books.succeeds(&ask),
                        false if books.harness.refused(&ask).retry_after().is_some() => {
                            told.set(told.get() + 1);
                            books.comes_back(&ask);
                        }
                        // Beyond the end of the calendar.
                        false => {}
                    }
                }
                Deed::Pass(span) => books.harness.pass(span),
                Deed::Forward(by) => books.forward(by),
                Deed::Back(by) => books.back(by),
            }
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("TIERGATE_SEED={seed}: {failure}");
    }
    assert!(told.get() >= 1_000, "only {} were told when to come back", told.get());
}
