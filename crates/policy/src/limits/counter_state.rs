//! What one counter holds, 16 bytes, and how each kind of limit counts (rules §7.1, §7.2).
//!
//! - **fixed**: a window of length L begins with the first request after the last window's end, and ends after L.
//! - **aligned**: windows are [k·L, (k+1)·L) on the wall clock. A different k is a different window, even after the clock was
//!   set back: a counter that stood still for that long would refuse everything.
//! - **sliding**: buckets of width w = L ÷ 60. Requests in [b·w, (b+1)·w) expire together at (b+1)·w + L: up to w late, never
//!   early. So no interval of length L ever holds more than the limit.
//! - **burst** (GCRA): with T = L ÷ limit, `full` is the time at which the bucket will have drained. Each request moves it by
//!   T, and it passes if `full` is then at most limit · T ahead. If the limit's number changes, or a subject comes with
//!   different numbers, the requests in the bucket are kept, not its fill level: they drain at the rate of the number used by
//!   the last request, until the next one.
//! - a **penalty** replaces the counter until it ends, and leaves it empty. So it lasts at least until the counter would have
//!   been empty; otherwise it would lift the limit.
//!
//! If a limit's kind or window changes, the requests that counted under the old one are carried over as if all had come at that
//! moment ([`CounterState::carry`]).

use super::Moment;
use crate::bucket_log::BucketLog;
use crate::rules::{Kind, Limit};
use crate::time::{Span, Timestamp};

/// Buckets of a sliding window (plus one that is expiring).
const BUCKETS: u64 = 60;
/// When a request arrives, requests this many buckets older have left the window.
const REACH: u64 = BUCKETS + 1;
/// Buckets stored inline, without a heap allocation.
const INLINE: usize = 2;

#[derive(Clone, Debug, Default)]
pub(super) enum CounterState {
    /// Nothing counts.
    #[default]
    Empty,
    /// A window that began at `since`. For a burst limit: requests carried over from another kind, with none since.
    Fixed { since: Timestamp, count: u32 },
    /// The window with that index.
    Aligned { window: u64, count: u32 },
    /// Requests by bucket.
    Sliding(Box<BucketLog<INLINE>>),
    /// A bucket that drains at `full`, at the rate of `number`, which applied to the subject's last admitted request.
    Burst { full: Timestamp, number: u32 },
    /// A penalty, until then.
    Penalty { until: Timestamp },
}

/// What a counter says about one more request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// Requests that count.
    pub(super) used: u32,
    /// Time until the next of them expires. Zero if none counts.
    pub(super) next: Span,
    /// Time until one more request would pass; `None`: it passes now.
    pub(super) refused: Option<Span>,
}

impl Reading {
    const EMPTY: Self = Self {
        used: 0,
        next: Span::ZERO,
        refused: None,
    };
}

impl CounterState {
    /// The current reading under the limit, which admits `number` requests. Drops what has expired.
    pub(super) fn read(&mut self, limit: &Limit, number: u32, at: Moment) -> Reading {
        self.forget(limit, at);
        if let (Self::Fixed { since, count }, Kind::Burst) = (&*self, limit.kind) {
            *self = poured(*since, *count, limit.window, number);
        }
        self.reading(limit, number, at)
    }

    /// Like [`Self::read`], for a counter in which nothing has expired.
    fn reading(&self, limit: &Limit, number: u32, at: Moment) -> Reading {
        let reading = match self {
            Self::Empty => Reading::EMPTY,
            Self::Penalty { until } => {
                let left = until.since(at.now);
                return Reading {
                    used: number,
                    next: left,
                    refused: Some(left),
                };
            }
            Self::Fixed { since, count } => counted(*count, number, (*since + limit.window).since(at.now)),
            Self::Aligned { window, count } => counted(*count, number, until_window(*window + 1, limit, at)),
            Self::Sliding(log) => sliding(log, limit.window, number, at.now),
            Self::Burst { full, number: by } => burst((*full, *by), limit.window, number, at.now),
        };
        // A limit of 0 never admits a request, but a reload may raise it: retry after a whole window.
        let refused = if number == 0 {
            Some(limit.window)
        } else {
            reading.refused
        };
        Reading { refused, ..reading }
    }

    /// Counts one request that [`Self::read`] has just let pass, and returns the new reading.
    pub(super) fn charge(&mut self, limit: &Limit, number: u32, at: Moment) -> Reading {
        match self {
            Self::Fixed { count, .. } | Self::Aligned { count, .. } => *count = count.saturating_add(1),
            Self::Sliding(log) => log.add(bucket(at.now, width(limit.window)), 1, REACH),
            Self::Burst { full, number: by } => {
                *full = at.now + at_pace(full.since(at.now), limit.window, *by, number) + step(limit.window, number);
                *by = number;
            }
            Self::Empty | Self::Penalty { .. } => {
                *self = match limit.kind {
                    Kind::Fixed => Self::Fixed {
                        since: at.now,
                        count: 1,
                    },
                    Kind::Aligned => Self::Aligned {
                        window: window(limit, at),
                        count: 1,
                    },
                    Kind::Sliding => {
                        let mut log = Box::<BucketLog<INLINE>>::default();
                        log.add(bucket(at.now, width(limit.window)), 1, REACH);
                        Self::Sliding(log)
                    }
                    Kind::Burst => Self::Burst {
                        full: at.now + step(limit.window, number),
                        number,
                    },
                };
            }
        }
        self.reading(limit, number, at)
    }

    /// Moves what was counted under `from` to `to`. If the kind or window differs, every request counts as if it had come now:
    /// longer than before, but no longer than the new window. A running penalty is cut to `longest`.
    pub(super) fn carry(&mut self, from: &Limit, to: &Limit, longest: Span, at: Moment) {
        if self.forget(from, at) {
            return;
        }
        let count = match self {
            Self::Penalty { until } => {
                *until = (*until).min(at.now + longest);
                return;
            }
            _ if counts_alike(from, to) => return,
            Self::Empty => return,
            Self::Fixed { count, .. } | Self::Aligned { count, .. } => *count,
            Self::Sliding(log) => u32::try_from(log.used()).unwrap_or(u32::MAX),
            Self::Burst { full, number } => burst((*full, *number), from.window, *number, at.now).used,
        };
        *self = match to.kind {
            // The number that sets a bucket's rate is known only when the subject's next request comes.
            Kind::Fixed | Kind::Burst => Self::Fixed { since: at.now, count },
            Kind::Aligned => Self::Aligned {
                window: window(to, at),
                count,
            },
            Kind::Sliding => {
                let mut log = Box::<BucketLog<INLINE>>::default();
                log.add(bucket(at.now, width(to.window)), count.into(), REACH);
                Self::Sliding(log)
            }
        };
    }

    /// Time until the counter is empty. Call it right after [`Self::read`].
    pub(super) fn until_empty(&self, limit: &Limit, at: Moment) -> Span {
        match self {
            Self::Empty => Span::ZERO,
            Self::Fixed { since, .. } => (*since + limit.window).since(at.now),
            Self::Aligned { window, .. } => until_window(*window + 1, limit, at),
            Self::Sliding(log) => {
                let newest = log.buckets().last();
                newest.map_or(Span::ZERO, |(bucket, _)| leaves(bucket, limit.window).since(at.now))
            }
            Self::Burst { full, .. } => full.since(at.now),
            Self::Penalty { until } => until.since(at.now),
        }
    }

    /// Whether the counter is empty. Drops what has expired.
    pub(super) fn forget(&mut self, limit: &Limit, at: Moment) -> bool {
        let over = match self {
            Self::Empty => return true,
            Self::Fixed { since, .. } => at.now.since(*since) >= limit.window,
            Self::Aligned { window: of, .. } => *of != window(limit, at),
            Self::Sliding(log) => {
                log.forget_before(first(at.now, limit.window));
                log.used() == 0
            }
            Self::Burst { full, .. } => *full <= at.now,
            Self::Penalty { until } => *until <= at.now,
        };
        if over {
            *self = Self::Empty;
        }
        over
    }
}

/// Whether counters mean the same under both limits.
pub(super) fn counts_alike(one: &Limit, other: &Limit) -> bool {
    (one.kind, one.window) == (other.kind, other.window)
}

/// The reading of `count` requests that all expire together, after `left`.
fn counted(count: u32, number: u32, left: Span) -> Reading {
    Reading {
        used: count,
        next: left,
        refused: (count >= number).then_some(left),
    }
}

/// The index of the wall-clock window at this moment.
fn window(limit: &Limit, at: Moment) -> u64 {
    at.wall.as_millis() / window_ms(limit)
}

fn until_window(window: u64, limit: &Limit, at: Moment) -> Span {
    Span::from_millis((window.saturating_mul(window_ms(limit))).saturating_sub(at.wall.as_millis()))
}

fn window_ms(limit: &Limit) -> u64 {
    limit.window.as_millis().max(1)
}

/// The width of a bucket in nanoseconds.
fn width(window: Span) -> u64 {
    window.as_nanos().div_ceil(BUCKETS).max(1)
}

fn bucket(at: Timestamp, width: u64) -> u64 {
    at.as_nanos() / width
}

/// The first bucket that still counts.
fn first(now: Timestamp, window: Span) -> u64 {
    now.as_nanos().saturating_sub(window.as_nanos()) / width(window)
}

/// When the bucket leaves the window.
fn leaves(bucket: u64, window: Span) -> Timestamp {
    Timestamp::from_nanos((bucket + 1).saturating_mul(width(window))) + window
}

fn sliding(log: &BucketLog<INLINE>, window: Span, number: u32, now: Timestamp) -> Reading {
    let used = log.used();
    // How many requests must expire before one more passes.
    let too_many = (used + 1).saturating_sub(number.into());
    let (mut left, mut next, mut refused) = (0, None, None);
    for (bucket, units) in log.buckets() {
        left += units;
        next = next.or(Some(leaves(bucket, window).since(now)));
        if left >= too_many {
            refused = (too_many > 0).then(|| leaves(bucket, window).since(now));
            break;
        }
    }
    Reading {
        used: u32::try_from(used).unwrap_or(u32::MAX),
        next: next.unwrap_or_default(),
        refused,
    }
}

/// The time that one request takes to drain.
fn step(window: Span, number: u32) -> Span {
    Span::from_nanos(window.as_nanos().div_ceil(u64::from(number.max(1))))
}

/// A bucket that received `count` requests at `since`. If that is more than it holds, they drain within the window.
fn poured(since: Timestamp, count: u32, window: Span, number: u32) -> CounterState {
    let number = number.max(count);
    CounterState::Burst {
        full: since + step(window, number).saturating_mul(count.into()),
        number,
    }
}

/// Converts the drain time `left` from the rate of `by` to that of `number`, for the same number of requests.
fn at_pace(left: Span, window: Span, by: u32, number: u32) -> Span {
    if by == number {
        return left;
    }
    let (old, new) = (step(window, by).as_nanos(), step(window, number).as_nanos());
    let nanos = (u128::from(left.as_nanos()) * u128::from(new)).div_ceil(u128::from(old));
    Span::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The reading under `number` of a bucket that drains at `full`, at the rate of `by`.
fn burst((full, by): (Timestamp, u32), window: Span, number: u32, now: Timestamp) -> Reading {
    let step = step(window, by).as_nanos();
    let ahead = full.since(now).as_nanos();
    let used = ahead.div_ceil(step);
    let room = step.saturating_mul(number.into());
    let beyond = ahead.saturating_add(step).saturating_sub(room);
    Reading {
        used: u32::try_from(used).unwrap_or(u32::MAX),
        next: Span::from_nanos(ahead - used.saturating_sub(1) * step),
        refused: (beyond > 0).then(|| Span::from_nanos(beyond)),
    }
}
