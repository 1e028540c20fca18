//! Work done each second, and after a step of the system clock: windows whose dates shifted are refilled from the database.

use std::sync::Arc;

use tracing::{error, info};

use super::Services;
use crate::gate::{Backfill, Gate, Tick};
use crate::policy::time::{Span, UnixTime};
use crate::policy::{ClockStep, STEP_MIN};
use crate::store::{Database, DebitHistory};

/// Interval at which the wall clock is read and some of the callers are swept.
const TICK_EVERY: Span = Span::from_secs(1);

/// Ticks forever.
pub(super) async fn tick(services: Arc<Services>) {
    let clock = *services.gate.clock();
    loop {
        clock.sleep(TICK_EVERY).await;
        let Tick { step, filling } = services.gate.tick();
        services.limiter.tick();
        let (gate, database) = (Arc::clone(&services.gate), Arc::clone(&services.database));
        match (step, filling) {
            (ClockStep::Followed { to, .. }, Some(filling)) => {
                tokio::task::spawn_blocking(move || fill(&gate, filling, database.corrected_history(to)));
            }
            (ClockStep::Forward(by), _) if by >= STEP_MIN => {
                let to = clock.wall();
                let from = UnixTime::from_millis(to.as_millis().saturating_sub(by.as_millis()));
                // Not awaited: the disk may hang, and the next tick is due.
                tokio::task::spawn_blocking(move || take_back(&gate, &database, from, to));
            }
            _ => {}
        }
    }
}

/// The clock was set forward. It may have been behind at the start, when jobs with dates in the future were found; they count by
/// their dates again. Blocks on the disk.
fn take_back(gate: &Gate, database: &Database, from: UnixTime, to: UnixTime) {
    match database.clock_set_forward(from, to) {
        Ok(true) => {
            if let Some(filling) = gate.recount() {
                fill(gate, filling, database.debit_history());
            }
        }
        Ok(false) => {}
        Err(error) => error!(%error, "can't undo clock corrections"),
    }
}

/// Restores debits from before the windows existed. Blocks on the disk.
pub(super) fn fill(gate: &Gate, filling: Backfill, history: impl DebitHistory) {
    match gate.fill(filling, history) {
        Ok(filled) => info!(debits = filled.debits, whole = filled.whole, "quota usage restored"),
        Err(error) => error!(
            %error,
            "can't restore quota usage: until the next start quotas count less than was used"
        ),
    }
}
