//! Request limits, so plain that they are obviously right: when each request came is kept for ever, and every question is answered by
//! looking at all of them. Written from the rules of the house (semantics §7), not from the policy.
//!
//! Absent on purpose: forgetting, and full tables.

use std::collections::HashMap;

use tiergate::policy::limits::{Counter, Left, Lefts, Moment, Refused};
use tiergate::policy::rules::{Kind, Limit, LimitId};
use tiergate::policy::time::{Span, Timestamp};

/// A sliding window's buckets are its sixtieth part.
const BUCKETS: u64 = 60;

/// What ever came to one counter.
#[derive(Clone, Debug, Default)]
struct History {
    let_in: Vec<Moment>,
    /// By this limit: when, and when nothing of what was let in before would have counted any more.
    refused: Vec<(Timestamp, Timestamp)>,
    /// Who looked and who was let in, in turn: in which of the wall clock's windows, when, and how many were let in.
    looked: Vec<(u64, Timestamp, usize)>,
}

/// All request limits.
#[derive(Clone, Debug)]
pub struct Model {
    limits: Vec<Limit>,
    of: HashMap<(LimitId, u64), History>,
}

/// A counter's answer: requests that count, until one less does, until none does, and until another one would pass if it
/// doesn't.
struct Answer {
    used: u32,
    next: Span,
    none: Span,
    refused: Option<Span>,
}

impl Model {
    pub fn new(limits: Vec<Limit>) -> Self {
        Self {
            limits,
            of: HashMap::new(),
        }
    }

    /// §7.8: all or none.
    #[expect(clippy::result_large_err, reason = "as the policy's own, which it stands beside")]
    pub fn decide(&mut self, counters: &[Counter], at: Moment) -> Result<Lefts, Refused> {
        if counters.iter().any(|counter| self.is_blocked(counter, at.now)) {
            return Err(Refused::Blocked);
        }
        let met = || counters.iter().enumerate().filter(|(_, counter)| counter.matches);
        for (_, counter) in met() {
            let window = window(&self.limits[counter.limit.index()], at);
            self.history(counter).looked.push((window, at.now, 0));
        }
        let refused: Vec<_> = met()
            .map(|(place, counter)| (place, counter, self.answer(counter, at)))
            .collect();
        if refused.iter().all(|(.., answer)| answer.refused.is_none()) {
            for (_, counter) in met() {
                let window = window(&self.limits[counter.limit.index()], at);
                let history = self.history(counter);
                history.let_in.push(at);
                history.looked.push((window, at.now, 1));
            }
            return Ok(met()
                .map(|(_, counter)| left(counter, &self.answer(counter, at)))
                .collect());
        }
        let (mut by, mut retry_after) = (usize::MAX, Span::ZERO);
        let (mut all, mut blocked) = (Lefts::new(), Vec::new());
        for (place, counter, answer) in &refused {
            let mut left = left(counter, answer);
            if let Some(lasts) = answer.refused {
                self.history(counter)
                    .refused
                    .push((at.now, at.now + lasts.max(answer.none)));
                // §7.2: a penalty may have begun.
                let lasts = self.answer(counter, at).refused.expect("it has just been refused");
                (left.remaining, left.until) = (0, lasts);
                if by == usize::MAX || lasts > retry_after {
                    (by, retry_after) = (*place, lasts);
                }
                if self.is_blocked(counter, at.now) {
                    blocked.push(*place);
                }
            }
            all.push(left);
        }
        Err(Refused::Limited {
            by,
            retry_after,
            left: all,
            blocked: blocked.into_iter().collect(),
        })
    }

    /// Everybody's counters were looked at, by a sweep.
    pub fn sweep(&mut self, at: Moment) {
        for ((limit, _), history) in &mut self.of {
            history
                .looked
                .push((window(&self.limits[limit.index()], at), at.now, 0));
        }
    }

    fn history(&mut self, counter: &Counter) -> &mut History {
        self.of.entry((counter.limit, counter.subject.id)).or_default()
    }

    /// §7.6: the refusals count in a fixed window; the last of so many blocks.
    fn is_blocked(&self, counter: &Counter, now: Timestamp) -> bool {
        let (Some(rule), Some(history)) = (
            self.limits[counter.limit.index()].block_after,
            self.of.get(&(counter.limit, counter.subject.id)),
        ) else {
            return false;
        };
        let (mut window, mut blocked) = (Vec::new(), None);
        for (refused, _) in &history.refused {
            if window
                .first()
                .is_some_and(|first: &Timestamp| *refused >= *first + rule.within)
            {
                window.clear();
            }
            window.push(*refused);
            if window.len() >= rule.refusals as usize {
                window.clear();
                blocked = Some(*refused + rule.lasts);
            }
        }
        blocked.is_some_and(|until| now < until)
    }

    fn answer(&self, counter: &Counter, at: Moment) -> Answer {
        let limit = &self.limits[counter.limit.index()];
        let number = counter.enforced;
        let empty = History::default();
        let history = self.of.get(&(counter.limit, counter.subject.id)).unwrap_or(&empty);
        // §7.2: it begins with the first refusal that is not within one, and leaves the window empty. So it may not end while
        // something counts.
        let mut penalty: Option<Timestamp> = None;
        if let Some(lasts) = limit.penalty {
            for (refused, empty) in &history.refused {
                if penalty.is_none_or(|until| *refused >= until) {
                    penalty = Some((*refused + lasts).max(*empty));
                }
            }
        }
        if let Some(until) = penalty.filter(|until| at.now < *until) {
            let left = until.since(at.now);
            return Answer {
                used: number,
                next: left,
                none: left,
                refused: Some(left),
            };
        }
        let since = penalty.unwrap_or(Timestamp::ZERO);
        let counting: Vec<Moment> = history.let_in.iter().filter(|of| of.now >= since).copied().collect();
        let mut answer = match limit.kind {
            Kind::Fixed => fixed(&counting, limit, number, at),
            Kind::Aligned => {
                // Where the clock was set, another window has begun as soon as somebody looked.
                let since = history
                    .looked
                    .iter()
                    .rev()
                    .take_while(|(of, when, _)| *of == window(limit, at) && *when >= since);
                aligned(since.map(|(.., let_in)| let_in).sum(), limit, number, at)
            }
            Kind::Sliding => sliding(&counting, limit, number, at),
            Kind::Burst => burst(&counting, limit, number, at),
        };
        // Nothing is let in, so there is no time to tell.
        if number == 0 {
            answer.refused = Some(limit.window);
        }
        answer
    }
}

fn left(counter: &Counter, answer: &Answer) -> Left {
    Left {
        limit: counter.limit,
        number: counter.number,
        remaining: counter.number.saturating_sub(answer.used),
        until: answer.refused.unwrap_or(answer.next),
    }
}

/// §7.1: windows follow each other, and each begins with the request that finds none.
fn fixed(let_in: &[Moment], limit: &Limit, number: u32, at: Moment) -> Answer {
    let mut windows: Vec<Vec<Timestamp>> = Vec::new();
    for request in let_in {
        match windows.last_mut() {
            Some(last) if request.now < last[0] + limit.window => last.push(request.now),
            _ => windows.push(vec![request.now]),
        }
    }
    let open = windows.last().filter(|last| at.now < last[0] + limit.window);
    let until = open.map_or(Span::ZERO, |open| (open[0] + limit.window).since(at.now));
    counted(open.map_or(0, Vec::len), number, until)
}

/// §7.1: on the wall clock.
fn aligned(used: usize, limit: &Limit, number: u32, at: Moment) -> Answer {
    let ends_ms = (window(limit, at) + 1) * limit.window.as_millis();
    let until = Span::from_millis(ends_ms - at.wall.as_millis());
    counted(used, number, if used == 0 { Span::ZERO } else { until })
}

fn window(limit: &Limit, at: Moment) -> u64 {
    at.wall.as_millis() / limit.window.as_millis()
}

fn counted(used: usize, number: u32, until: Span) -> Answer {
    Answer {
        used: used as u32,
        next: until,
        none: until,
        refused: (used >= number as usize).then_some(until),
    }
}

/// §7.1: a request leaves when its whole bucket has left the window.
fn sliding(let_in: &[Moment], limit: &Limit, number: u32, at: Moment) -> Answer {
    let width = limit.window.as_nanos().div_ceil(BUCKETS);
    let leaves = |request: &Moment| Timestamp::from_nanos((request.now.as_nanos() / width + 1) * width) + limit.window;
    let leaving: Vec<Timestamp> = let_in.iter().map(leaves).filter(|leaves| at.now < *leaves).collect();
    // With so many gone there is room for one.
    let excess = (leaving.len() + 1).saturating_sub(number as usize);
    Answer {
        used: leaving.len() as u32,
        next: leaving.first().map_or(Span::ZERO, |leaves| leaves.since(at.now)),
        none: leaving.last().map_or(Span::ZERO, |leaves| leaves.since(at.now)),
        refused: (excess > 0 && number > 0).then(|| leaving[excess - 1].since(at.now)),
    }
}

/// §7.1: a bucket of `number` drops out of which one drips after each window ÷ number. It is full when one more would spill.
fn burst(let_in: &[Moment], limit: &Limit, number: u32, at: Moment) -> Answer {
    let drip = limit.window.as_nanos().div_ceil(number.max(1).into());
    // Drops in the bucket, in the time that they take to drip out.
    let (mut level, mut looked) = (0_u64, 0_u64);
    for request in let_in {
        level = level.saturating_sub(request.now.as_nanos() - looked) + drip;
        looked = request.now.as_nanos();
    }
    level = level.saturating_sub(at.now.as_nanos() - looked);
    let spills = (level + drip).saturating_sub(drip * u64::from(number));
    let drops = level.div_ceil(drip);
    Answer {
        used: drops as u32,
        next: Span::from_nanos(if drops == 0 { 0 } else { level - (drops - 1) * drip }),
        none: Span::from_nanos(level),
        refused: (spills > 0).then(|| Span::from_nanos(spills)),
    }
}
