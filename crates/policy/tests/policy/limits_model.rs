//! A model of request limits, so simple that it is obviously right: the time of each request is kept for ever, and every question is
//! answered by looking at all of them. Written from docs/rules.md (§7), not from the policy. Its tables are never full.

use std::collections::HashMap;
use std::sync::Arc;

use tiergate_policy::limits::{Admitted, Counter, Left, Lefts, Moment, Refused};
use tiergate_policy::rules::{Kind, Limit, LimitSet};
use tiergate_policy::time::{Span, Timestamp};

/// A sliding window's buckets are its sixtieth part.
const BUCKETS: u64 = 60;

/// An admitted request, and by which number; `None`: a reload has carried it over, and no request has come since.
#[derive(Clone, Copy, Debug)]
struct Came {
    now: Timestamp,
    by: Option<u32>,
}

/// What ever came to one counter.
#[derive(Clone, Debug, Default)]
struct History {
    admitted: Vec<Came>,
    /// When the last penalty ends, or has ended.
    penalty: Option<Timestamp>,
    /// Refusals since the last one that began a stretch of a block's rule, or led to a block.
    refused: Vec<Timestamp>,
    /// When the last block ends, or has ended.
    blocked: Option<Timestamp>,
    /// Looks and admissions, in order: in which of the wall clock's windows, when, and how many were admitted.
    looked: Vec<(u64, Timestamp, usize)>,
}

/// All request limits.
#[derive(Clone, Debug)]
pub struct Model {
    limits: Vec<Limit>,
    /// By the limit's name and the subject.
    of: HashMap<(Arc<str>, u64), History>,
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

    /// §7.8: all or none. A limit that isn't enforced does what it would do if it were, and refuses nobody.
    #[expect(clippy::result_large_err, reason = "as the policy's own, which it stands beside")]
    pub fn decide(&mut self, counters: &[Counter], at: Moment) -> Result<Admitted, Refused> {
        let is_enforced = |model: &Self, counter: &Counter| model.limit(counter).enforce;
        let mut unenforced = LimitSet::default();
        for counter in counters {
            if let Some(lasts) = self.blocked_for(counter, at.now) {
                if is_enforced(self, counter) {
                    return Err(Refused::Blocked { lasts });
                }
                unenforced = unenforced.with(counter.limit);
            }
        }
        let blocking = unenforced;
        let mut met = Vec::new();
        for (place, counter) in counters.iter().enumerate() {
            if counter.matches && !blocking.has(counter.limit) {
                let window = window(self.limit(counter), at);
                self.history(counter).looked.push((window, at.now, 0));
                met.push((place, counter, self.answer(counter, at)));
            }
        }
        let is_full = |answer: &Answer| answer.refused.is_some();
        if met
            .iter()
            .any(|(_, counter, answer)| is_full(answer) && is_enforced(self, counter))
        {
            return Err(self.refuse(&met, at));
        }
        for (_, counter, _) in met.iter().filter(|(.., answer)| is_full(answer)) {
            unenforced = unenforced.with(counter.limit);
        }
        let mut left = Lefts::new();
        for (_, counter, answer) in &met {
            if unenforced.has(counter.limit) {
                if let Some(lasts) = answer.refused {
                    self.note_refusal(counter, lasts.max(answer.none), at);
                }
                continue;
            }
            let window = window(self.limit(counter), at);
            let history = self.history(counter);
            history.admitted.push(Came {
                now: at.now,
                by: Some(counter.enforced),
            });
            history.looked.push((window, at.now, 1));
            if is_enforced(self, counter) {
                left.push(left_of(counter, &self.answer(counter, at)));
            }
        }
        Ok(Admitted { left, unenforced })
    }

    fn refuse(&mut self, met: &[(usize, &Counter, Answer)], at: Moment) -> Refused {
        let (mut by, mut retry_after) = (usize::MAX, Span::ZERO);
        let (mut all, mut blocked) = (Lefts::new(), Vec::new());
        for (place, counter, answer) in met {
            let mut left = left_of(counter, answer);
            let is_enforced = self.limit(counter).enforce;
            if let Some(lasts) = answer.refused {
                self.note_refusal(counter, lasts.max(answer.none), at);
                if !is_enforced {
                    continue;
                }
                // §7.2: a penalty may have begun.
                let lasts = self.answer(counter, at).refused.expect("it has just been refused");
                (left.remaining, left.until) = (0, lasts);
                if by == usize::MAX || lasts > retry_after {
                    (by, retry_after) = (*place, lasts);
                }
                if self.blocked_for(counter, at.now).is_some() {
                    blocked.push(*place);
                }
            }
            if is_enforced {
                all.push(left);
            }
        }
        Refused::Limited {
            by,
            retry_after,
            left: all,
            blocked: blocked.into_iter().collect(),
        }
    }

    /// A sweep looked at all counters.
    pub fn sweep(&mut self, at: Moment) {
        for limit in &self.limits {
            let of_limit = self.of.iter_mut().filter(|((name, _), _)| *name == limit.name);
            of_limit.for_each(|(_, history)| history.looked.push((window(limit, at), at.now, 0)));
        }
    }

    /// Other limits from now on, known again by name.
    pub fn reload(&mut self, limits: Vec<Limit>, at: Moment) {
        let before = std::mem::replace(&mut self.limits, limits);
        let named = |limits: &[Limit], name: &str| limits.iter().find(|limit| *limit.name == *name).cloned();
        self.of.retain(|(name, _), _| named(&self.limits, name).is_some());
        for ((name, _), history) in &mut self.of {
            let (from, to) = (named(&before, name), named(&self.limits, name));
            history.carry(&from.expect("it was counted"), &to.expect("it is retained"), at);
        }
    }

    fn limit(&self, counter: &Counter) -> &Limit {
        &self.limits[counter.limit.index()]
    }

    fn history(&mut self, counter: &Counter) -> &mut History {
        let name = Arc::clone(&self.limit(counter).name);
        self.of.entry((name, counter.subject.id)).or_default()
    }

    fn blocked_for(&mut self, counter: &Counter, now: Timestamp) -> Option<Span> {
        let until = self.history(counter).blocked.filter(|until| now < *until)?;
        Some(until.since(now))
    }

    /// §7.2: a penalty begins with the first refusal that is not within one, and leaves the window empty. So it may not end while
    /// something counts, which it does for `lasts`. §7.6: the refusals count in a fixed window; the last of so many blocks.
    fn note_refusal(&mut self, counter: &Counter, lasts: Span, at: Moment) {
        let (limit, now) = (self.limit(counter).clone(), at.now);
        let history = self.history(counter);
        if let Some(penalty) = limit.penalty
            && history.penalty.is_none_or(|until| now >= until)
        {
            history.penalty = Some(now + penalty.max(lasts));
        }
        if let Some(rule) = limit.block_after {
            history.forget_refusals(rule.within, now);
            history.refused.push(now);
            if history.refused.len() >= rule.refusals as usize {
                history.refused.clear();
                history.blocked = Some(now + rule.lasts);
            }
        }
    }

    fn answer(&mut self, counter: &Counter, at: Moment) -> Answer {
        let limit = self.limit(counter).clone();
        self.history(counter).answer(&limit, counter.enforced, at)
    }
}

impl History {
    fn answer(&mut self, limit: &Limit, number: u32, at: Moment) -> Answer {
        if let Some(until) = self.penalty.filter(|until| at.now < *until) {
            let left = until.since(at.now);
            return Answer {
                used: number,
                next: left,
                none: left,
                refused: Some(left),
            };
        }
        if limit.kind == Kind::Burst {
            self.pour(limit.window, number, at.now);
        }
        let mut answer = self.counted(limit, number, at);
        // Nothing is admitted, so there is no time to tell.
        if number == 0 {
            answer.refused = Some(limit.window);
        }
        answer
    }

    fn counted(&self, limit: &Limit, number: u32, at: Moment) -> Answer {
        let since = self.penalty.unwrap_or(Timestamp::ZERO);
        let counting: Vec<Came> = self.admitted.iter().filter(|of| of.now >= since).copied().collect();
        match limit.kind {
            Kind::Fixed => fixed(&counting, limit, number, at),
            Kind::Aligned => {
                // Where the clock was set, another window has begun with the first look.
                let since = self
                    .looked
                    .iter()
                    .rev()
                    .take_while(|(of, when, _)| *of == window(limit, at) && *when >= since);
                aligned(since.map(|(.., admitted)| admitted).sum(), limit, number, at)
            }
            Kind::Sliding => sliding(&counting, limit, number, at),
            Kind::Burst => burst(&counting, limit, number, at),
        }
    }

    /// What a reload has carried over drains from when that was, within the window if it is more than the bucket holds.
    fn pour(&mut self, window: Span, number: u32, now: Timestamp) {
        if self.admitted.iter().any(|came| came.by.is_none()) {
            self.admitted.retain(|came| now < came.now + window);
            let by = number.max(self.admitted.len() as u32);
            self.admitted.iter_mut().for_each(|came| came.by = Some(by));
        }
    }

    fn forget_refusals(&mut self, within: Span, now: Timestamp) {
        if self.refused.first().is_some_and(|first| now >= *first + within) {
            self.refused.clear();
        }
    }

    /// What counts does so as if it had come now; penalties and blocks go on, but no longer than new ones.
    fn carry(&mut self, from: &Limit, to: &Limit, at: Moment) {
        let cut = |until: &mut Option<Timestamp>, longest: Span| {
            *until = until.map(|until| {
                if at.now < until {
                    until.min(at.now + longest)
                } else {
                    until
                }
            });
        };
        match (from.block_after, to.block_after) {
            (Some(old), Some(new)) if old != new => {
                cut(&mut self.blocked, new.lasts);
                if old.within != new.within {
                    self.forget_refusals(old.within, at.now);
                    self.refused.fill(at.now);
                }
            }
            (Some(_), Some(_)) => {}
            _ => (self.blocked, self.refused) = (None, Vec::new()),
        }
        let alike = (from.kind, from.window) == (to.kind, to.window);
        if alike && from.penalty == to.penalty {
            return;
        }
        self.looked.push((window(from, at), at.now, 0));
        let in_penalty = self.penalty.is_some_and(|until| at.now < until);
        cut(&mut self.penalty, to.penalty.unwrap_or(Span::ZERO).max(to.window));
        if alike || in_penalty {
            return;
        }
        let is_poured = self.admitted.iter().all(|came| came.by.is_some());
        let used = if from.kind == Kind::Burst && !is_poured {
            let counts = |came: &&Came| at.now < came.now + from.window;
            self.admitted.iter().filter(counts).count()
        } else {
            let number = self.admitted.last().and_then(|came| came.by).unwrap_or(1);
            self.counted(from, number, at).used as usize
        };
        let came = Came { now: at.now, by: None };
        self.admitted = vec![came; used];
        self.looked = vec![(window(to, at), at.now, used)];
    }
}

fn left_of(counter: &Counter, answer: &Answer) -> Left {
    Left {
        limit: counter.limit,
        number: counter.number,
        remaining: counter.number.saturating_sub(answer.used),
        until: answer.refused.unwrap_or(answer.next),
    }
}

/// §7.1: windows follow each other, and each begins with the request that finds none.
fn fixed(admitted: &[Came], limit: &Limit, number: u32, at: Moment) -> Answer {
    let mut windows: Vec<Vec<Timestamp>> = Vec::new();
    for request in admitted {
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
fn sliding(admitted: &[Came], limit: &Limit, number: u32, at: Moment) -> Answer {
    let width = limit.window.as_nanos().div_ceil(BUCKETS);
    let leaves = |request: &Came| Timestamp::from_nanos((request.now.as_nanos() / width + 1) * width) + limit.window;
    let leaving: Vec<Timestamp> = admitted.iter().map(leaves).filter(|leaves| at.now < *leaves).collect();
    // With so many gone one more fits.
    let excess = (leaving.len() + 1).saturating_sub(number as usize);
    Answer {
        used: leaving.len() as u32,
        next: leaving.first().map_or(Span::ZERO, |leaves| leaves.since(at.now)),
        none: leaving.last().map_or(Span::ZERO, |leaves| leaves.since(at.now)),
        refused: (excess > 0 && number > 0).then(|| leaving[excess - 1].since(at.now)),
    }
}

/// §7.1: a bucket of `number` drops out of which one drips after each window ÷ number. It is full when one more would spill. §7.26:
/// with another number as many drops are in it as before, and they drip as before until the next one comes.
fn burst(admitted: &[Came], limit: &Limit, number: u32, at: Moment) -> Answer {
    let drip_by = |by: u32| limit.window.as_nanos().div_ceil(by.max(1).into());
    let first = admitted
        .first()
        .map_or(number, |came| came.by.expect("they are poured"));
    // Drops in the bucket, in the time that they take to drip out, and when that was so.
    let (mut level, mut looked, mut drip) = (0_u64, 0_u64, drip_by(first));
    for request in admitted {
        level = level.saturating_sub(request.now.as_nanos() - looked);
        let before = std::mem::replace(&mut drip, drip_by(request.by.expect("they are poured")));
        let drops = u128::from(level) * u128::from(drip);
        level = u64::try_from(drops.div_ceil(u128::from(before))).unwrap() + drip;
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
