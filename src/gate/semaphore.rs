//! A bound on how many of something are under way, which may be changed while they are.
//!
//! Absent on purpose: what is bounded.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many places. When there are to be fewer, those that are taken stay taken, and are not given again.
#[derive(Debug)]
pub struct ResizableSemaphore {
    free: Arc<Semaphore>,
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    max: usize,
    /// Permits that are taken or on their way to somebody, and that vanish when they are given back or arrive.
    owed: usize,
}

/// A place; dropped, it is given back.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct SemaphorePermit {
    cap: Arc<ResizableSemaphore>,
    permit: Option<OwnedSemaphorePermit>,
}

impl ResizableSemaphore {
    /// So many places, all free.
    pub fn new(max: usize) -> Arc<Self> {
        let max = max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(max)),
            size: Mutex::new(Size { max, owed: 0 }),
        })
    }

    /// A place, as soon as one is free.
    pub async fn take(self: &Arc<Self>) -> SemaphorePermit {
        loop {
            let permit = Arc::clone(&self.free).acquire_owned().await;
            if let Some(place) = self.place(permit.expect("the semaphore is never closed")) {
                return place;
            }
        }
    }

    /// A place, if one is free.
    pub fn try_take(self: &Arc<Self>) -> Option<SemaphorePermit> {
        // As many rounds as places are owed.
        loop {
            let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
            if let Some(place) = self.place(permit) {
                return Some(place);
            }
        }
    }

    /// A permit was perhaps on its way to somebody when there were to be fewer places, and no place of those that were taken: then it
    /// is the first to vanish, whoever has it now.
    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Option<SemaphorePermit> {
        let mut size = self.size.lock();
        if size.owed > 0 {
            size.owed -= 1;
            permit.forget();
            return None;
        }
        Some(SemaphorePermit {
            cap: Arc::clone(self),
            permit: Some(permit),
        })
    }

    /// So many places from now on.
    pub fn resize(&self, max: usize) {
        let max = max.min(Semaphore::MAX_PERMITS);
        let mut size = self.size.lock();
        if max >= size.max {
            let more = max - size.max;
            let kept = more.min(size.owed);
            size.owed -= kept;
            self.free.add_permits(more - kept);
        } else {
            let fewer = size.max - max;
            size.owed += fewer - self.free.forget_permits(fewer);
        }
        size.max = max;
    }
}

impl Drop for SemaphorePermit {
    fn drop(&mut self) {
        // Given back under the lock: nobody may think meanwhile that it is still taken.
        let mut size = self.cap.size.lock();
        let Some(permit) = self.permit.take() else { return };
        if size.owed > 0 {
            size.owed -= 1;
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

    /// The bug: a place that was about to be taken when there were to be fewer was free again if whoever waited for it went, and one
    /// more was taken than there were.
    #[test]
    fn dropping_a_waiter_returns_its_permit() {
        let cap = ResizableSemaphore::new(2);
        let (one, other) = (cap.try_take(), cap.try_take());
        {
            let mut waits = pin!(cap.take());
            assert!(
                waits
                    .as_mut()
                    .poll(&mut Context::from_waker(Waker::noop()))
                    .is_pending()
            );
            drop(other);
            cap.resize(1);
        }
        assert!(cap.try_take().is_none(), "one is taken, and there is one");
        drop(one);
        let taken = cap.try_take();
        assert!(taken.is_some() && cap.try_take().is_none());
    }

    /// The same place, if whoever waits for it stays: it waits on.
    #[test]
    fn who_waits_gets_no_place_that_there_is_no_more() {
        let cap = ResizableSemaphore::new(2);
        let (one, other) = (cap.try_take(), cap.try_take());
        let mut waits = pin!(cap.take());
        let mut poll = || waits.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll().is_pending());
        drop(other);
        cap.resize(1);
        assert!(poll().is_pending());
        drop(one);
        let Poll::Ready(taken) = poll() else {
            panic!("there is a place")
        };
        assert!(cap.try_take().is_none());
        drop(taken);
        assert!(cap.try_take().is_some());
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Take,
        GiveBack(usize),
        Resize(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Take),
            3 => (0..8usize).prop_map(Step::GiveBack),
            1 => (0..6usize).prop_map(Step::Resize),
        ]
    }

    proptest! {
        /// Whoever asks gets a place if and only if fewer are taken than there are now.
        #[test]
        fn a_place_is_given_while_fewer_are_taken_than_there_are(
            begun_with in 0..6usize,
            steps in prop::collection::vec(step(), 0..64),
        ) {
            let (cap, mut max, mut taken) = (ResizableSemaphore::new(begun_with), begun_with, Vec::new());
            for step in steps {
                match step {
                    Step::Take => {
                        let place = cap.try_take();
                        prop_assert_eq!(place.is_some(), taken.len() < max);
                        taken.extend(place);
                    }
                    Step::GiveBack(at) if at < taken.len() => drop(taken.swap_remove(at)),
                    Step::GiveBack(_) => {}
                    Step::Resize(to) => {
                        cap.resize(to);
                        max = to;
                    }
                }
            }
        }
    }
}
