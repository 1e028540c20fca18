//! Input and output of the policy: admission requests and decisions. Refusals are in `refusal`.

use std::sync::Arc;

use smallvec::SmallVec;

use super::caller::{AccountId, Caller, Network};
use super::jobs::JobId;
use super::refusal::Refusal;
use super::rules::{LimitOverride, Priority, ServerId, TierId, UpstreamId};
use super::time::{Span, Timestamp, UnixTime};

/// A metered request that asks for admission.
#[derive(Clone, Debug)]
pub struct AdmissionRequest {
    /// Whom it counts for.
    pub caller: Caller,
    /// The network it comes from, for operators.
    pub from: Network,
    /// The tier whose terms apply.
    pub tier: TierId,
    /// The account's overrides of its tier's terms.
    pub own: Option<Arc<AccountOverrides>>,
    /// The delegating account, if the caller is one of its users: the job counts against its terms as well (rules §5.9).
    pub delegate: Option<Box<Delegate>>,
    /// Units of quota that it takes if it succeeds. 0 is a peek.
    pub cost: u32,
    /// The upstream whose slots it needs.
    pub pool: UpstreamId,
    /// Whether its body is complete. If not, it is admitted as [`Admission::Uploading`].
    pub body: RequestBody,
    /// How long it may wait.
    pub waits: WaitLimits,
}

/// How much of a request's body has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestBody {
    /// Not all of it: [`super::Policy::arrive`] tells when it is complete.
    Arriving,
    /// All of it, or there is none.
    Complete,
}

/// The longest waits that come with a request. The queue and the tier have their own; the least of all holds (rules §3.9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaitLimits {
    /// The route's.
    pub route: Option<Span>,
    /// The client's (`Prefer: wait`).
    pub client: Option<Span>,
}

/// An account's overrides of its tier's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountOverrides {
    /// Concurrent jobs.
    pub concurrency: Option<u32>,
    /// Limits of the tier's quotas, by name.
    pub quotas: Vec<(Arc<str>, u64)>,
    /// Numbers for request limits, by name.
    pub limits: Vec<(Arc<str>, LimitOverride)>,
}

impl AccountOverrides {
    /// Whether nothing is overridden.
    pub fn is_empty(&self) -> bool {
        self.concurrency.is_none() && self.quotas.is_empty() && self.limits.is_empty()
    }

    /// The overridden limit of that quota.
    pub fn limit(&self, name: &str) -> Option<u64> {
        let (_, limit) = self.quotas.iter().find(|(of, _)| **of == *name)?;
        Some(*limit)
    }

    /// The overridden number of that request limit.
    pub fn raise(&self, name: &str) -> Option<LimitOverride> {
        let (_, raise) = self.limits.iter().find(|(of, _)| **of == *name)?;
        Some(*raise)
    }
}

/// A delegating account that asks for one of its users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegate {
    /// The account.
    pub account: AccountId,
    /// Its tier.
    pub tier: TierId,
    /// The account's overrides.
    pub own: Option<Arc<AccountOverrides>>,
    /// The maximum number of its users.
    pub users_max: u32,
}

/// A slot for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The job that got it.
    pub job: JobId,
    /// The server that runs the job.
    pub server: ServerId,
    /// When the job was admitted, by the wall clock.
    pub admitted: UnixTime,
    /// How long the job waited for it: since its body was complete, or, if it moved, since it gave up its last slot.
    pub waited: Span,
    /// The job's priority.
    pub priority: Priority,
}

/// A job that was displaced from the queue, or ended because of an operator or the shutdown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Displaced {
    /// The job; it has ended.
    pub job: JobId,
    /// Its tier.
    pub tier: TierId,
    /// Its priority.
    pub priority: Priority,
    /// When it was admitted, by the wall clock.
    pub admitted: UnixTime,
    /// The refusal to send.
    pub refusal: Refusal,
}

/// Names of depleted quotas that admitted the job because they aren't enforced; each once. Usually none.
pub type UnenforcedQuotas = SmallVec<[Arc<str>; 2]>;

/// How a job was admitted, or what it got when its body was complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Without a slot or a queue place: its body still arrives. It holds quota and its callers' concurrency.
    Uploading {
        /// The job.
        job: JobId,
        /// When it was admitted, by the wall clock.
        admitted: UnixTime,
        /// Its priority. A reload may change it.
        priority: Priority,
        /// Quotas that would have refused it.
        overdrawn: UnenforcedQuotas,
    },
    /// With a slot.
    Running {
        /// Its slot.
        grant: Grant,
        /// Quotas that would have refused it; none if its body has just arrived.
        overdrawn: UnenforcedQuotas,
    },
    /// To the queue.
    Queued {
        /// The job.
        job: JobId,
        /// When it was admitted, by the wall clock.
        admitted: UnixTime,
        /// Its priority.
        priority: Priority,
        /// When its longest wait ends: call [`super::Policy::expire`] then.
        until: Timestamp,
        /// How long it is expected to wait (rules §3.8): with a longest wait of the client's own, that by which it is refused or
        /// not; otherwise [`super::Policy::estimate`].
        estimate: Span,
        /// The job that was displaced for it.
        displaced: Option<Displaced>,
        /// Quotas that would have refused it; none if its body has just arrived.
        overdrawn: UnenforcedQuotas,
    },
}

impl Admission {
    /// The job.
    pub fn job(&self) -> JobId {
        match self {
            Self::Running { grant, .. } => grant.job,
            Self::Uploading { job, .. } | Self::Queued { job, .. } => *job,
        }
    }

    /// When the job was admitted, by the wall clock.
    pub fn admitted(&self) -> UnixTime {
        match self {
            Self::Running { grant, .. } => grant.admitted,
            Self::Uploading { admitted, .. } | Self::Queued { admitted, .. } => *admitted,
        }
    }

    /// Quotas that would have refused it.
    pub fn overdrawn(&self) -> &UnenforcedQuotas {
        match self {
            Self::Uploading { overdrawn, .. } | Self::Running { overdrawn, .. } | Self::Queued { overdrawn, .. } => {
                overdrawn
            }
        }
    }
}

/// The result of moving a job whose server could not be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relocation {
    /// It has a slot of this server.
    To(ServerId),
    /// It has given up its slot and gets the next free one in a [`Grant`].
    Waits,
    /// No other server is up: the job keeps its slot.
    Nowhere,
}

/// How a job with a slot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Answered completely, with one of its route's success statuses.
    Succeeded,
    /// Answered otherwise, or the upstream failed.
    Failed,
    /// The client hung up.
    Cancelled,
}

/// A debit's number, in the order in which debits were written since the program started. A number separates debits that are
/// read back from those that count when their jobs end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DebitNumber(pub u64);

impl DebitNumber {
    /// After all others: for a debit that is never read back.
    pub const LAST: Self = Self(u64::MAX);
}

/// How a job ended, with or without a slot (rules §9.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Answered with success.
    Succeeded,
    /// Answered otherwise, or the upstream failed.
    Failed,
    /// Client gone while running.
    Cancelled,
    /// Displaced from the queue by a higher priority.
    Displaced,
    /// Reached its longest wait.
    WaitedOut,
    /// Client gone while queued.
    HungUp,
    /// Refused while queued because the server shut down.
    ShutDown,
    /// Cancelled by an operator while queued.
    CancelledByOperator,
    /// Its body did not arrive wholly: client gone or too slow, body rejected, or the server shut down.
    UploadEnded,
}

impl End {
    /// All of them, with their names in metrics and records.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::Succeeded, "succeeded"),
        (Self::Failed, "failed"),
        (Self::Cancelled, "cancelled"),
        (Self::Displaced, "displaced"),
        (Self::WaitedOut, "waited_out"),
        (Self::HungUp, "hung_up"),
        (Self::ShutDown, "shut_down"),
        (Self::CancelledByOperator, "cancelled_by_operator"),
        (Self::UploadEnded, "upload_ended"),
    ];

    /// The name in metrics and records.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_own_name() {
        for (place, (end, name)) in End::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, place, "{name}");
            let same = End::ALL.into_iter().filter(|(_, other)| *other == name);
            assert_eq!(same.count(), 1, "{name}");
        }
    }
}
