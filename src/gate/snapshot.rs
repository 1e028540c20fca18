//! What everybody may know of the gate state: for the status page. Nobody is identified, and no server is named.

use std::sync::Arc;

use super::Gate;
use crate::policy::rules::{Priority, Rules, Tier, TierId, UpstreamId};
use crate::policy::time::{Span, Timestamp, UnixTime};
use crate::policy::{JobId, Outlook, Policy, State};

/// Queued jobs of which each place is told; the length of a longer queue is told by priority alone. The same for the slots of an
/// upstream.
pub const PLACES_DRAWN_MAX: u32 = 64;

/// Jobs in flight at once, ever since the start, up to which the priority of each running one is told: finding them takes the
/// gate's lock for as long.
const SCANNED_MAX: usize = 4_096;

/// The gate state as everybody may know it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The rules in force, to which the ids here belong.
    pub rules: Arc<Rules>,
    /// Queued jobs by priority.
    pub waiting: [u32; Priority::COUNT],
    /// Them in the order of their places; `None` if they are more than [`PLACES_DRAWN_MAX`].
    pub places: Option<Vec<Place>>,
    /// The upstreams, in the rules' order.
    pub pools: Vec<PoolSnapshot>,
    /// Whether an operator has paused dispatch.
    pub is_paused: bool,
    /// Whether an operator has stopped admission.
    pub is_admission_stopped: bool,
    /// Whether admission has ended.
    pub is_closing: bool,
    /// Whether usage can be recorded; otherwise everybody is refused.
    pub is_recording: bool,
}

/// A taken place in the queue.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The job.
    pub job: JobId,
    /// Its priority.
    pub priority: Priority,
    /// When it was queued, as the system's wall clock should have read.
    pub since: UnixTime,
}

/// The slots of one upstream, and what a request for one would meet.
#[derive(Clone, Debug)]
pub struct PoolSnapshot {
    /// The upstream.
    pub id: UpstreamId,
    /// Slots of its servers.
    pub slots: u32,
    /// Those of the servers that are up.
    pub available: u32,
    /// Jobs that hold one.
    pub busy: u32,
    /// Them, if they can be listed at little cost, the longest running first.
    pub running: Option<Vec<(JobId, Priority)>>,
    /// By priority and whether it may displace at all: the tiers, what their requests would meet, and how long they would wait
    /// if anybody can tell. The highest priority first.
    pub outlooks: Vec<Prospect>,
}

/// What requests of some tiers would meet.
#[derive(Clone, Debug)]
pub struct Prospect {
    /// The tiers' priority.
    pub priority: Priority,
    /// The tiers, in the rules' order.
    pub tiers: Vec<TierId>,
    /// What their requests would meet.
    pub outlook: Outlook,
    /// How long they would wait; `None` if nobody can tell.
    pub wait: Option<Span>,
}

impl Gate {
    /// What everybody may know now. Its cost under the lock has a bound.
    pub fn snapshot(&self) -> Snapshot {
        let is_recording = self.ledger.is_available();
        let state = self.state.lock();
        let (policy, now) = (&state.policy, self.clock.now());
        let rules = Arc::clone(policy.rules());
        Snapshot {
            waiting: *policy.waiting(),
            places: policy
                .places(PLACES_DRAWN_MAX)
                .map(|jobs| jobs.into_iter().filter_map(|job| place(policy, job, now)).collect()),
            pools: rules.upstreams.ids().map(|id| pool(policy, &rules, id, now)).collect(),
            is_paused: policy.is_paused(),
            is_admission_stopped: policy.is_admission_stopped(),
            is_closing: policy.is_closing(),
            is_recording,
            rules,
        }
    }
}

fn place(policy: &Policy, id: JobId, now: Timestamp) -> Option<Place> {
    let job = policy.job(id)?;
    let (reads, waited) = (policy.clock_reads(now), now.since(job.entered));
    Some(Place {
        job: id,
        priority: job.priority,
        since: UnixTime::from_millis(reads.as_millis().saturating_sub(waited.as_millis())),
    })
}

fn pool(policy: &Policy, rules: &Rules, id: UpstreamId, now: Timestamp) -> PoolSnapshot {
    let busy = policy.running(id);
    let is_listed = busy <= PLACES_DRAWN_MAX && policy.in_flight_max() <= SCANNED_MAX;
    PoolSnapshot {
        id,
        slots: rules.upstreams[id].slots(),
        available: policy.slots(id),
        busy,
        running: is_listed.then(|| running(policy, id)),
        outlooks: outlooks(policy, rules, id, now),
    }
}

fn running(policy: &Policy, pool: UpstreamId) -> Vec<(JobId, Priority)> {
    let slot = |job: &crate::policy::Job| match job.state {
        State::Running { since, .. } if job.pool == pool => Some(since),
        _ => None,
    };
    let mut running: Vec<(Timestamp, JobId, Priority)> = policy
        .jobs()
        .filter_map(|(id, job)| Some((slot(job)?, id, job.priority)))
        .collect();
    running.sort_unstable_by_key(|(since, id, _)| (*since, id.index()));
    running.into_iter().map(|(_, id, priority)| (id, priority)).collect()
}

/// Tiers of one priority differ only in whether they may displace anybody.
fn outlooks(policy: &Policy, rules: &Rules, pool: UpstreamId, now: Timestamp) -> Vec<Prospect> {
    let mut found: Vec<Prospect> = Vec::new();
    for (id, tier) in rules.tiers.entries() {
        let told = |tier: &Tier| (tier.priority, tier.displacements_per_minute > 0);
        let known = found
            .iter_mut()
            .find(|known| told(rules.tier(known.tiers[0])) == told(tier));
        if let Some(known) = known {
            known.tiers.push(id);
            continue;
        }
        let outlook = policy.outlook(pool, tier, now);
        found.push(Prospect {
            priority: tier.priority,
            tiers: vec![id],
            outlook,
            wait: match outlook {
                Outlook::Slot => Some(Span::ZERO),
                _ => policy.expected_wait(pool, tier.priority),
            },
        });
    }
    found.sort_by_key(|of| std::cmp::Reverse(of.priority));
    merged(found)
}

/// Joins rows of one priority that meet the same.
fn merged(rows: Vec<Prospect>) -> Vec<Prospect> {
    let mut merged: Vec<Prospect> = Vec::new();
    for row in rows {
        match merged.last_mut() {
            Some(last) if (last.priority, last.outlook) == (row.priority, row.outlook) => {
                last.tiers.extend(row.tiers);
                last.tiers.sort_unstable();
            }
            _ => merged.push(row),
        }
    }
    merged
}
