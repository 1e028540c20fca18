//! A bound on how many of something are under way, which may be changed while they are.
//!
//! Absent on purpose: what is bounded.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many places. When there are to be fewer, those that are taken stay taken, and are not given again.
#[derive(Debug)]
pub struct Cap {
    free: Arc<Semaphore>,
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    max: usize,
    /// Places that are taken, and that vanish when they are given back.
    owed: usize,
}

/// A place; dropped, it is given back.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Place {
    cap: Arc<Cap>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Cap {
    /// So many places, all free.
    pub fn new(max: usize) -> Arc<Self> {
        let max = max.min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(max)),
            size: Mutex::new(Size { max, owed: 0 }),
        })
    }

    /// A place, as soon as one is free.
    pub async fn take(self: &Arc<Self>) -> Place {
        let permit = Arc::clone(&self.free).acquire_owned().await;
        self.place(permit.expect("the semaphore is never closed"))
    }

    /// A place, if one is free.
    pub fn try_take(self: &Arc<Self>) -> Option<Place> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(self.place(permit))
    }

    fn place(self: &Arc<Self>, permit: OwnedSemaphorePermit) -> Place {
        Place {
            cap: Arc::clone(self),
            permit: Some(permit),
        }
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

impl Drop for Place {
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
    use proptest::prelude::*;

    use super::*;

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
            let (cap, mut max, mut taken) = (Cap::new(begun_with), begun_with, Vec::new());
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
