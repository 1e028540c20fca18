//! `GET /callers`: the callers who use most, and those with jobs in flight, by account and network. Users of delegating accounts are
//! callers of their own.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use parking_lot::Mutex;
use serde::Serialize;

use super::Admin;
use super::problem::Problem;
use super::times::written;
use crate::gate::{GateView, JobView};
use crate::policy::State as JobState;
use crate::policy::caller::Caller;
use crate::policy::time::{Span, Timestamp};
use crate::store::usage::{By, UsageKey, UsageQuery, UsageReport, UsageRow, Used};
use crate::store::{CallerName, ReadError};

/// How far back use counts.
const SINCE: Span = Span::from_secs(3_600);
/// For how long a report is used: reading one takes longer the more callers there are, and several operators may watch.
const REPORT_KEPT: Span = Span::from_secs(5);
/// Callers whose use is read: those with the most units.
const READ_MAX: u32 = 1_000;
/// Callers that are listed for each kind of use, and as many with jobs in flight.
const LISTED_MAX: usize = 50;

/// The last report. Locked while the next one is read, on a thread that may block.
#[derive(Clone, Debug, Default)]
pub(super) struct LastReport(Arc<Mutex<Option<Dated>>>);

/// A report, and when it was read.
type Dated = (Timestamp, Arc<UsageReport>);

#[derive(Debug, Serialize)]
pub(super) struct CallerList {
    /// Since when use counts.
    since: String,
    callers: Vec<CallerLine>,
    /// How many callers used anything since then.
    callers_total: u64,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct CallerLine {
    /// An account's name, one and the hash of its user's name, or a network: its address while it has jobs in flight, else its hash.
    caller: String,
    /// The tier of its jobs in flight, or of its account; `null` if it is not known.
    tier: Option<String>,
    /// Jobs whose bodies still arrive.
    uploading: u32,
    /// Queued jobs.
    waiting: u32,
    /// Other jobs in flight.
    running: u32,
    /// Jobs that have ended, units debited and refusals since then; `null` if it is beyond the first 1,000 callers.
    jobs: Option<u64>,
    units: Option<u64>,
    refused: Option<u64>,
}

/// The jobs in flight of a caller.
#[derive(Clone, Debug, Default)]
struct InFlight {
    /// As operators are shown it.
    shown: String,
    tier: String,
    uploading: u32,
    waiting: u32,
    running: u32,
}

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(last): Extension<LastReport>,
) -> Result<Json<CallerList>, Problem> {
    let of = Arc::clone(&admin);
    let read = tokio::task::spawn_blocking(move || last.read(&of)).await;
    let report = read.map_err(|_| Problem::task_failed())?;
    let report = report.map_err(|error| Problem::unreadable(&error))?;
    let in_flight = in_flight(&admin, &admin.gate.view());
    let directory = admin.store.directory();
    let callers = listed(&report, in_flight, |name| {
        directory.by_name(name).map(|account| account.tier.to_string())
    });
    Ok(Json(CallerList {
        since: written(report.from),
        callers,
        callers_total: report.rows_total,
    }))
}

impl LastReport {
    /// The last report, or a new one if that is too old. Blocks on the disk.
    fn read(&self, admin: &Admin) -> Result<Arc<UsageReport>, ReadError> {
        let mut last = self.0.lock();
        let clock = admin.gate.clock();
        let is_fresh = |read: Timestamp| clock.now().since(read) < REPORT_KEPT;
        if let Some((_, report)) = last.as_ref().filter(|(read, _)| is_fresh(*read)) {
            return Ok(Arc::clone(report));
        }
        let query = UsageQuery {
            whose: None,
            by: By::Account,
            since: SINCE,
            top: READ_MAX,
        };
        let report = Arc::new(admin.database.usage(&query, clock.wall())?);
        *last = Some((clock.now(), Arc::clone(&report)));
        Ok(report)
    }
}

/// The callers with jobs in flight, by their names in reports.
fn in_flight(admin: &Admin, view: &GateView) -> BTreeMap<String, InFlight> {
    let mut callers: BTreeMap<String, InFlight> = BTreeMap::new();
    for job in &view.jobs {
        let name = name_of(admin, job).to_string();
        let caller = callers.entry(name.clone()).or_default();
        match job.state {
            JobState::Uploading => caller.uploading += 1,
            JobState::Waiting => caller.waiting += 1,
            JobState::Running { .. } | JobState::Moving { .. } | JobState::Ending => caller.running += 1,
        }
        caller.tier = view.rules.tier(job.tier).name.to_string();
        caller.shown = match job.caller {
            Caller::Network(_) => job.from.to_string(),
            Caller::Account(_) | Caller::User { .. } => name,
        };
    }
    callers
}

fn name_of(admin: &Admin, job: &JobView) -> CallerName {
    let account = |id| {
        let account = admin.store.directory().get(id);
        account.map_or_else(|| "?".to_owned(), |account| account.name.to_string())
    };
    match job.caller {
        Caller::Account(id) => CallerName::Account {
            name: account(id),
            removed: false,
        },
        Caller::User { of, user } => CallerName::User {
            account: account(of),
            user,
        },
        Caller::Network(network) => CallerName::Network(network),
    }
}

/// The callers to list: those with the most units first, then those with jobs in flight and without known use.
fn listed(
    report: &UsageReport,
    mut in_flight: BTreeMap<String, InFlight>,
    tier_of: impl Fn(&str) -> Option<String>,
) -> Vec<CallerLine> {
    // Users of an account share its name with it, but not their own.
    let account = |caller: &CallerName| match caller {
        CallerName::Account { name, removed: false } | CallerName::User { account: name, .. } => tier_of(name),
        _ => None,
    };
    let top = top(&report.rows);
    let mut lines = Vec::new();
    for (place, row) in report.rows.iter().enumerate() {
        let UsageKey::Caller(caller) = &row.key else { continue };
        let name = caller.to_string();
        let jobs = in_flight.remove(&name);
        if jobs.is_some() || top.contains(&place) {
            let tier = || account(caller);
            lines.push(CallerLine::of(name, jobs, tier, Some(row.used)));
        }
    }
    let mut rest: Vec<(String, InFlight)> = in_flight.into_iter().collect();
    rest.sort_by_key(|(_, jobs)| Reverse(jobs.uploading + jobs.waiting + jobs.running));
    rest.truncate(LISTED_MAX);
    let is_whole = report.rows.len() as u64 == report.rows_total;
    let used = is_whole.then(Used::default);
    lines.extend(
        rest.into_iter()
            .map(|(name, jobs)| CallerLine::of(name, Some(jobs), || None, used)),
    );
    lines
}

/// The places of the rows with the most units, jobs or refusals.
fn top(rows: &[UsageRow]) -> BTreeSet<usize> {
    let most_by = |use_of: fn(&Used) -> u64| {
        let mut places: Vec<usize> = (0..rows.len()).collect();
        places.sort_by_key(|place| Reverse(use_of(&rows[*place].used)));
        places.truncate(LISTED_MAX);
        places
    };
    let kinds: [fn(&Used) -> u64; 3] = [|used| used.units, |used| used.jobs, |used| used.refused];
    kinds.into_iter().flat_map(most_by).collect()
}

impl CallerLine {
    fn of(name: String, jobs: Option<InFlight>, tier: impl FnOnce() -> Option<String>, used: Option<Used>) -> Self {
        let in_flight = jobs.clone().unwrap_or_default();
        Self {
            tier: jobs.as_ref().map(|jobs| jobs.tier.clone()).or_else(tier),
            caller: jobs.map_or(name, |jobs| jobs.shown),
            uploading: in_flight.uploading,
            waiting: in_flight.waiting,
            running: in_flight.running,
            jobs: used.map(|used| used.jobs),
            units: used.map(|used| used.units),
            refused: used.map(|used| used.refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::caller::NetworkId;
    use crate::policy::time::UnixTime;

    fn row(number: u64, units: u64, refused: u64) -> UsageRow {
        let used = Used {
            units,
            refused,
            jobs: units,
            ..Used::default()
        };
        let caller = CallerName::Network(NetworkId(number));
        UsageRow {
            key: UsageKey::Caller(caller),
            used,
        }
    }

    fn report(rows: Vec<UsageRow>, rows_total: u64) -> UsageReport {
        UsageReport {
            from: UnixTime::default(),
            is_whole: true,
            period_s: 60,
            rows,
            rows_total,
            total: Used::default(),
        }
    }

    fn jobs(shown: &str, waiting: u32) -> InFlight {
        InFlight {
            shown: shown.to_owned(),
            tier: "free".to_owned(),
            uploading: 0,
            waiting,
            running: 0,
        }
    }

    #[test]
    fn the_most_refused_is_listed_however_little_it_used() {
        let mut rows: Vec<UsageRow> = (0..500).map(|number| row(number, 1_000 - number, 0)).collect();
        rows.push(row(900, 0, 1));
        let lines = listed(&report(rows, 501), BTreeMap::new(), |_| None);
        let named = |number: u64| lines.iter().any(|line| line.caller == format!("network {number:016x}"));
        assert!(named(0) && named(49) && named(900) && !named(400));
        assert_eq!(lines.len(), LISTED_MAX + 1);
    }

    #[test]
    fn a_network_in_flight_is_shown_by_its_address() {
        let name = |number: u64| format!("network {number:016x}");
        let flying = [(name(1), jobs("192.0.2.1", 1)), (name(2), jobs("192.0.2.2", 2))];
        let lines = listed(
            &report(vec![row(1, 5, 3)], 2_000),
            BTreeMap::from(flying.clone()),
            |_| None,
        );
        let facts = |line: &CallerLine| (line.caller.clone(), line.waiting, line.units, line.refused);
        let lines: Vec<_> = lines.iter().map(facts).collect();
        let known = ("192.0.2.1".to_owned(), 1, Some(5), Some(3));
        assert_eq!(
            lines,
            [known.clone(), ("192.0.2.2".to_owned(), 2, None, None)],
            "there are more rows than were read"
        );
        let lines = listed(&report(vec![row(1, 5, 3)], 1), BTreeMap::from(flying), |_| None);
        let lines: Vec<_> = lines.iter().map(facts).collect();
        assert_eq!(lines, [known, ("192.0.2.2".to_owned(), 2, Some(0), Some(0))]);
    }

    #[test]
    fn an_idle_account_has_the_tier_of_its_terms() {
        let mut idle = row(0, 1, 0);
        idle.key = UsageKey::Caller(CallerName::Account {
            name: "acme".to_owned(),
            removed: false,
        });
        let lines = listed(&report(vec![idle], 1), BTreeMap::new(), |name| {
            (name == "acme").then(|| "$5".to_owned())
        });
        assert_eq!(
            (lines[0].caller.as_str(), lines[0].tier.as_deref()),
            ("acme", Some("$5"))
        );
    }
}
