//! Days and months of time zones, as the configuration computes them and the policy counts by them (rules §5.1, §5.7),
//! against another computation: what date a calendar on the wall shows there.

#[path = "../crates/policy/tests/support/seeded.rs"]
mod seeded;

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use proptest::prelude::*;
use tiergate::config::Config;
use tiergate::policy::Policy;
use tiergate::policy::caller::{AccountId, Caller};
use tiergate::policy::rules::{Rules, WindowId};
use tiergate::policy::time::{self, UnixTime};

use seeded::runner;

/// Two usual ones; one whose clocks skip midnight, one whose clocks show it twice, and one beyond the date line.
const ZONES: [&str; 6] = [
    "UTC",
    "America/New_York",
    "Europe/London",
    "Africa/Cairo",
    "America/Havana",
    "Pacific/Apia",
];
const UNITS: [&str; 2] = ["day", "month"];
const STEP_MAX: time::Span = time::Span::from_secs(300);
const WINDOW: WindowId = WindowId(0);
const NOW: time::Timestamp = time::Timestamp::ZERO;
const HOUR_MS: i64 = 3_600_000;

fn rules(unit: &str, zone: &str) -> Rules {
    let yaml = format!(
        "listen: 127.0.0.1:8080\n\
         admin: {{ listen: 127.0.0.1:9090 }}\n\
         queue: {{ length: 8 }}\n\
         tiers: {{ free: {{ priority: 0, concurrency: 1, quota: {{ limit: 9, calendar: {unit}, zone: {zone} }} }} }}\n\
         anonymous: free\n\
         upstreams: {{ search: {{ servers: [ {{ url: \"http://127.0.0.1:8081\", slots: 4 }} ] }} }}\n\
         routes: [{{ path: /search, upstream: search, metered: true }}]\n"
    );
    match Config::parse("tiers.yaml", yaml.as_bytes()) {
        Ok(config) => config.rules,
        Err(errors) => panic!("{errors}"),
    }
}

/// A policy, and what a calendar on the wall shows in the same zone.
struct Place {
    policy: Policy,
    zone: TimeZone,
    unit: &'static str,
}

impl Place {
    fn new(unit: &'static str, zone: &str) -> Self {
        Self {
            policy: Policy::new(Arc::new(rules(unit, zone))),
            zone: TimeZone::get(zone).expect("there is such a zone"),
            unit,
        }
    }

    fn date(&self, at_ms: i64) -> (i16, i8, i8) {
        let at = Timestamp::from_millisecond(at_ms).expect("jiff knows it");
        let date = Zoned::new(at, self.zone.clone()).date();
        let day = if self.unit == "day" { date.day() } else { 1 };
        (date.year(), date.month(), day)
    }

    /// The clock reads so. It may not have read more than a little later before.
    fn at(&mut self, at_ms: i64) {
        self.policy.follow_clock(unix(at_ms), NOW, STEP_MAX);
    }

    fn debit(&mut self, caller: u32, at_ms: i64) {
        self.policy.remember(WINDOW, who(caller), unix(at_ms), 1, NOW);
    }

    fn counts(&mut self, caller: u32) -> bool {
        self.policy.usage(WINDOW, &who(caller), NOW).used == 1
    }

    /// The first millisecond after `from` on which the calendar on the wall shows something else than then, if that is before
    /// `to`.
    fn change(&self, from: i64, to: i64) -> Option<i64> {
        let (mut same, mut other) = (from, to);
        if self.date(same) == self.date(other) {
            return None;
        }
        while other - same > 1 {
            let middle = same + (other - same) / 2;
            if self.date(middle) == self.date(from) {
                same = middle;
            } else {
                other = middle;
            }
        }
        Some(other)
    }
}

fn unix(at_ms: i64) -> UnixTime {
    UnixTime::from_millis(at_ms.try_into().expect("after 1970"))
}

fn who(caller: u32) -> Caller {
    Caller::Account(AccountId(caller))
}

fn ms(text: &str) -> i64 {
    text.parse::<Timestamp>().expect("a time").as_millisecond()
}

/// Leap years, years of two ends of the tables, and what lies between: at each change of the date the millisecond before it
/// belongs to the period before, and the change itself to the next.
#[test]
fn periods_change_when_the_date_does() {
    for unit in UNITS {
        for zone in ZONES {
            let mut place = Place::new(unit, zone);
            let mut changes = 0;
            for year in [2020, 2024, 2026, 2027, 2028, 2050, 2096, 2099] {
                let mut from = ms(&format!("{year}-01-02T14:00:00Z"));
                let end = ms(&format!("{year}-12-30T12:00:00Z"));
                let mut caller = 0;
                while from < end {
                    // No day is shorter, and no month changes twice within it.
                    let to = from + 22 * HOUR_MS;
                    if let Some(change) = place.change(from, to) {
                        changes += 1;
                        caller += 2;
                        place.at(change - 1);
                        place.debit(caller, change - 1);
                        assert!(place.counts(caller));
                        place.at(change);
                        assert!(!place.counts(caller), "{unit} {zone}: {change} is of the period before");
                        place.debit(caller, change - 1);
                        assert!(!place.counts(caller), "{unit} {zone}: a record of the period before");
                        place.debit(caller + 1, change);
                        assert!(place.counts(caller + 1));
                    }
                    from = to;
                }
            }
            let least = if unit == "day" { 8 * 360 } else { 8 * 11 };
            assert!(changes >= least, "{unit} {zone}: only {changes} changes were seen");
        }
    }
}

/// Any two moments, from the first of 2020 to the end of 2099: what was debited at one counts at the other if both show the
/// same date.
#[test]
fn a_debit_counts_while_the_date_is_the_same() {
    let (from, to) = (ms("2020-01-02T00:00:00Z"), ms("2099-12-30T00:00:00Z"));
    let later = prop_oneof![0..48 * HOUR_MS, 0..62 * 24 * HOUR_MS, Just(0_i64), Just(1_i64)];
    let pair = (0..UNITS.len(), 0..ZONES.len(), from..to, later);
    let mut places: Vec<Place> = Vec::new();
    for unit in UNITS {
        places.extend(ZONES.map(|zone| Place::new(unit, zone)));
    }
    let windows: Vec<_> = places
        .iter()
        .map(|place| place.policy.rules().windows[WINDOW].clone())
        .collect();
    let (mut runner, seed, _) = runner(3_000);
    let result = runner.run(&pair, |(unit, zone, debited, later)| {
        let at = unit * ZONES.len() + zone;
        let (place, now) = (&places[at], (debited + later).min(to));
        let tiergate::policy::rules::Window::Calendar(calendar) = &windows[at] else {
            unreachable!("all are calendars")
        };
        assert_eq!(
            calendar.period(unix(debited)) == calendar.period(unix(now)),
            place.date(debited) == place.date(now),
            "{} {}: {debited} and {now}",
            UNITS[unit],
            ZONES[zone]
        );
        Ok(())
    });
    if let Err(failure) = result {
        panic!("TIERGATE_SEED={seed}: {failure}");
    }
}

#[test]
fn days_have_the_hours_that_their_zone_gives_them() {
    for (zone, noon, hours) in [
        ("America/New_York", "2026-03-08T17:00:00Z", 23),
        ("America/New_York", "2026-11-01T17:00:00Z", 25),
        ("Europe/London", "2026-03-29T12:00:00Z", 23),
        ("Europe/London", "2026-10-25T12:00:00Z", 25),
        ("America/Havana", "2026-03-08T17:00:00Z", 23),
        ("America/Havana", "2026-11-01T17:00:00Z", 25),
        ("Africa/Cairo", "2026-04-24T12:00:00Z", 23),
        ("Africa/Cairo", "2026-10-29T12:00:00Z", 25),
        ("UTC", "2028-02-29T12:00:00Z", 24),
        ("Pacific/Apia", "2028-02-29T12:00:00Z", 24),
    ] {
        let mut place = Place::new("day", zone);
        place.at(ms(noon));
        place.debit(1, ms(noon));
        let reset = place
            .policy
            .usage(WINDOW, &who(1), NOW)
            .next_reset
            .expect("the day ends");
        let begun = (0..=26 * HOUR_MS)
            .step_by(HOUR_MS as usize / 4)
            .find(|back| place.date(ms(noon) - back) != place.date(ms(noon)))
            .expect("the day began");
        let begun = ms(noon) - begun + HOUR_MS / 4;
        let length = i64::try_from(reset.as_millis()).unwrap() - begun;
        assert_eq!(length, hours * HOUR_MS, "{zone}, {noon}");
    }
}

/// The tables end with 2099: its last period never does, so nothing that counts in it ever comes back.
#[test]
fn the_last_period_that_was_computed_never_ends() {
    for (unit, in_it) in [("day", "2099-12-31T00:00:00Z"), ("month", "2099-12-01T00:00:00Z")] {
        let mut place = Place::new(unit, "UTC");
        place.at(ms(in_it) - 1);
        place.debit(1, ms(in_it) - 1);
        place.at(ms(in_it));
        assert!(!place.counts(1));
        place.debit(2, ms(in_it));
        for later in ["2100-01-01T00:00:00Z", "2100-03-01T00:00:00Z", "2112-02-29T00:00:00Z"] {
            place.at(ms(later));
            assert!(place.counts(2), "{unit}: {later}");
        }
        let usage = place.policy.usage(WINDOW, &who(2), NOW);
        assert_eq!((usage.next_free, usage.next_reset), (None, None));
    }
}

/// A clock that was never read stands at the epoch: what is before 2020 is one period.
#[test]
fn what_is_before_2020_is_one_period() {
    let mut place = Place::new("day", "America/Havana");
    place.debit(1, 0);
    place.at(ms("2019-12-31T12:00:00Z"));
    assert!(place.counts(1));
    place.at(ms("2020-01-01T12:00:00Z"));
    assert!(!place.counts(1));
}
