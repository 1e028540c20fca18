//! What callers with debits, and networks under request limits, cost in memory, by what the system counts as this program's: tables,
//! records and all that the allocator adds. Unsafe code is forbidden here, so no allocator of the test's own counts it.

#![cfg(target_os = "linux")]

#[path = "memory/accounts.rs"]
mod accounts;
#[path = "support/database.rs"]
mod database;
#[path = "memory/flood.rs"]
mod flood;
#[path = "support/folder.rs"]
mod folder;
#[path = "memory/limits.rs"]
mod limits;
#[path = "../crates/policy/tests/support/rules.rs"]
mod rules;

use std::io::Write;
use std::process::Command;
use std::sync::Arc;

use tiergate::policy::Policy;
use tiergate::policy::caller::{Caller, NetworkId};
use tiergate::policy::rules::{Window, WindowId};
use tiergate::policy::time::{Span, Timestamp, UnixTime};

use rules::{RulesBuilder, TierBuilder, calendar};

/// A caller with an open window of ten debits, one in each tenth of the day.
const CALLER_BYTES_MAX: f64 = 160.0;
/// A caller with 100,000 debits, spread evenly over the day.
const BUSY_BYTES_MAX: f64 = 10_000.0;

const DAY_S: u64 = 86_400;
const OPENED: UnixTime = UnixTime::from_secs(1_780_000_000);
const NOW: Timestamp = Timestamp::ZERO;
/// As many sweeps look at every part of the tables.
const SWEEPS: u32 = 256;

/// Each of the 256 tables has room for 448 callers; with one more all of them double. Numbers in a row fill them evenly, so at
/// no number of callers do these cost more.
const JUST_DOUBLED: u64 = 448 * 256 + 256;

type Fill = fn(&mut Policy, std::ops::Range<u64>, UnixTime);

/// What is measured, each in a process of its own, since one finds room where another has been: its name, how many callers, in
/// which windows, with which debits.
fn measured(what: &str) -> (u64, Vec<Window>, Fill) {
    match what {
        "10 debits in 24h, 100,000 callers" => (100_000, vec![rolling_day()], spread_over_the_day),
        "10 debits in 24h, tables just doubled" => (JUST_DOUBLED, vec![rolling_day()], spread_over_the_day),
        "10 debits in 24h and a month, tables just doubled" => {
            (JUST_DOUBLED, vec![rolling_day(), month()], spread_over_the_day)
        }
        "100,000 debits in 24h, 2,000 callers" => (2_000, vec![rolling_day()], every_minute),
        other => panic!("nobody measures {other}"),
    }
}

#[test]
fn callers_cost_what_they_may() {
    for (what, bytes_max) in [
        ("10 debits in 24h, 100,000 callers", CALLER_BYTES_MAX),
        ("10 debits in 24h, tables just doubled", CALLER_BYTES_MAX),
        ("10 debits in 24h and a month, tables just doubled", f64::INFINITY),
        ("100,000 debits in 24h, 2,000 callers", BUSY_BYTES_MAX),
    ] {
        let bytes = in_a_process_of_its_own(what);
        say(&format!("{what}: {bytes:.0} bytes each"));
        assert!(bytes > 1.0 && bytes <= bytes_max, "{what}: {bytes:.0} bytes each");
    }
}

/// Two days later nobody is known, and as many others find room where those were.
#[test]
fn the_idle_vanish() {
    let growth = in_a_process_of_its_own(IDLE);
    say(&format!(
        "others in the place of 100,000 that have gone: {growth:.2} times their memory"
    ));
    assert!(growth > 0.5 && growth <= 1.05, "{growth}");
}

const IDLE: &str = "others after the idle";
const WHAT: &str = "TIERGATE_MEASURE";
const ANSWER: &str = "measured: ";

fn in_a_process_of_its_own(what: &str) -> f64 {
    let itself = std::env::current_exe().expect("the test is a file");
    let output = Command::new(itself)
        .args(["--exact", "measurement", "--ignored", "--nocapture", "--test-threads=1"])
        .env(WHAT, what)
        .output()
        .expect("it runs once more");
    let said = String::from_utf8_lossy(&output.stdout);
    let answer = said.lines().find_map(|line| line.split_once(ANSWER));
    let bytes = answer.and_then(|(_, bytes)| bytes.trim().parse().ok());
    bytes.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)))
}

#[test]
#[ignore = "one measurement, for the tests above"]
fn measurement() {
    let Ok(what) = std::env::var(WHAT) else { return };
    let result = if what == IDLE {
        growth_after_the_idle()
    } else if let Some(bytes) = limits::measured(&what).or_else(|| accounts::measured(&what)) {
        bytes
    } else {
        let (callers, windows, fill) = measured(&what);
        let (mut policy, before) = (opened(windows), resident_bytes());
        fill(&mut policy, 0..callers, OPENED);
        assert_eq!(policy.debtors()[1] as u64, callers);
        (resident_bytes() - before) as f64 / callers as f64
    };
    println!("\n{ANSWER}{result}");
}

fn growth_after_the_idle() -> f64 {
    let callers = 100_000;
    let (mut policy, before) = (opened(vec![rolling_day()]), resident_bytes());
    spread_over_the_day(&mut policy, 0..callers, OPENED);
    let full = resident_bytes() - before;
    assert_eq!(policy.debtors(), [0, 100_000, 0]);
    let later = OPENED + Span::from_secs(2 * DAY_S);
    policy.follow_clock(later, NOW, Span::MAX);
    for _ in 0..SWEEPS {
        policy.sweep(NOW);
    }
    assert_eq!(policy.debtors(), [0; 3]);
    spread_over_the_day(&mut policy, callers..2 * callers, later);
    (resident_bytes() - before) as f64 / full as f64
}

/// Everybody ten times, in turn.
fn spread_over_the_day(policy: &mut Policy, callers: std::ops::Range<u64>, ends: UnixTime) {
    for tenth in (0..10).rev() {
        let at = UnixTime::from_secs(ends.as_secs() - tenth * DAY_S / 10);
        for caller in callers.clone() {
            debit(policy, caller, at, 1);
        }
    }
}

/// Everybody in each minute of the day, in turn; 70 debits of a minute are one entry.
fn every_minute(policy: &mut Policy, callers: std::ops::Range<u64>, ends: UnixTime) {
    for minute in (0..DAY_S / 60).rev() {
        let at = UnixTime::from_secs(ends.as_secs() - minute * 60);
        for caller in callers.clone() {
            debit(policy, caller, at, 70);
        }
    }
}

fn debit(policy: &mut Policy, caller: u64, at: UnixTime, units: u64) {
    for window in 0..policy.rules().windows.len() {
        let window = WindowId(window.try_into().expect("few windows"));
        policy.remember(window, Caller::Network(NetworkId(caller)), at, units, NOW);
    }
}

fn rolling_day() -> Window {
    Window::Rolling(Span::from_secs(DAY_S))
}

fn month() -> Window {
    calendar("month UTC", [1_777_593_600, 1_780_272_000].map(UnixTime::from_secs))
}

fn opened(windows: Vec<Window>) -> Policy {
    let mut policy = Policy::new(Arc::new(rules(&windows).build()));
    policy.follow_clock(OPENED, NOW, Span::MAX);
    policy
}

fn rules(windows: &[Window]) -> RulesBuilder {
    let quotas = |tier| {
        let each = |tier: TierBuilder, (at, window): (usize, &Window)| {
            tier.quota(&format!("q{at}"), 1_000_000, window.clone())
        };
        windows.iter().enumerate().fold(tier, each)
    };
    rules::rules().tier("free", quotas).upstream("search", &[1])
}

/// Memory of this process that is in use, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells it");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") * 1_024
}

/// Past the capture of the test's output, so that the figures are seen in every run.
fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("stderr is open");
}
