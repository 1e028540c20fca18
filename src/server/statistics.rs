//! Records refusals each minute.

use std::sync::Arc;

use crate::gate::Gate;
use crate::policy::time::{Span, UnixTime};
use crate::store::Ledger;
use crate::store::statistics::RefusalCounts;

/// Interval of the records.
const MINUTE: Span = Span::from_secs(60);

/// Records each minute who was refused.
pub(super) async fn note_each_minute(refusals: Arc<RefusalCounts>, gate: Arc<Gate>, ledger: Arc<dyn Ledger>) {
    let clock = *gate.clock();
    loop {
        let begun = minute_of(clock.wall());
        clock.sleep((begun + MINUTE).since(clock.wall())).await;
        note_refusals(&refusals, begun, &gate, &*ledger);
    }
}

pub(super) fn minute_of(at: UnixTime) -> UnixTime {
    UnixTime::from_secs(at.as_secs() / 60 * 60)
}

/// Records refusals as of `minute`.
pub(super) fn note_refusals(refusals: &RefusalCounts, minute: UnixTime, gate: &Gate, ledger: &dyn Ledger) {
    for entry in refusals.flush(minute, |caller| gate.has_debit(caller)) {
        ledger.note(entry);
    }
}
