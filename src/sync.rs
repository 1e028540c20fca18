//! The locks of the hall, of the request limits and of a commit, swapped for loom's in the loom tests so that they try every
//! interleaving.

#[cfg(not(tiergate_loom))]
pub(crate) use parking_lot::{Mutex, MutexGuard};

/// loom's lock with parking_lot's face. No lock of ours is ever held across a panic that is survived.
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
        self.0.lock().expect("a panic under the lock ends the model")
    }
}
