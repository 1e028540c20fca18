//! A semaphore whose number of permits can be changed while some are taken.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A semaphore. When it shrinks, taken permits stay valid and are not issued again.
#[derive(Debug)]
pub struct ResizableSemaphore {
    free: Arc<Semaphore>,
    size: Mutex<SemaphoreSize>,
}

#[derive(Debug)]
struct SemaphoreSize {
    max: usize,
    /// Surplus permits that are taken or on their way to a waiter; they vanish when they are released or arrive.
    surplus: usize,
}

/// A permit; released on drop.
#[derive(Debug)]
#[must_use = "dropping it releases the permit"]
pub struct SemaphorePermit {
    semaphore: Arc<ResizableSemaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl ResizableSemaphore {
    /// A semaphore with `max` free permits.
    pub fn new(max: usize) -> Arc<Self> {
        let max = max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(max)),
            size: Mutex::new(SemaphoreSize { max, surplus: 0 }),
        })
    }

    /// Waits for a free permit.
    pub async fn take(self: &Arc<Self>) -> SemaphorePermit {
        loop {
            let permit = Arc::clone(&self.free).acquire_owned().await;
            if let Some(permit) = self.issue(permit.expect("the semaphore is never closed")) {
                return permit;
            }
        }
    }

    /// Takes a permit if one is free.
    pub fn try_take(self: &Arc<Self>) -> Option<SemaphorePermit> {
        // At most one round per surplus permit.
        loop {
            let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
            if let Some(permit) = self.issue(permit) {
                return Some(permit);
            }
        }
    }

    /// Issues the permit, unless the semaphore has shrunk: then it is the first surplus one to vanish.
    fn issue(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Option<SemaphorePermit> {
        let mut size = self.size.lock();
        if size.surplus > 0 {
            size.surplus -= 1;
            permit.forget();
            return None;
        }
        Some(SemaphorePermit {
            semaphore: Arc::clone(self),
            permit: Some(permit),
        })
    }

    /// Changes the number of permits.
    pub fn resize(&self, max: usize) {
        let max = max.min(Semaphore::MAX_PERMITS);
        let mut size = self.size.lock();
        if max >= size.max {
            let more = max - size.max;
            let kept = more.min(size.surplus);
            size.surplus -= kept;
            self.free.add_permits(more - kept);
        } else {
            let fewer = size.max - max;
            size.surplus += fewer - self.free.forget_permits(fewer);
        }
        size.max = max;
    }
}

impl Drop for SemaphorePermit {
    fn drop(&mut self) {
        // Release under the lock, so that `resize` never counts it as taken.
        let mut size = self.semaphore.size.lock();
        let Some(permit) = self.permit.take() else { return };
        if size.surplus > 0 {
            size.surplus -= 1;
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;

    /// Regression: when the semaphore shrank while a permit was on its way to a waiter and the waiter was dropped, the permit
    /// became free again, and one more was taken than allowed.
    #[test]
    fn dropping_a_waiter_returns_its_permit() {
        let semaphore = ResizableSemaphore::new(2);
        let (one, other) = (semaphore.try_take(), semaphore.try_take());
        {
            let mut waits = pin!(semaphore.take());
            assert!(
                waits
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            drop(other);
            semaphore.resize(1);
        }
        assert!(semaphore.try_take().is_none(), "the only permit is taken");
        drop(one);
        let taken = semaphore.try_take();
        assert!(taken.is_some() && semaphore.try_take().is_none());
    }

    /// The same, but the waiter stays: it continues to wait.
    #[test]
    fn a_waiter_gets_no_permit_that_was_removed() {
        let semaphore = ResizableSemaphore::new(2);
        let (one, other) = (semaphore.try_take(), semaphore.try_take());
        let mut waits = pin!(semaphore.take());
        let mut poll = || waits.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        drop(other);
        semaphore.resize(1);
        assert!(poll().is_pending());
        drop(one);
        let Poll::Ready(taken) = poll() else {
            panic!("a permit is free")
        };
        assert!(semaphore.try_take().is_none());
        drop(taken);
        assert!(semaphore.try_take().is_some());
    }

    #[derive(Clone, Copy, Debug)]
    enum SemaphoreStep {
        Take,
        GiveBack(usize),
        Resize(usize),
    }

    fn step() -> impl Strategy<Value = SemaphoreStep> {
        prop_oneof![
            4 => Just(SemaphoreStep::Take),
            3 => (0..8usize).prop_map(SemaphoreStep::GiveBack),
            1 => (0..6usize).prop_map(SemaphoreStep::Resize),
        ]
    }

    proptest! {
        /// A permit is granted if and only if fewer are taken than there are now.
        #[test]
        fn permits_are_granted_up_to_the_current_maximum(
            initial in 0..6usize,
            steps in prop::collection::vec(step(), 0..64),
        ) {
            let (semaphore, mut max, mut taken) = (ResizableSemaphore::new(initial), initial, Vec::new());
            for step in steps {
                match step {
                    SemaphoreStep::Take => {
                        let permit = semaphore.try_take();
                        prop_assert_eq!(permit.is_some(), taken.len() < max);
                        taken.extend(permit);
                    }
                    SemaphoreStep::GiveBack(at) if at < taken.len() => drop(taken.swap_remove(at)),
                    SemaphoreStep::GiveBack(_) => {}
                    SemaphoreStep::Resize(to) => {
                        semaphore.resize(to);
                        max = to;
                    }
                }
            }
        }
    }
}
