//! One shard: the counters of every limit for the subjects that fall into it, and the refusals that lead to blocks.

use std::sync::Arc;

use super::cardinality::CardinalityBudget;
use super::counter_state::{CounterState, Reading, counts_alike};
use super::table::{CounterTable, Place};
use super::{Counter, Moment, SHARDS, Subject};
use crate::rules::{BlockAfter, Kind, Limit, LimitId, Rules};
use crate::time::Span;

/// Places of each table that one sweep looks at: a table of a million callers is swept within about a minute.
const SWEPT: usize = 1_024;

/// A shard of all counters.
#[derive(Debug)]
pub struct Shard {
    /// By limit.
    of: Vec<LimitCounters>,
}

/// The counters of one limit.
#[derive(Debug)]
pub(super) struct LimitCounters {
    requests: CounterTable,
    /// For limits with a block rule.
    refusals: Option<Refusals>,
}

/// How many callers one limit may count over all shards.
#[derive(Debug)]
pub(super) struct CardinalityBudgets {
    requests: Arc<CardinalityBudget>,
    refusals: Arc<CardinalityBudget>,
}

impl CardinalityBudgets {
    pub(super) fn new(rules: &Rules) -> Self {
        let budget = || Arc::new(CardinalityBudget::new(rules.callers_max as usize));
        Self {
            requests: budget(),
            refusals: budget(),
        }
    }
}

impl LimitCounters {
    pub(super) fn new((limit, budgets): (&Limit, &CardinalityBudgets)) -> Self {
        Self {
            requests: CounterTable::new(Arc::clone(&budgets.requests)),
            refusals: limit
                .block_after
                .map(|rule| Refusals::new(limit, rule, &budgets.refusals)),
        }
    }

    /// Carries over what was counted under `from`; `budgets` are the budgets for new tables.
    pub(super) fn carry(
        &mut self,
        from: &Limit,
        to: &Limit,
        budgets: &CardinalityBudgets,
        callers_max: usize,
        at: Moment,
    ) {
        self.requests.set_max(callers_max);
        if !counts_alike(from, to) || from.penalty != to.penalty {
            // A refusal under the new limit never lasts longer than this.
            let longest = to.penalty.unwrap_or_default().max(to.window);
            self.requests
                .states()
                .for_each(|state| state.carry(from, to, longest, at));
        }
        let before = self.refusals.take();
        self.refusals = to.block_after.map(|rule| {
            let new = Refusals::new(to, rule, &budgets.refusals);
            let Some(before) = before else { return new };
            let mut table = before.table;
            table.set_max(callers_max);
            if from.block_after != to.block_after {
                let carry = |state: &mut CounterState| state.carry(&before.limit, &new.limit, rule.lasts, at);
                table.states().for_each(carry);
            }
            Refusals { table, ..new }
        });
    }
}

impl Refusals {
    fn new(limit: &Limit, rule: BlockAfter, budget: &Arc<CardinalityBudget>) -> Self {
        Self {
            limit: Limit {
                number: rule.refusals,
                window: rule.within,
                kind: Kind::Fixed,
                ..limit.clone()
            },
            lasts: rule.lasts,
            table: CounterTable::new(Arc::clone(budget)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Refusals {
    /// Refusals count in a fixed window.
    limit: Limit,
    lasts: Span,
    table: CounterTable,
}

impl Refusals {
    /// Remaining time of the subject's block; `None` if it isn't blocked.
    fn block_for(&mut self, subject: &Subject, at: Moment) -> Option<Span> {
        let state = self.table.own(subject)?;
        let is_over = state.forget(&self.limit, at);
        match state {
            CounterState::Penalty { until } if !is_over => Some(until.since(at.now)),
            _ => None,
        }
    }
}

/// The result of checking a counter.
#[derive(Debug)]
pub(super) struct CounterCheck {
    pub(super) reading: Reading,
    pub(super) place: Place,
}

impl Shard {
    /// All shards, empty, for the limits of these rules.
    pub fn all(rules: &Rules) -> Vec<Self> {
        let budgets: Vec<_> = rules.limits.iter().map(|_| CardinalityBudgets::new(rules)).collect();
        let new = |_| Self {
            of: rules.limits.iter().zip(&budgets).map(LimitCounters::new).collect(),
        };
        (0..SHARDS).map(new).collect()
    }

    /// Replaces the limits; `change` builds the new ones from the old.
    pub(super) fn reload(&mut self, mut change: impl FnMut(&mut Vec<Option<LimitCounters>>) -> Vec<LimitCounters>) {
        let mut old = self.of.drain(..).map(Some).collect();
        self.of = change(&mut old);
    }

    /// Remaining time of the block on the counter's subject by its limit's rule; `None` if it isn't blocked.
    pub(super) fn blocked_for(&mut self, counter: &Counter, rules: &[Limit], at: Moment) -> Option<Span> {
        debug_assert_eq!(
            self.of.len(),
            rules.len(),
            "a shard has one entry per limit of its rules"
        );
        let refusals = &mut self.of[counter.limit.index()].refusals;
        refusals.as_mut()?.block_for(&counter.subject, at)
    }

    /// What the counter says about one more request.
    pub(super) fn check(&mut self, counter: &Counter, rules: &[Limit], at: Moment) -> CounterCheck {
        let limit = &rules[counter.limit.index()];
        let table = &mut self.of[counter.limit.index()].requests;
        let place = table.find(&counter.subject, limit, at);
        let read = |state: &mut CounterState| state.read(limit, counter.enforced, at);
        CounterCheck {
            reading: match table.state(place) {
                Some(state) => read(state),
                None => read(&mut CounterState::Empty),
            },
            place,
        }
    }

    /// Counts a request that [`Self::check`] has let pass, and returns the new reading.
    pub(super) fn charge(&mut self, counter: &Counter, place: Place, rules: &[Limit], at: Moment) -> Reading {
        let limit = &rules[counter.limit.index()];
        let table = &mut self.of[counter.limit.index()].requests;
        if let Place::Prefix(_) = place {
            table.note_aggregated();
        }
        let state = table.take(&counter.subject, place);
        state.charge(limit, counter.enforced, at)
    }

    /// The counter is exhausted for `lasts`: begins its penalty if one is configured and none is running, and counts the
    /// refusal. Returns how long the request is refused, and whether the subject is blocked from now on.
    pub(super) fn refuse(&mut self, counter: &Counter, lasts: Span, rules: &[Limit], at: Moment) -> (Span, bool) {
        let lasts = self.penalize(counter, lasts, rules, at);
        (lasts, self.note_refusal(counter, rules, at))
    }

    /// The penalty lasts at least until the counter would be empty.
    fn penalize(&mut self, counter: &Counter, lasts: Span, rules: &[Limit], at: Moment) -> Span {
        let limit = &rules[counter.limit.index()];
        let Some(penalty) = limit.penalty else {
            return lasts;
        };
        let table = &mut self.of[counter.limit.index()].requests;
        let place = table.find(&counter.subject, limit, at);
        let state = table.take(&counter.subject, place);
        if matches!(state, CounterState::Penalty { .. }) {
            return lasts;
        }
        // A penalty leaves the counter empty. If something still counted then, it would lift the limit.
        let penalty = penalty.max(lasts).max(state.until_empty(limit, at));
        *state = CounterState::Penalty {
            until: at.now + penalty,
        };
        penalty
    }

    /// Counts a refusal by the counter's limit, and returns whether that blocks its subject. Counts nothing while the counter
    /// may contain requests of others with the subject's prefix: they must not get it blocked.
    fn note_refusal(&mut self, counter: &Counter, rules: &[Limit], at: Moment) -> bool {
        let LimitCounters { requests, refusals } = &mut self.of[counter.limit.index()];
        let Some(Refusals { limit, lasts, table }) = refusals else {
            return false;
        };
        if requests.is_shared(&counter.subject, &rules[counter.limit.index()], at) {
            return false;
        }
        let Some(state) = table.own_or_new(&counter.subject, limit, at) else {
            return false;
        };
        if state.read(limit, limit.number, at).used + 1 < limit.number {
            state.charge(limit, limit.number, at);
            return false;
        }
        *state = CounterState::Penalty { until: at.now + *lasts };
        true
    }

    /// Lifts the block on the subject, drops its counted refusals and ends its penalty, which would refuse and block it again
    /// at once. Returns whether it was blocked. Other counts stay.
    pub fn forgive(&mut self, limit: LimitId, subject: &Subject, at: Moment) -> bool {
        let LimitCounters { requests, refusals } = &mut self.of[limit.index()];
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

    /// Drops expired counters from a few places of every table. Call it about every second.
    pub fn sweep(&mut self, rules: &[Limit], at: Moment) {
        for (counted, limit) in self.of.iter_mut().zip(rules) {
            counted.requests.sweep(SWEPT, limit, at);
            if let Some(refusals) = &mut counted.refusals {
                refusals.table.sweep(SWEPT, &refusals.limit, at);
            }
        }
    }

    /// For that limit: the number of individually counted callers, and of requests ever counted by prefix.
    pub fn counted(&self, limit: LimitId) -> (usize, u64) {
        self.of[limit.index()].requests.counted()
    }
}
