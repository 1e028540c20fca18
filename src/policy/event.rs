//! What goes into the policy and what comes out: a request that asks, and what was decided.
//!
//! Absent on purpose: refusals, which have a file of their own (`refusal`).

use super::caller::Caller;
use super::jobs::JobId;
use super::refusal::Refusal;
use super::rules::{PoolId, Priority, ServerId, TierId};
use super::time::{Span, Timestamp};

/// A metered request that asks to be let in.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who is counted.
    pub caller: Caller,
    /// On whose terms.
    pub tier: TierId,
    /// Whose slots it needs.
    pub pool: PoolId,
    /// Whether it asks for a slot at once. If not, its body has not wholly arrived as yet (semantics §6): it takes a seat
    /// and asks by [`super::Policy::ask_slot`]. Where no seat is free or it would not wait, but a slot is idle, it gets that slot
    /// at once, and uploads while it holds it.
    pub ready: bool,
    /// The longest that its route lets a job wait.
    pub max_wait: Option<Span>,
    /// The longest that the client would wait (`Prefer: wait`).
    pub prefer_wait: Option<Span>,
}

/// A slot for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The job that has it now.
    pub job: JobId,
    /// The server that takes it.
    pub server: ServerId,
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
    /// What to tell it.
    pub refusal: Refusal,
}

/// How a job was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Straight to a worker.
    Running(Grant),
    /// To a seat.
    Seated {
        /// The job.
        job: JobId,
        /// When it will have waited its longest: call [`super::Policy::expire`] then.
        until: Timestamp,
        /// Who made room.
        displaced: Option<Displaced>,
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
