//! The jobs in flight: one record each, from admission to the end. The links of `queue`'s lists lie in the records, so that a
//! job can leave the middle of a list without a search.

use std::fmt;
use std::str::FromStr;

use super::caller::{Caller, Network};
use super::rules::{Priority, ServerId, TierId, UpstreamId};
use super::time::{Timestamp, UnixTime};

/// Identifies one job for good: when its index is used again, the generation differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobId {
    index: u32,
    generation: u32,
}

/// As operators write it: `7-2`.
impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.index, self.generation)
    }
}

impl FromStr for JobId {
    type Err = NoJobId;

    fn from_str(text: &str) -> Result<Self, NoJobId> {
        let number = |text: &str| text.parse().map_err(|_| NoJobId);
        let (index, generation) = text.split_once('-').ok_or(NoJobId)?;
        let id = Self {
            index: number(index)?,
            generation: number(generation)?,
        };
        // One spelling for each job.
        if id.to_string() == text { Ok(id) } else { Err(NoJobId) }
    }
}

/// The text is no job's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoJobId;

impl fmt::Display for NoJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a job's id is two numbers, such as 7-2")
    }
}

impl std::error::Error for NoJobId {}

impl JobId {
    /// The job's index, below the highest number of jobs that were ever in flight at once. Reused when the job ends.
    pub const fn index(self) -> usize {
        self.index as usize
    }
}

/// A job's state (rules §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its body still arrives. Holds neither a queue place nor a slot.
    Uploading,
    /// Queued.
    Waiting,
    /// Holds a slot.
    Running {
        /// The server that runs it.
        server: ServerId,
        /// Since when.
        since: Timestamp,
    },
    /// Has given up the slot of a server that could not be reached, and gets the next free one before every queued job. Holds
    /// neither a queue place nor a slot.
    Moving {
        /// Since when.
        since: Timestamp,
    },
    /// Has given its slot back; the last part of the response is not sent yet.
    Ending,
}

/// One metered request in flight.
#[derive(Clone, Debug)]
pub struct Job {
    /// Whom it counts for.
    pub caller: Caller,
    /// The network it comes from, for operators.
    pub from: Network,
    /// The tier whose terms apply.
    pub tier: TierId,
    /// Its tier's priority on admission, or after the last reload while it was uploading or queued.
    pub priority: Priority,
    /// The upstream whose slots it may use.
    pub pool: UpstreamId,
    /// When its body was complete; while it is uploading, when it was admitted.
    pub entered: Timestamp,
    /// When it was admitted, by the wall clock. Its quota counts at this time.
    pub admitted: UnixTime,
    /// Units of quota that it holds.
    pub cost: u32,
    /// Its state.
    pub state: State,
    /// Its place in the order of queueing. Unique among queued jobs.
    pub(super) ticket: u64,
    pub(super) prev: Option<u32>,
    pub(super) next: Option<u32>,
}

#[derive(Debug)]
struct SlabEntry {
    generation: u32,
    job: Option<Job>,
}

/// All jobs in flight. Indices are reused, last freed first, so that the memory in use stays warm and small.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    entries: Vec<SlabEntry>,
    free: Vec<u32>,
}

impl Jobs {
    pub(super) fn insert(&mut self, job: Job) -> JobId {
        if let Some(index) = self.free.pop() {
            let place = &mut self.entries[index as usize];
            place.job = Some(job);
            JobId {
                index,
                generation: place.generation,
            }
        } else {
            let index = u32::try_from(self.entries.len())
                .expect("fewer than 2^32 jobs: connections, queue and slots are bounded");
            self.entries.push(SlabEntry {
                generation: 0,
                job: Some(job),
            });
            JobId { index, generation: 0 }
        }
    }

    /// Removes the job. `None` if it has ended before.
    pub(super) fn remove(&mut self, id: JobId) -> Option<Job> {
        let place = self.entries.get_mut(id.index())?;
        if place.generation != id.generation {
            return None;
        }
        let job = place.job.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.index);
        Some(job)
    }

    pub(super) fn get(&self, id: JobId) -> Option<&Job> {
        let place = self.entries.get(id.index())?;
        if place.generation == id.generation {
            place.job.as_ref()
        } else {
            None
        }
    }

    pub(super) fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        let place = self.entries.get_mut(id.index())?;
        if place.generation == id.generation {
            place.job.as_mut()
        } else {
            None
        }
    }

    /// The job at an index found in a list.
    pub(super) fn at(&self, index: u32) -> &Job {
        self.entries[index as usize]
            .job
            .as_ref()
            .expect("lists contain only jobs in flight")
    }

    pub(super) fn at_mut(&mut self, index: u32) -> &mut Job {
        self.entries[index as usize]
            .job
            .as_mut()
            .expect("lists contain only jobs in flight")
    }

    pub(super) fn id(&self, index: u32) -> JobId {
        JobId {
            index,
            generation: self.entries[index as usize].generation,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (JobId, &Job)> + Clone {
        self.entries.iter().zip(0u32..).filter_map(|(place, index)| {
            let job = place.job.as_ref()?;
            Some((
                JobId {
                    index,
                    generation: place.generation,
                },
                job,
            ))
        })
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.entries.iter_mut().filter_map(|place| place.job.as_mut())
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// The most jobs that there ever were at once.
    pub(super) fn reach(&self) -> usize {
        self.entries.len()
    }
}

/// A list of jobs in insertion order, linked through their records: every step is O(1).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List {
    head: Option<u32>,
    tail: Option<u32>,
    len: u32,
}

impl List {
    pub(super) fn head(&self) -> Option<u32> {
        self.head
    }

    pub(super) fn tail(&self) -> Option<u32> {
        self.tail
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// The indices of its jobs, first to last.
    pub(super) fn iter(self, jobs: &Jobs) -> impl Iterator<Item = u32> {
        std::iter::successors(self.head, |index| jobs.at(*index).next)
    }

    pub(super) fn push(&mut self, jobs: &mut Jobs, index: u32) {
        let job = jobs.at_mut(index);
        job.prev = self.tail;
        job.next = None;
        match self.tail {
            Some(tail) => jobs.at_mut(tail).next = Some(index),
            None => self.head = Some(index),
        }
        self.tail = Some(index);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, jobs: &mut Jobs, index: u32) {
        let job = jobs.at_mut(index);
        let (prev, next) = (job.prev.take(), job.next.take());
        match prev {
            Some(prev) => jobs.at_mut(prev).next = next,
            None => self.head = next,
        }
        match next {
            Some(next) => jobs.at_mut(next).prev = prev,
            None => self.tail = prev,
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_spelling() {
        let id = JobId {
            index: 7,
            generation: u32::MAX,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "7", "7-", "-7", "07-2", "+7-2", "7-2 ", "7-4294967296", "7-2-1"] {
            assert_eq!(text.parse::<JobId>(), Err(NoJobId), "{text}");
        }
    }
}
