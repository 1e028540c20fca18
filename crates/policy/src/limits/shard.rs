//! A part of all counters: of every limit those whose neighbourhoods fall into it, and the refusals that lead to blocks.
//!
//! Absent on purpose: the order of checking and charging (`limits`).

use std::sync::Arc;

use super::cardinality::CardinalityBudget;
use super::counter_state::{CounterState, Reading, counts_alike};
use super::table::{Place, Table};
use super::{Counter, Moment, SHARDS, Subject};
use crate::rules::{BlockAfter, Kind, Limit, LimitId, Rules};
use crate::time::Span;

/// Places of each table that one sweep looks at: all are looked at within a minute or so, for a million callers.
const SWEPT: usize = 1_024;

/// A part of all counters.
#[derive(Debug)]
pub struct Shard {
    /// By limit.
    of: Vec<Counted>,
}

/// What is counted of one limit.
#[derive(Debug)]
pub(super) struct Counted {
    requests: Table,
    /// Of limits that block after so many.
    refusals: Option<Refusals>,
}

/// How many callers all shards together may count of one limit.
#[derive(Debug)]
pub(super) struct CardinalityBudgets {
    requests: Arc<CardinalityBudget>,
    refusals: Arc<CardinalityBudget>,
}

impl CardinalityBudgets {
    /// Empty.
    pub(super) fn new(rules: &Rules) -> Self {
        let room = || Arc::new(CardinalityBudget::new(rules.callers_max as usize));
        Self {
            requests: room(),
            refusals: room(),
        }
    }
}

impl Counted {
    /// Nothing as yet.
    pub(super) fn new((limit, rooms): (&Limit, &CardinalityBudgets)) -> Self {
        Self {
            requests: Table::new(Arc::clone(&rooms.requests)),
            refusals: limit
                .block_after
                .map(|rule| Refusals::new(limit, rule, &rooms.refusals)),
        }
    }

    /// What was counted under the limit `from` counts under `to` from now on; `rooms` are for what is new.
    pub(super) fn carry(
        &mut self,
        from: &Limit,
        to: &Limit,
        rooms: &CardinalityBudgets,
        callers_max: usize,
        at: Moment,
    ) {
        self.requests.set_max(callers_max);
        if !counts_alike(from, to) || from.penalty != to.penalty {
            // Longer than that nobody is kept out who is refused under it.
            let longest = to.penalty.unwrap_or_default().max(to.window);
            self.requests.cells().for_each(|cell| cell.carry(from, to, longest, at));
        }
        let before = self.refusals.take();
        self.refusals = to.block_after.map(|rule| {
            let new = Refusals::new(to, rule, &rooms.refusals);
            let Some(before) = before else { return new };
            let mut table = before.table;
            table.set_max(callers_max);
            if from.block_after != to.block_after {
                let carry = |cell: &mut CounterState| cell.carry(&before.limit, &new.limit, rule.lasts, at);
                table.cells().for_each(carry);
            }
            Refusals { table, ..new }
        });
    }
}

impl Refusals {
    fn new(limit: &Limit, rule: BlockAfter, room: &Arc<CardinalityBudget>) -> Self {
        Self {
            limit: Limit {
                number: rule.refusals,
                window: rule.within,
                kind: Kind::Fixed,
                ..limit.clone()
            },
            lasts: rule.lasts,
            table: Table::new(Arc::clone(room)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Refusals {
    /// How refusals count: in a fixed window.
    limit: Limit,
    lasts: Span,
    table: Table,
}

impl Refusals {
    /// For how long they have blocked the subject still; `None`: they haven't.
    fn block_for(&mut self, subject: &Subject, at: Moment) -> Option<Span> {
        let cell = self.table.own(subject)?;
        let is_over = cell.forget(&self.limit, at);
        match cell {
            CounterState::Penalty { until } if !is_over => Some(until.since(at.now)),
            _ => None,
        }
    }
}

/// What was found when a counter was checked.
#[derive(Debug)]
pub(super) struct Check {
    pub(super) reading: Reading,
    pub(super) place: Place,
}

impl Shard {
    /// All of them, empty, for these rules' limits.
    pub fn all(rules: &Rules) -> Vec<Self> {
        let rooms: Vec<_> = rules.limits.iter().map(|_| CardinalityBudgets::new(rules)).collect();
        let new = |_| Self {
            of: rules.limits.iter().zip(&rooms).map(Counted::new).collect(),
        };
        (0..SHARDS).map(new).collect()
    }

    /// Other limits from now on, each with what `change` finds of it here.
    pub(super) fn reload(&mut self, mut change: impl FnMut(&mut Vec<Option<Counted>>) -> Vec<Counted>) {
        let mut old = self.of.drain(..).map(Some).collect();
        self.of = change(&mut old);
    }

    /// For how long the rule of the counter's limit has blocked its subject still; `None`: it hasn't.
    pub(super) fn blocked_for(&mut self, counter: &Counter, rules: &[Limit], at: Moment) -> Option<Span> {
        debug_assert_eq!(self.of.len(), rules.len(), "a shard is made for its rules");
        let refusals = &mut self.of[counter.limit.index()].refusals;
        refusals.as_mut()?.block_for(&counter.subject, at)
    }

    /// What the counter says of one more request.
    pub(super) fn check(&mut self, counter: &Counter, rules: &[Limit], at: Moment) -> Check {
        let limit = &rules[counter.limit.index()];
        let table = &mut self.of[counter.limit.index()].requests;
        let place = table.find(&counter.subject, limit, at);
        let read = |cell: &mut CounterState| cell.read(limit, counter.enforced, at);
        Check {
            reading: match table.cell(place) {
                Some(cell) => read(cell),
                None => read(&mut CounterState::Empty),
            },
            place,
        }
    }

    /// Counts the request that was just found to have room, and says what is counted now.
    pub(super) fn charge(&mut self, counter: &Counter, place: Place, rules: &[Limit], at: Moment) -> Reading {
        let limit = &rules[counter.limit.index()];
        let table = &mut self.of[counter.limit.index()].requests;
        if let Place::Neighbourhood(_) = place {
            table.note_crowded();
        }
        let cell = table.take(&counter.subject, place);
        cell.charge(limit, counter.enforced, at)
    }

    /// The counter has no room for `lasts`: its penalty begins, if it has one and isn't under way, and the refusal is counted.
    /// Answers with how long the request is kept out, and whether the counter's subject is blocked from now on.
    pub(super) fn refuse(&mut self, counter: &Counter, lasts: Span, rules: &[Limit], at: Moment) -> (Span, bool) {
        let lasts = self.penalize(counter, lasts, rules, at);
        (lasts, self.note_refusal(counter, rules, at))
    }

    /// The penalty lasts at least until nothing would count any more.
    fn penalize(&mut self, counter: &Counter, lasts: Span, rules: &[Limit], at: Moment) -> Span {
        let limit = &rules[counter.limit.index()];
        let Some(penalty) = limit.penalty else {
            return lasts;
        };
        let table = &mut self.of[counter.limit.index()].requests;
        let place = table.find(&counter.subject, limit, at);
        let cell = table.take(&counter.subject, place);
        if matches!(cell, CounterState::Penalty { .. }) {
            return lasts;
        }
        // It leaves the counter empty. If something still counted then, it would lift the limit.
        let penalty = penalty.max(lasts).max(cell.until_empty(limit, at));
        *cell = CounterState::Penalty {
            until: at.now + penalty,
        };
        penalty
    }

    /// Counts a refusal by the counter's limit. Whether its subject is blocked from now on. As long as something that its
    /// neighbours have sent may be in its counter, nothing is counted: nobody is blocked for its neighbours.
    fn note_refusal(&mut self, counter: &Counter, rules: &[Limit], at: Moment) -> bool {
        let Counted { requests, refusals } = &mut self.of[counter.limit.index()];
        let Some(Refusals { limit, lasts, table }) = refusals else {
            return false;
        };
        if requests.is_shared(&counter.subject, &rules[counter.limit.index()], at) {
            return false;
        }
        let Some(cell) = table.own_or_new(&counter.subject, limit, at) else {
            return false;
        };
        if cell.read(limit, limit.number, at).used + 1 < limit.number {
            cell.charge(limit, limit.number, at);
            return false;
        }
        *cell = CounterState::Penalty { until: at.now + *lasts };
        true
    }

    /// Lifts what rules have blocked of the subject, and what was counted towards it, and ends its penalty, under which it would be
    /// refused and blocked again at once. Whether it was blocked. What its counters hold otherwise stays.
    pub fn forgive(&mut self, limit: LimitId, subject: &Subject, at: Moment) -> bool {
        let Counted { requests, refusals } = &mut self.of[limit.index()];
        let Some(refusals) = refusals else {
            return false;
        };
        let was_blocked = refusals.block_for(subject, at).is_some();
        refusals.table.forget(subject);
        if matches!(requests.own(subject), Some(CounterState::Penalty { .. })) {
            requests.forget(subject);
        }
        was_blocked
    }

    /// Forgets what is over at a few places of every table. To be called every second or so.
    pub fn sweep(&mut self, rules: &[Limit], at: Moment) {
        for (counted, limit) in self.of.iter_mut().zip(rules) {
            counted.requests.sweep(SWEPT, limit, at);
            if let Some(refusals) = &mut counted.refusals {
                refusals.table.sweep(SWEPT, &refusals.limit, at);
            }
        }
    }

    /// Of that limit: who is counted by itself, and how many requests ever were counted by neighbourhood.
    pub fn counted(&self, limit: LimitId) -> (usize, u64) {
        self.of[limit.index()].requests.counted()
    }
}
