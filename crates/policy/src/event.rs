//! What goes into the policy and what comes out: a request that asks, and what was decided.
//!
//! Absent on purpose: refusals, which have a file of their own (`refusal`).

use std::sync::Arc;

use smallvec::SmallVec;

use super::caller::{AccountId, Caller, Network};
use super::jobs::JobId;
use super::refusal::Refusal;
use super::rules::{Priority, Raise, ServerId, TierId, UpstreamId};
use super::time::{Span, Timestamp, UnixTime};

/// A metered request that asks to be let in.
#[derive(Clone, Debug)]
pub struct AdmissionRequest {
    /// Who is counted.
    pub caller: Caller,
    /// Where it comes from, for operators to see.
    pub from: Network,
    /// On whose terms.
    pub tier: TierId,
    /// What the caller has of its own instead of what its tier gives.
    pub own: Option<Arc<Own>>,
    /// The delegating account that asks for this user: the job counts against its terms as well (semantics §5.9).
    pub delegate: Option<Box<Delegate>>,
    /// Units of quota that it takes if it succeeds. 0 is a peek.
    pub cost: u32,
    /// Whose slots it needs.
    pub pool: UpstreamId,
    /// Whether it asks for a slot at once. If not, its body has not wholly arrived as yet (semantics §6): it takes a seat
    /// and asks by [`super::Policy::ask_slot`]. Where no seat is free or it would not wait, but a slot is idle, it gets that slot
    /// at once, and uploads while it holds it.
    pub ready: bool,
    /// The longest that its route lets a job wait.
    pub max_wait: Option<Span>,
    /// The longest that the client would wait (`Prefer: wait`).
    pub prefer_wait: Option<Span>,
}

/// What one account has instead of what its tier gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Jobs at once.
    pub concurrency: Option<u32>,
    /// Limits of the tier's quotas, by their names.
    pub quotas: Vec<(Arc<str>, u64)>,
    /// Numbers for request limits, by their names.
    pub limits: Vec<(Arc<str>, Raise)>,
}

impl Own {
    /// Whether there is nothing of the sort.
    pub fn is_empty(&self) -> bool {
        self.concurrency.is_none() && self.quotas.is_empty() && self.limits.is_empty()
    }

    /// The limit of the quota of that name.
    pub fn limit(&self, name: &str) -> Option<u64> {
        let (_, limit) = self.quotas.iter().find(|(of, _)| **of == *name)?;
        Some(*limit)
    }

    /// The number for the request limit of that name.
    pub fn raise(&self, name: &str) -> Option<Raise> {
        let (_, raise) = self.limits.iter().find(|(of, _)| **of == *name)?;
        Some(*raise)
    }
}

/// A delegating account, when it asks for one of its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegate {
    /// Which one.
    pub account: AccountId,
    /// Its tier.
    pub tier: TierId,
    /// What it has of its own.
    pub own: Option<Arc<Own>>,
    /// DelegatedUsers that it may have.
    pub users_max: u32,
}

/// A slot for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The job that has it now.
    pub job: JobId,
    /// The server that takes it.
    pub server: ServerId,
    /// When the job was let in, by the wall clock.
    pub admitted: UnixTime,
    /// How long the job has waited for it: from its admission, or, if it moves, from when it gave its last slot up.
    pub waited: Span,
    /// The job's priority.
    pub priority: Priority,
}

/// A job that had to make room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// The job that lost its seat; it has ended.
    pub job: JobId,
    /// Of which tier it was.
    pub tier: TierId,
    /// When it was let in, by the wall clock.
    pub admitted: UnixTime,
    /// What to tell it.
    pub refusal: Refusal,
}

/// The names of quotas that have no room for a job and let it in, since they aren't enforced; each once. Usually none.
pub type UnenforcedQuotas = SmallVec<[Arc<str>; 2]>;

/// How a job was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Straight to a worker.
    Running {
        /// Its slot.
        grant: Grant,
        /// Quotas that would have refused it.
        overdrawn: UnenforcedQuotas,
    },
    /// To a seat.
    Seated {
        /// The job.
        job: JobId,
        /// When it was let in, by the wall clock.
        admitted: UnixTime,
        /// Its priority.
        priority: Priority,
        /// When it will have waited its longest: call [`super::Policy::expire`] then.
        until: Timestamp,
        /// Who made room.
        displaced: Option<Displaced>,
        /// Quotas that would have refused it.
        overdrawn: UnenforcedQuotas,
    },
}

/// What became of a job whose server could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relocation {
    /// It has a slot of this server.
    To(ServerId),
    /// It has given its slot up and is handed the next free one, by a [`Grant`].
    Waits,
    /// No other server is up: the job holds what it held.
    Nowhere,
}

/// How a job ended that had a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered with one of its route's success statuses, wholly.
    Succeeded,
    /// Answered otherwise, or the upstream failed.
    Failed,
    /// Its client hung up, or sent its body too slowly or too long.
    Cancelled,
}

/// Which debit, by the order in which they were written down since the program began: of two the later has the greater
/// number. So a number may part those that somebody reads back from those that count as their jobs end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DebitNumber(pub u64);

impl DebitNumber {
    /// After all others: of what nobody will read back.
    pub const LAST: Self = Self(u64::MAX);
}

/// How a job came to its end, with or without a slot (semantics §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Answered with success.
    Succeeded,
    /// Answered otherwise, or the upstream failed.
    Failed,
    /// Client gone, or its body refused, while running.
    Cancelled,
    /// Lost its seat to a higher priority.
    Displaced,
    /// Waited its longest.
    WaitedOut,
    /// Client gone, or its body refused, while waiting.
    HungUp,
    /// Turned away while waiting because the door closed.
    ShutDown,
}

impl End {
    /// All of them, each with its name in metrics and records.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Succeeded, "succeeded"),
        (Self::Failed, "failed"),
        (Self::Cancelled, "cancelled"),
        (Self::Displaced, "displaced"),
        (Self::WaitedOut, "waited_out"),
        (Self::HungUp, "hung_up"),
        (Self::ShutDown, "shut_down"),
    ];

    /// Its name in metrics and records.
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl From<Outcome> for End {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Succeeded => Self::Succeeded,
            Outcome::Failed => Self::Failed,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}
