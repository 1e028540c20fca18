//! What is done for the statistics beside answering: refusals are written down, and files put in order.
//!
//! Absent on purpose: what is counted and how (`store::statistics`).

use std::sync::Arc;

use tracing::warn;

use super::attempt;
use crate::gate::Gate;
use crate::policy::time::{Span, UnixTime};
use crate::store::Ledger;
use crate::store::statistics::{Refusals, Statistics};

/// How often refusals are written down.
const MINUTE: Span = Span::from_secs(60);
/// How often, in minutes, statistics are put in order.
const MINUTES_AN_HOUR: usize = 60;

/// Writes down each minute who was refused, and each hour puts the statistics in order.
pub(super) async fn keep_statistics(
    statistics: Arc<Statistics>,
    refusals: Arc<Refusals>,
    gate: Arc<Gate>,
    ledger: Arc<dyn Ledger>,
) {
    let clock = *gate.clock();
    loop {
        let (statistics, now) = (Arc::clone(&statistics), clock.wall());
        let tidied = attempt(move || statistics.tidy(now)).await;
        let failed = match tidied {
            Ok(tidied) => tidied.err().map(|error| error.to_string()),
            Err(fault) => Some(fault.to_string()),
        };
        if let Some(error) = failed {
            warn!(%error, "the statistics can't be put in order; it is tried again in an hour");
        }
        for _ in 0..MINUTES_AN_HOUR {
            let begun = minute_of(clock.wall());
            clock.sleep((begun + MINUTE).since(clock.wall())).await;
            note_refusals(&refusals, begun, &gate, &*ledger);
        }
    }
}

pub(super) fn minute_of(at: UnixTime) -> UnixTime {
    UnixTime::from_secs(at.as_secs() / 60 * 60)
}

/// As of that minute.
pub(super) fn note_refusals(refusals: &Refusals, minute: UnixTime, gate: &Gate, ledger: &dyn Ledger) {
    for entry in refusals.flush(minute, |caller| gate.has_debit(caller)) {
        ledger.note(entry);
    }
}
