//! What an operator may do at once (rules §11): pause dispatch, stop admission, drain a server, cancel a waiting job.
//!
//! Pausing and stopping end with the process. Drained servers are known by name here, so that a reload that brings one back finds
//! it drained; [`DrainedServers`](crate::store::DrainedServers) keeps them over restarts.

use std::task::Waker;

use super::state::{GateState, ids_of};
use super::{Gate, Woken};
use crate::policy::{Grant, JobId};
use crate::store::ServerName;

impl Gate {
    /// Pauses dispatch. Returns whether it was not paused before.
    pub fn pause(&self) -> bool {
        let mut state = self.state.lock();
        let changes = !state.policy.is_paused();
        state.policy.pause();
        changes
    }

    /// Resumes dispatch: all free slots are granted. Returns whether it was paused.
    pub fn resume(&self) -> bool {
        let mut state = self.state.lock();
        let changes = state.policy.is_paused();
        let grants = state.policy.resume(self.clock.now());
        let woken = granted(&mut state, grants);
        drop(state);
        drop(woken);
        changes
    }

    /// Whether dispatch is paused.
    pub fn is_paused(&self) -> bool {
        self.state.lock().policy.is_paused()
    }

    /// Stops admission: every further metered request is refused. Returns whether it was not stopped before.
    pub fn stop_admission(&self) -> bool {
        let mut state = self.state.lock();
        let changes = !state.policy.is_admission_stopped();
        state.policy.stop_admission();
        changes
    }

    /// Starts admission again. Returns whether it was stopped.
    pub fn start_admission(&self) -> bool {
        let mut state = self.state.lock();
        let changes = state.policy.is_admission_stopped();
        state.policy.start_admission();
        changes
    }

    /// Whether an operator has stopped admission.
    pub fn is_admission_stopped(&self) -> bool {
        self.state.lock().policy.is_admission_stopped()
    }

    /// Drains that server, now and after each reload, until it is taken back. The rules need not have it.
    pub fn drain(&self, server: ServerName) {
        let mut state = self.state.lock();
        let ids = ids_of(state.policy.rules(), &server);
        if let Some((pool, server)) = ids {
            state.policy.drain(pool, server);
        }
        state.drained.insert(server, ids);
    }

    /// Takes a drained server back: if it is up, its slots are granted.
    pub fn undrain(&self, server: &ServerName) {
        let mut state = self.state.lock();
        let known = state.drained.remove(server).flatten();
        let grants = known.map(|(pool, server)| state.policy.undrain(pool, server, self.clock.now()));
        let woken = granted(&mut state, grants.unwrap_or_default());
        drop(state);
        drop(woken);
    }

    /// Cancels a queued job, whose client is refused. Returns whether it was queued.
    pub fn cancel(&self, job: JobId) -> bool {
        let mut state = self.state.lock();
        let out = state.policy.cancel(job);
        let cancelled = out.is_some();
        let woken = Woken(out.and_then(|out| state.tell_displaced(out)).into_iter().collect());
        drop(state);
        drop(woken);
        cancelled
    }
}

/// Stores the grants for their waiters. Drop the result when the lock is released.
fn granted(state: &mut GateState, grants: Vec<Grant>) -> Woken {
    let wakers = grants.into_iter().filter_map(|grant| state.tell_granted(Some(grant)));
    let wakers: Vec<Waker> = wakers.collect();
    Woken(wakers)
}
