//! The order of service, and the estimate of a wait.

use tiergate_policy::State;
use tiergate_policy::caller::Caller;
use tiergate_policy::rules::{Priority, TierId, UpstreamId, Within};
use tiergate_policy::time::{Span, Timestamp, UnixTime};

use super::{Job, Model, Number, count};

/// One job of the order of service, with its caller's turn and the round in which it is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served {
    pub(super) number: Number,
    pub(super) round: u32,
    pub(super) turn: u64,
}

impl Model {
    pub(super) fn first_in_service(&self, pool: UpstreamId) -> Number {
        let highest = self.in_line(pool).map(|job| job.priority).max().unwrap();
        self.service(pool, highest)[0].number
    }

    /// The pool's waiting jobs of that priority, in the order in which they would be served.
    pub(super) fn service(&self, pool: UpstreamId, priority: Priority) -> Vec<Served> {
        let line: Vec<Job> = self
            .in_line(pool)
            .filter(|job| job.priority == priority)
            .cloned()
            .collect();
        serve_all(
            line,
            &self.pool(pool).rings[priority.index()],
            self.rules.queue.within_tier,
        )
    }

    /// §3.2: of the queued jobs of that priority, the one that would be served last. With several pools there is no one line:
    /// then, in `fifo`, the newest of the last ones; in `fair` that of the latest round, then of the latest turn.
    pub(super) fn served_last(&self, priority: Priority) -> Number {
        let last_of_each = self
            .pools()
            .filter_map(|pool| self.service(pool, priority).last().copied());
        last_of_each.max_by_key(|last| (last.round, last.turn)).unwrap().number
    }

    /// How many jobs would be served before a new one of that caller.
    pub(super) fn ahead_of(&self, pool: UpstreamId, priority: Priority, caller: Caller) -> u32 {
        let higher = self.moving(pool) + count(self.in_line(pool).filter(|job| job.priority > priority));
        let mut line: Vec<Job> = self
            .in_line(pool)
            .filter(|job| job.priority == priority)
            .cloned()
            .collect();
        let mut ring = self.pool(pool).rings[priority.index()].clone();
        line.push(Job {
            number: Number::MAX,
            caller,
            tier: TierId(0),
            priority,
            pool,
            entered: Timestamp::ZERO,
            admitted: UnixTime::default(),
            cost: 0,
            state: State::Waiting,
            placed: u64::MAX,
        });
        join(&mut ring, caller, u64::MAX);
        let served = serve_all(line, &ring, self.rules.queue.within_tier);
        let before = served.iter().position(|served| served.number == Number::MAX).unwrap();
        higher + u32::try_from(before).unwrap()
    }

    /// For a new job of that priority, behind all that move and all queued ones of its own and higher priorities.
    pub fn estimate(&self, pool: UpstreamId, priority: Priority) -> Span {
        let ahead = self.moving(pool) + count(self.in_line(pool).filter(|job| job.priority >= priority));
        self.estimate_behind(pool, priority, ahead)
    }

    pub(super) fn estimate_behind(&self, pool: UpstreamId, priority: Priority, ahead: u32) -> Span {
        let up = self.slots(pool);
        let pool = self.pool(pool);
        // With no server up, as if all were.
        let all_slots: u32 = pool.servers.iter().map(|server| server.slots).sum();
        let slots = u128::from(if up == 0 { all_slots } else { up }.max(1));
        let latest = &pool.granted[pool.granted.len().saturating_sub(64)..];
        let all = latest.len() as u128;
        let higher = latest.iter().filter(|other| **other > priority).count() as u128;
        // What is left for this priority and those below: the stretch is all ÷ left, at most eightfold.
        let left = (all - higher).max(all.div_ceil(8)).max(1);
        let nanos = u128::from(mean(&pool.slot_times)) * u128::from(ahead + 1) * all.max(1) / (slots * left);
        Span::from_nanos(nanos.try_into().unwrap_or(u64::MAX))
    }
}

/// The order in which a whole line is served.
fn serve_all(mut line: Vec<Job>, ring: &[(Caller, u64)], within: Within) -> Vec<Served> {
    line.sort_by_key(|job| job.placed);
    let mut order = Vec::new();
    match within {
        Within::Fifo => {
            for job in line {
                order.push(Served {
                    number: job.number,
                    round: 0,
                    turn: job.placed,
                });
            }
        }
        Within::Fair => {
            let mut ring: Vec<(Caller, u64, u32)> = ring.iter().map(|(caller, turn)| (*caller, *turn, 0)).collect();
            while !ring.is_empty() {
                let (caller, turn, round) = ring.remove(0);
                let Some(at) = line.iter().position(|job| job.caller == caller) else {
                    continue;
                };
                let job = line.remove(at);
                order.push(Served {
                    number: job.number,
                    round,
                    turn,
                });
                ring.push((caller, turn, round + 1));
            }
            assert!(line.is_empty(), "every job in line has a turn");
        }
    }
    order
}

pub(super) fn join(ring: &mut Vec<(Caller, u64)>, caller: Caller, turn: u64) {
    if ring.iter().all(|(other, _)| *other != caller) {
        ring.push((caller, turn));
    }
}

/// The mean of the first 32 slot times; from then on each new one moves it by 1/32 of the difference. 1 s before any.
fn mean(slot_times: &[Span]) -> u64 {
    if slot_times.is_empty() {
        return Span::from_secs(1).as_nanos();
    }
    let mut mean = 0_i128;
    for (seen, time) in slot_times.iter().enumerate() {
        let weight = (seen as i128 + 1).min(32);
        mean += (i128::from(time.as_nanos()) - mean) / weight;
    }
    mean.try_into().unwrap()
}
