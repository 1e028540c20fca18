//! What may happen next, and which call of the policy that is.

use std::sync::Arc;

use tiergate_policy::caller::Caller;
use tiergate_policy::rules::{Rules, ServerId, TierId, UpstreamId};
use tiergate_policy::time::{Span, UnixTime};
use tiergate_policy::{Delegate, JobId, Outcome, RequestBody, WaitLimits};

use super::super::model::Job;
use super::super::request::{RequestExt, request};
use super::call::{Call, nth_tier};
use super::callers::{nth_caller, own};
use super::{OPENED, SWEEPS, SideBySide};

/// No history goes beyond it (in 2413): monotonic time ends with the 584 years of a [`Span`].
pub(super) const LATEST: UnixTime = UnixTime::from_secs(14_000_000_000);

/// Something that happens. Numbers are taken modulo what there is, so every step means something in every history.
#[derive(Clone, Debug)]
pub enum Step {
    Enter {
        caller: u8,
        tier: u8,
        pool: u8,
        cost: u8,
        /// Its own limits.
        own: Option<u8>,
        /// If it is a user: the tier of its account, how many users that may have, and its own limits.
        of: (u8, u8, Option<u8>),
        body: RequestBody,
        waits: Waits,
    },
    /// The body is complete: of one of the uploading jobs, or of any job.
    Arrive(Pick, Waits),
    EndUpload(Pick),
    /// A debit of the past (or, by a clock that was wrong, of the future).
    Remember {
        window: u8,
        caller: u8,
        before_ms: i64,
        units: u64,
    },
    Clock(Reading),
    /// All debits are read back.
    Recount,
    /// Time passes until something comes back, or until so many milliseconds before or after.
    PassToEdge(u8, i8),
    Sweep,
    /// All parts of all tables.
    SweepAll,
    GiveBackSlot(Pick),
    End(Pick, Outcome),
    HangUp(Pick),
    Expire(Pick),
    Decline(Pick),
    Relocate(Pick),
    Forgo(Pick),
    ServerDown(u8, u8),
    ServerUp(u8, u8),
    Pause,
    Resume,
    StopAdmission,
    StartAdmission,
    Drain(u8, u8),
    /// One of the drained servers.
    Undrain(u8),
    Cancel(Pick),
    Reload(Rules),
    Pass(Span),
    ShutDown,
}

/// The longest waits that come with a request, in seconds: the route's and the client's.
pub type Waits = (Option<u8>, Option<u8>);

fn limits((route, client): Waits) -> WaitLimits {
    let secs = |secs: Option<u8>| secs.map(|secs| Span::from_secs(secs.into()));
    WaitLimits {
        route: secs(route),
        client: secs(client),
    }
}

/// What the system's wall clock reads.
#[derive(Clone, Copy, Debug)]
pub enum Reading {
    /// So many milliseconds later than it should, or earlier.
    Off(i64),
    /// As when something comes back, or so many milliseconds before or after.
    Edge(u8, i8),
    /// So many milliseconds after [`OPENED`].
    At(u64),
}

/// Which job: mostly one in flight, sometimes any that ever was, sometimes one that never was.
#[derive(Clone, Copy, Debug)]
pub struct Pick(pub u8);

impl SideBySide {
    pub(super) fn call(&mut self, step: &Step) -> Option<Call> {
        Some(match step {
            Step::Enter {
                caller,
                tier,
                pool,
                cost,
                own: its_own,
                of,
                body,
                waits,
            } => {
                let ask = request(nth_caller(*caller), self.tier(*tier))
                    .own(its_own.map(own))
                    .delegate(self.delegate(nth_caller(*caller), *of))
                    .cost(u32::from(*cost % 6))
                    .to(self.pool(*pool))
                    .body(*body)
                    .waits(limits(*waits));
                Call::Enter(ask)
            }
            Step::Arrive(pick, waits) => Call::Arrive(self.pick_upload(*pick), limits(*waits)),
            Step::EndUpload(pick) => Call::EndUpload(self.pick_upload(*pick)),
            Step::GiveBackSlot(pick) => Call::GiveBackSlot(self.pick(*pick)),
            Step::End(pick, outcome) => Call::End(self.pick(*pick), *outcome),
            Step::HangUp(pick) => Call::HangUp(self.pick(*pick)),
            Step::Expire(pick) => Call::Expire(self.pick(*pick)),
            Step::Decline(pick) => Call::Decline(self.pick(*pick)),
            Step::Forgo(pick) => Call::Forgo(self.pick(*pick)),
            Step::Relocate(pick) => Call::Relocate(self.pick(*pick)),
            Step::ServerDown(pool, server) => Call::ServerDown(self.pool(*pool), self.server(*pool, *server)),
            Step::ServerUp(pool, server) => Call::ServerUp(self.pool(*pool), self.server(*pool, *server)),
            Step::Pause => Call::Pause,
            Step::Resume => Call::Resume,
            Step::StopAdmission => Call::StopAdmission,
            Step::StartAdmission => Call::StartAdmission,
            Step::Drain(pool, server) => Call::Drain(self.pool(*pool), self.server(*pool, *server)),
            Step::Undrain(which) => {
                let (pool, server) = self.model.nth_drained((*which).into())?;
                Call::Undrain(pool, server)
            }
            Step::Cancel(pick) => Call::Cancel(self.pick(*pick)),
            Step::Reload(rules) => Call::Reload(Arc::new(self.ids.assign(rules).expect("few names"))),
            Step::ShutDown => Call::ShutDown,
            Step::Remember {
                window,
                caller,
                before_ms,
                units,
            } => Call::Remember {
                window: self.model.windows().cycle().nth(usize::from(*window))?,
                caller: nth_caller(*caller),
                admitted: self.off(-before_ms),
                units: *units,
            },
            Step::Clock(reading) => Call::FollowClock(match *reading {
                Reading::Off(by) => self.off(by),
                Reading::Edge(which, by) => self.edge(which, by),
                Reading::At(after) => LATEST.min(OPENED + Span::from_millis(after)),
            }),
            Step::Recount => Call::Recount,
            Step::Sweep => Call::Sweep(1),
            Step::SweepAll => Call::Sweep(SWEEPS),
            Step::Pass(_) | Step::PassToEdge(..) => return None,
        })
    }

    pub(super) fn tier(&self, tier: u8) -> TierId {
        nth_tier(self.model.rules(), tier.into())
    }

    fn delegate(&self, caller: Caller, (tier, users, its_own): (u8, u8, Option<u8>)) -> Option<Box<Delegate>> {
        let Caller::User { of, .. } = caller else { return None };
        Some(Box::new(Delegate {
            account: of,
            tier: self.tier(tier),
            own: its_own.map(own),
            users_max: u32::from(users % 4),
        }))
    }

    /// That long after what the wall clock should read.
    fn off(&self, by_ms: i64) -> UnixTime {
        let expected = self.model.wall_expected(self.now).as_millis();
        LATEST.min(UnixTime::from_millis(expected.saturating_add_signed(by_ms)))
    }

    /// A moment at which something comes back, or so many milliseconds from it; now, if there is none.
    pub(super) fn edge(&self, which: u8, by_ms: i8) -> UnixTime {
        let now = self.model.wall_expected(self.now);
        let edges = self.model.debits().edges(now);
        let edge = edges.get(usize::from(which) % edges.len().max(1));
        let at = edge.map_or(now, |edge| {
            UnixTime::from_millis(edge.as_millis().saturating_add_signed(by_ms.into()))
        });
        LATEST.min(at)
    }

    fn pick(&self, Pick(pick): Pick) -> JobId {
        let at = usize::from(pick / 16);
        let jobs = self.model.jobs();
        match pick % 16 {
            0 => self.unknown,
            1 | 2 if !self.names.is_empty() => self.names[self.names.len() - 1 - at % self.names.len()],
            _ if !jobs.is_empty() => self.names[jobs[at % jobs.len()].number],
            _ => self.unknown,
        }
    }

    /// Mostly one that is uploading.
    fn pick_upload(&self, Pick(pick): Pick) -> JobId {
        let uploading: Vec<&Job> = self.model.jobs().iter().filter(|job| job.is_uploading()).collect();
        match usize::from(pick / 16).checked_rem(uploading.len()) {
            Some(at) if pick % 16 > 3 => self.names[uploading[at].number],
            _ => self.pick(Pick(pick)),
        }
    }

    pub(super) fn pool(&self, pool: u8) -> UpstreamId {
        self.model.pools().cycle().nth(pool.into()).unwrap()
    }

    pub(super) fn server(&self, pool: u8, server: u8) -> ServerId {
        self.model.servers(self.pool(pool)).cycle().nth(server.into()).unwrap()
    }
}
