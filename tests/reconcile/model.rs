//! What single requests add up to: the sums that everything that only counts must tell.

use std::collections::BTreeMap;

use super::clients::CALLERS;
use super::servers::{Did, Handled};
use super::witness::{Asked, Line, Saw, TIMEOUT_MS};

/// A number that is known within bounds: how a job ended whose client had left is known to nobody but tiergate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    pub least: u64,
    pub most: u64,
}

impl Bounds {
    pub fn contain(self, number: u64) -> bool {
        (self.least..=self.most).contains(&number)
    }

    fn add(&mut self, number: u64, is_certain: bool) {
        self.least += if is_certain { number } else { 0 };
        self.most += number;
    }
}

/// Counts by some words.
pub type Counts = BTreeMap<String, u64>;

/// Metered requests of one caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct OfCaller {
    pub jobs: Bounds,
    pub succeeded: Bounds,
    pub units: Bounds,
    pub refused: u64,
}

/// The sums of all requests so far.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// By route and class of status.
    pub requests: Counts,
    /// By tier (`none`) and reason.
    pub refusals: Counts,
    /// On metered routes, by tier (empty), reason and status.
    pub refusals_metered: Counts,
    /// Jobs that got a slot, and those that left the queue without one, by tier.
    pub dispatched: Counts,
    pub left: Counts,
    /// Jobs whose clients left while they had a slot, or were on their way to another one.
    pub left_running: u64,
    /// By tier and outcome.
    pub outcomes: BTreeMap<String, Bounds>,
    /// By the name in reports.
    pub callers: BTreeMap<String, OfCaller>,
    /// By tier and the status of the upstream's answer, whoever received that; 0 without one.
    pub statuses: BTreeMap<String, Bounds>,
    /// By upstream and server: answers that broke off, and those that came too late.
    pub broken: BTreeMap<String, Bounds>,
    pub late: BTreeMap<String, Bounds>,
    /// Milliseconds that jobs waited for their slot, rounded down to tenths, by tier.
    pub waited_ms: BTreeMap<String, f64>,
    /// Bytes of bodies in and out.
    pub bytes: [u64; 2],
    /// When refusals on metered routes were sent, in Unix seconds, with their tier.
    pub refused_at: Vec<(f64, String)>,
    /// Lines.
    pub lines: u64,
}

pub fn bump(counts: &mut Counts, key: impl Into<String>) {
    *counts.entry(key.into()).or_default() += 1;
}

/// Units of quota that a success takes.
fn cost(line: &Line) -> u64 {
    if line.route == "/heavy" { 3 } else { 1 }
}

/// Whether the request counts as one of a metered route: a method that the route doesn't have is none of its requests, but is
/// refused there.
pub fn is_metered(line: &Line) -> bool {
    matches!(line.route.as_str(), "/search" | "/heavy") || line.reason.as_deref() == Some("method_not_allowed")
}

/// Whether the request became a job whose body arrived: it alone has a time in the queue.
pub fn is_job(line: &Line) -> bool {
    line.wait_ms.is_some()
}

/// Whether the request may have become a job whose body did not arrive: that is told from one that was refused before by nothing
/// but the database.
fn may_be_upload(line: &Line, asked: &Asked) -> bool {
    let is_ended = match line.reason.as_deref() {
        Some(reason) => matches!(
            reason,
            "body_too_large" | "request_timeout" | "too_many_uploads" | "shutting_down"
        ),
        None => line.status.is_none(),
    };
    is_metered(line) && line.tier.is_some() && !is_job(line) && asked.has_body && is_ended
}

/// Whether the job got a slot.
fn is_dispatched(line: &Line) -> bool {
    line.upstream.is_some()
}

impl Sums {
    pub fn add(&mut self, line: &Line, asked: &Asked, handled: Option<&Handled>) {
        self.lines += 1;
        bump(&mut self.requests, format!("{} {}", line.route, line.class()));
        self.bytes[0] += line.bytes_in;
        self.bytes[1] += line.bytes_out;
        let name = CALLERS[asked.caller].name();
        let is_known = line.tier.is_some();
        if let Some(reason) = &line.reason {
            bump(
                &mut self.refusals,
                format!("{} {reason}", line.tier.as_deref().unwrap_or("none")),
            );
            if is_metered(line) {
                let tier = line.tier.clone().unwrap_or_default();
                let status = line.status.expect("a refusal has a status");
                bump(&mut self.refusals_metered, format!("{tier} {reason} {status}"));
                self.callers.entry(name.clone()).or_default().refused += u64::from(is_known);
                let arrived: jiff::Timestamp = line.time.parse().expect("RFC 3339");
                let at = arrived.as_millisecond() as f64 / 1e3 + line.total_ms / 1e3;
                self.refused_at.push((at, tier));
            }
        }
        self.add_failure(line, asked, handled);
        if is_job(line) {
            self.add_job(line, asked, handled, &name);
        } else if may_be_upload(line, asked) {
            let tier = line.tier.as_deref().expect("looked at before");
            let outcome = self.outcomes.entry(format!("{tier} upload_ended")).or_default();
            outcome.add(1, false);
            self.statuses.entry(format!("{tier} 0")).or_default().add(1, false);
            self.callers.entry(name).or_default().jobs.add(1, false);
        }
    }

    fn add_job(&mut self, line: &Line, asked: &Asked, handled: Option<&Handled>, name: &str) {
        let tier = line.tier.as_deref().expect("a job's caller is known");
        let ends = ends(line, asked, handled);
        let is_certain = ends.len() == 1;
        for end in &ends {
            let outcome = self.outcomes.entry(format!("{tier} {end}")).or_default();
            outcome.add(1, is_certain);
        }
        let caller = self.callers.entry(name.to_owned()).or_default();
        caller.jobs.add(1, true);
        if ends.contains(&"succeeded") {
            caller.succeeded.add(1, is_certain);
            caller.units.add(cost(line), is_certain);
        }
        let statuses = statuses(line, handled);
        for status in &statuses {
            let count = self.statuses.entry(format!("{tier} {status}")).or_default();
            count.add(1, statuses.len() == 1);
        }
        if is_dispatched(line) {
            self.left_running += u64::from(line.status.is_none());
            bump(&mut self.dispatched, tier);
            *self.waited_ms.entry(tier.to_owned()).or_default() += line.wait_ms.expect("it is a job");
        } else {
            bump(&mut self.left, tier);
        }
    }

    /// A server's failure is noted by requests, metered or not, that wait for its answer to the end. Nobody waits any more for
    /// an answer to an unmetered request, or on a route that cancels, whose client has left.
    fn add_failure(&mut self, line: &Line, asked: &Asked, handled: Option<&Handled>) {
        let Some(handled) = handled else { return };
        let upstream = line.upstream.as_deref().expect("a server's request has an upstream");
        let server = format!("{upstream} {}", handled.server);
        let has_left = asked.saw == Saw::Nothing;
        let mut broken = |is_certain| self.broken.entry(server.clone()).or_default().add(1, is_certain);
        let mut late = |is_certain| self.late.entry(server.clone()).or_default().add(1, is_certain);
        match (handled.did, line.reason.as_deref()) {
            (_, Some("upstream_timeout")) => late(true),
            (Did::Answered(_), _) if asked.saw == Saw::Cut => late(true),
            // Whichever came first, if anybody waited for it.
            (Did::Gone | Did::Half, _) if has_left || line.total_ms >= TIMEOUT_MS => {
                broken(false);
                late(false);
            }
            (Did::Gone | Did::Half, _) => broken(true),
            (Did::Answered(_), _) if has_left => late(false),
            _ => {}
        }
    }
}

/// How the job may have ended, by what is known of it.
fn ends(line: &Line, asked: &Asked, handled: Option<&Handled>) -> Vec<&'static str> {
    let did = handled.map(|handled| handled.did);
    match (line.reason.as_deref(), line.status) {
        (Some("displaced"), _) => vec!["displaced"],
        (Some("waited_too_long"), _) => vec!["waited_out"],
        (Some("shutting_down"), _) => vec!["shut_down"],
        (Some("cancelled_by_operator"), _) => vec!["cancelled_by_operator"],
        (Some("upstream_failed" | "upstream_unreachable" | "upstream_timeout"), _) => vec!["failed"],
        (Some(reason), _) => panic!("a job isn't refused as {reason}: {line:?}"),
        (None, Some(_)) if asked.saw != Saw::Nothing => match did {
            Some(Did::Answered(200)) if asked.saw != Saw::Cut => vec!["succeeded"],
            Some(Did::Answered(_) | Did::Half) => vec!["failed"],
            _ => panic!("who answered? {line:?}, {asked:?}, {handled:?}"),
        },
        // It had begun to send an answer when the client left. A success is sent to its end anyway.
        (None, Some(200)) if did == Some(Did::Answered(200)) => vec!["succeeded", "failed"],
        (None, Some(_)) => vec!["failed", "cancelled"],
        // What befalls a queued job at the moment in which its client leaves, counts.
        (None, None) if !is_dispatched(line) => vec!["hung_up", "displaced", "cancelled_by_operator", "shut_down"],
        (None, None) => match did {
            Some(Did::Answered(200)) => vec!["succeeded", "failed", "cancelled"],
            Some(Did::Answered(_) | Did::Half | Did::Gone) => vec!["failed", "cancelled"],
            Some(Did::Unread) | None => vec!["cancelled", "failed"],
        },
    }
}

/// The status that the database may have of the job: that of the upstream's answer. A job that ended by a refusal has none.
fn statuses(line: &Line, handled: Option<&Handled>) -> Vec<u16> {
    match (&line.reason, line.status, handled.map(|handled| handled.did)) {
        (Some(_), ..) => vec![0],
        (None, Some(status), _) => vec![status],
        (None, None, Some(Did::Answered(status))) => vec![0, status],
        (None, None, Some(Did::Half)) => vec![0, 200],
        (None, None, _) => vec![0],
    }
}
