//! Upkeep: a thread rolls up jobs and writes the last uses of keys each minute, removes old rows, and makes clock corrections permanent. It works in small steps
//! on the writer's thread, so checkpoints go on in between.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Shared, WriteError};
use crate::policy::rules::Window;
use crate::policy::time::{Span, Timestamp, UnixTime};
use crate::store::corrections::{self, Correction};
use crate::store::retention::{self, Agreement, Boundary, History, Plan};
use crate::store::{key_uses, rollup};

/// How often the threads wake up.
const TICK: Duration = Duration::from_millis(250);
/// How often old rows are removed.
const RETAIN_EVERY: Span = Span::from_secs(600);

/// What is kept, and whether the threads continue.
#[derive(Debug)]
pub struct Upkeep {
    state: Mutex<UpkeepState>,
    woken: Condvar,
}

#[derive(Debug)]
struct UpkeepState {
    plan: Arc<Plan>,
    /// Rows dated after the start, which count as of the start until the clock is known to be right.
    pending: Option<Correction>,
    closing: bool,
}

impl Upkeep {
    pub(super) fn new<'w>(windows: impl IntoIterator<Item = &'w Window>, history: History) -> Self {
        let state = UpkeepState {
            plan: Arc::new(Plan::new(windows, history)),
            pending: None,
            closing: false,
        };
        Self {
            state: Mutex::new(state),
            woken: Condvar::new(),
        }
    }

    /// Replaces the windows and the history.
    pub fn set<'w>(&self, windows: impl IntoIterator<Item = &'w Window>, history: History) {
        self.state.lock().plan = Arc::new(Plan::new(windows, history));
    }

    pub(in crate::store) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.state.lock().plan)
    }

    pub(in crate::store) fn set_pending(&self, pending: Option<Correction>) {
        self.state.lock().pending = pending;
    }

    pub(in crate::store) fn pending(&self) -> Option<Correction> {
        self.state.lock().pending
    }

    fn is_closing(&self) -> bool {
        self.state.lock().closing
    }

    pub(super) fn close(&self) {
        self.state.lock().closing = true;
        self.woken.notify_all();
    }

    /// Sleeps for one tick. Whether to continue.
    pub(super) fn wait(&self) -> bool {
        let mut state = self.state.lock();
        self.woken.wait_while_for(&mut state, |state| !state.closing, TICK);
        !state.closing
    }
}

/// Jobs are rolled up when this changes.
const fn minute_of(wall: UnixTime) -> u64 {
    wall.as_secs() / 60
}

pub(super) struct UpkeepThread {
    shared: Arc<Shared>,
    agreement: Agreement,
    boundary: Boundary,
    /// The minute of the last roll-up.
    rolled_up: u64,
    retained: Timestamp,
}

impl UpkeepThread {
    pub(super) fn new(shared: Arc<Shared>, boundary: Boundary) -> Self {
        let now = shared.settings.clock.now();
        let wall = (shared.settings.wall)();
        Self {
            shared,
            agreement: Agreement::new(wall, now),
            boundary,
            rolled_up: minute_of(wall),
            retained: now,
        }
    }

    /// Runs until the database is closed.
    pub fn run(mut self) {
        while self.shared.upkeep.wait() {
            let (now, wall) = (self.shared.settings.clock.now(), (self.shared.settings.wall)());
            self.agreement.look(wall, now);
            if minute_of(wall) != self.rolled_up {
                self.rolled_up = minute_of(wall);
                self.told("can't roll up jobs", rollup::roll_up_all);
                self.told("can't write the last uses of keys", key_uses::write_all);
            }
            if self.agreement.is_long(now) {
                self.make_lasting();
                if now.since(self.retained) >= RETAIN_EVERY {
                    self.retained = now;
                    self.retain(wall, now);
                }
            }
        }
    }

    /// Runs `work` and logs a failure. The next run tries again.
    fn told(&self, failed: &'static str, work: impl FnOnce(&Shared) -> Result<(), WriteError>) {
        if let Err(error) = work(&self.shared)
            && !self.shared.upkeep.is_closing()
        {
            tracing::warn!(%error, "{failed}; trying again later");
        }
    }

    /// Makes the pending correction permanent: the clock has been right for long.
    fn make_lasting(&self) {
        let Some(pending) = self.shared.upkeep.pending() else {
            return;
        };
        self.told("can't write a clock correction", |shared| {
            corrections::make(shared, pending, "start")?;
            shared.upkeep.set_pending(None);
            Ok(())
        });
    }

    fn retain(&mut self, wall: UnixTime, now: Timestamp) {
        let (shared, boundary) = (&self.shared, &mut self.boundary);
        match shared.readers.read(|connection| boundary.at(connection, wall, now)) {
            Ok(until) => self.told("can't remove old rows", |shared| retention::remove_old(shared, until)),
            Err(error) => tracing::warn!(%error, "can't read the database; trying again later"),
        }
    }
}
