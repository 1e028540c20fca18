//! The locks of the gate state, the request limits and commits. The loom tests replace them with loom's, to explore every
//! interleaving.

#[cfg(not(tiergate_loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

/// loom's lock with parking_lot's interface. No lock here is held across a panic that is survived.
#[cfg(tiergate_loom)]
#[derive(Debug)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

#[cfg(tiergate_loom)]
pub(crate) use loom::sync::MutexGuard;

#[cfg(tiergate_loom)]
impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("a panic under the lock ends the loom model")
    }
}
