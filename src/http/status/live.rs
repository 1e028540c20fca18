//! The state at one moment, as it is sent to viewers: the JSON of `/status.json` and of the `now` events (docs/semantics.md).

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::Shown;
use super::headline::Headline;
use crate::gate::{Place, PoolSnapshot, Prospect, Snapshot};
use crate::http::quotas::written;
use crate::policy::rules::{Priority, Rules};
use crate::policy::time::UnixTime;
use crate::policy::{JobId, Outlook};

/// Numbers of jobs that are shown, so that viewers can tell one from another. They are given in the order of being seen, and say
/// nothing of the caller.
#[derive(Debug, Default)]
pub struct Numbers {
    last: u64,
    of: HashMap<JobId, u64>,
}

impl Numbers {
    fn number(&mut self, job: JobId) -> u64 {
        *self.of.entry(job).or_insert_with(|| {
            self.last += 1;
            self.last
        })
    }

    /// Forgets jobs that aren't shown any more.
    fn keep(&mut self, snapshot: &Snapshot) {
        let placed = snapshot.places.iter().flatten().map(|place| place.job);
        let listed = snapshot.pools.iter().flat_map(|pool| pool.running.iter().flatten());
        let shown: Vec<JobId> = placed.chain(listed.map(|(job, _)| *job)).collect();
        // At most as many as are drawn; the set costs more than it saves.
        self.of.retain(|job, _| shown.contains(job));
    }
}

/// The state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Live {
    pub headline: Headline,
    pub queue: Queue,
    /// Whether the operator has paused dispatch.
    pub paused: bool,
    pub upstreams: Vec<UpstreamLine>,
}

/// The queue.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Queue {
    pub length: u32,
    pub taken: u32,
    /// Taken places by priority: of each that a tier has or a job is queued with.
    pub by_priority: BTreeMap<u8, u32>,
    /// Taken places, the next to be served first; `null` if they are too many to draw.
    pub places: Option<Vec<PlaceLine>>,
}

/// A taken place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlaceLine {
    pub id: u64,
    pub priority: u8,
    /// In whole seconds: enough to see, too coarse to tell whose it is.
    pub since: Option<String>,
    /// The same in Unix seconds.
    #[serde(skip)]
    pub since_s: u64,
}

/// The slots of one upstream, which has no name here, and what a request for one would meet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpstreamLine {
    /// The paths of its metered routes.
    pub routes: Vec<String>,
    /// Slots of all its servers.
    pub slots: u32,
    /// Slots of those that are up.
    pub available: u32,
    /// Jobs that hold one.
    pub busy: u32,
    /// Those jobs, the longest running first; `null` if they are too many to list.
    pub running: Option<Vec<SlotLine>>,
    pub admission: Vec<AdmissionLine>,
}

/// A busy slot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlotLine {
    pub id: u64,
    pub priority: u8,
}

/// What requests of some tiers would meet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdmissionLine {
    pub priority: u8,
    pub tiers: Vec<String>,
    pub admitted: bool,
    pub how: How,
    /// The priority of the job that would be displaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub displaces: Option<u8>,
    /// The expected wait, or when to try again; `null` if nobody can tell.
    pub wait_s: Option<f64>,
}

/// What requests would meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    Slot,
    Place,
    Displaces,
    Full,
    Closed,
    /// An operator has stopped admission.
    Stopped,
    /// Usage can't be recorded.
    Unavailable,
}

impl Live {
    /// What `shown` shows of a snapshot.
    pub fn of(snapshot: &Snapshot, shown: &Shown, numbers: &mut Numbers) -> Self {
        numbers.keep(snapshot);
        let places = snapshot.places.as_ref();
        let mut place = |place: &Place| PlaceLine {
            id: numbers.number(place.job),
            priority: place.priority.get(),
            since: written(UnixTime::from_secs(place.since.as_secs())),
            since_s: place.since.as_secs(),
        };
        let queue = Queue {
            length: snapshot.rules.queue.length,
            taken: snapshot.waiting.iter().sum(),
            by_priority: by_priority(snapshot),
            places: places.map(|places| places.iter().map(&mut place).collect()),
        };
        let upstreams: Vec<UpstreamLine> = shown
            .upstreams
            .iter()
            .filter_map(|(id, routes)| {
                let pool = snapshot.pools.iter().find(|pool| pool.id == *id)?;
                Some(UpstreamLine::of(pool, routes, snapshot, numbers))
            })
            .collect();
        Self {
            headline: Headline::of(snapshot, &queue, &upstreams),
            queue,
            paused: snapshot.is_paused,
            upstreams,
        }
    }

    /// As JSON, at that time.
    pub fn json(&self, time: String) -> String {
        #[derive(Serialize)]
        struct Timed<'l> {
            time: String,
            #[serde(flatten)]
            live: &'l Live,
        }
        serde_json::to_string(&Timed { time, live: self }).expect("names and numbers can be written")
    }
}

fn by_priority(snapshot: &Snapshot) -> BTreeMap<u8, u32> {
    let of_tiers = snapshot.rules.tiers.iter().map(|tier| tier.priority);
    let queued = Priority::all().filter(|priority| snapshot.waiting[priority.index()] > 0);
    let line = |priority: Priority| (priority.get(), snapshot.waiting[priority.index()]);
    of_tiers.chain(queued).map(line).collect()
}

impl UpstreamLine {
    fn of(pool: &PoolSnapshot, routes: &[String], snapshot: &Snapshot, numbers: &mut Numbers) -> Self {
        let mut slot = |(job, priority): &(JobId, Priority)| SlotLine {
            id: numbers.number(*job),
            priority: priority.get(),
        };
        let line = |prospect: &Prospect| AdmissionLine::of(prospect, &snapshot.rules, snapshot.is_recording);
        Self {
            routes: routes.to_vec(),
            slots: pool.slots,
            available: pool.available,
            busy: pool.busy,
            running: pool.running.as_ref().map(|jobs| jobs.iter().map(&mut slot).collect()),
            admission: pool.outlooks.iter().map(line).collect(),
        }
    }
}

impl AdmissionLine {
    fn of(prospect: &Prospect, rules: &Rules, is_recording: bool) -> Self {
        let how = match prospect.outlook {
            Outlook::Closed => How::Closed,
            Outlook::Stopped => How::Stopped,
            _ if !is_recording => How::Unavailable,
            Outlook::Slot => How::Slot,
            Outlook::Place => How::Place,
            Outlook::Displaces(_) => How::Displaces,
            Outlook::Full => How::Full,
        };
        let displaces = match prospect.outlook {
            Outlook::Displaces(of) if how == How::Displaces => Some(of.get()),
            _ => None,
        };
        let wait = prospect
            .wait
            .filter(|_| !matches!(how, How::Closed | How::Stopped | How::Unavailable));
        // A tenth of a second: estimates are rougher than that.
        let seconds = wait.map(|wait| (wait.as_secs_f64() * 10.0).round() / 10.0);
        Self {
            priority: prospect.priority.get(),
            tiers: prospect
                .tiers
                .iter()
                .map(|id| rules.tier(*id).name.to_string())
                .collect(),
            admitted: matches!(how, How::Slot | How::Place | How::Displaces),
            displaces,
            // `Retry-After` is never less than a second.
            wait_s: seconds.map(|wait| if how == How::Full { wait.max(1.0) } else { wait }),
            how,
        }
    }
}
