//! Wakes many tasks of one event loop from another thread, with one system call.
//!
//! A wake from outside costs a write to the loop's eventfd, which is more than all the rest of a durable debit. So each loop
//! has a bell with a task of its own: wakers are queued at the bell, its task is woken once, and it wakes them from within,
//! which costs next to nothing.
//!
//! The task does nothing else, so no waiter depends on another one being polled. When it is dropped with its loop, it wakes
//! the remaining ones. Outside of any loop, tasks are woken directly. The order of wakes is not defined.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};

thread_local! {
    /// The bell of the loop that last ran on this thread.
    static NEAREST: RefCell<Option<(Id, Arc<Bell>)>> = const { RefCell::new(None) };
}

/// The bell of one event loop.
#[derive(Debug, Default)]
pub struct Bell {
    /// Never held during a wake.
    rung: Mutex<Rung>,
}

#[derive(Debug, Default)]
struct Rung {
    due: Vec<Waker>,
    /// The bell's task, while it sleeps.
    task: Option<Waker>,
    /// The task was dropped with its loop.
    gone: bool,
}

/// Tasks to wake.
#[derive(Debug, Default)]
pub struct WakeBatch {
    bells: Vec<Arc<Bell>>,
}

impl WakeBatch {
    /// Adds a waker: at the bell, or woken at once without one.
    pub fn push(&mut self, waker: Waker, bell: Option<Arc<Bell>>) {
        let Some(bell) = bell else {
            waker.wake();
            return;
        };
        bell.rung.lock().due.push(waker);
        if !self.bells.iter().any(|there| Arc::ptr_eq(there, &bell)) {
            self.bells.push(bell);
        }
    }

    /// Wakes them.
    pub fn wake(&mut self) {
        for bell in self.bells.drain(..) {
            bell.ring();
        }
    }
}

impl Drop for WakeBatch {
    fn drop(&mut self) {
        self.wake();
    }
}

impl Bell {
    /// The bell of the current event loop; `None` outside of any.
    pub fn nearest() -> Option<Arc<Self>> {
        let handle = Handle::try_current().ok()?;
        NEAREST.with_borrow_mut(|nearest| match nearest {
            Some((of, bell)) if *of == handle.id() => Some(Arc::clone(bell)),
            _ => {
                let bell = Arc::new(Self::default());
                *nearest = Some((handle.id(), Arc::clone(&bell)));
                let mut task = Task {
                    bell: Arc::clone(&bell),
                    due: Vec::new(),
                };
                handle.spawn(poll_fn(move |cx| task.poll(cx)));
                Some(bell)
            }
        })
    }

    fn ring(&self) {
        let mut rung = self.rung.lock();
        if rung.gone {
            let due = std::mem::take(&mut rung.due);
            drop(rung);
            due.into_iter().for_each(Waker::wake);
            return;
        }
        let task = rung.task.take();
        drop(rung);
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// Runs in the loop and wakes the queued tasks.
struct Task {
    bell: Arc<Bell>,
    /// Empty between wakes; keeps its capacity.
    due: Vec<Waker>,
}

impl Task {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut rung = self.bell.rung.lock();
        // Under the same lock as the swap, so that later pushes ring again.
        rung.task = Some(cx.waker().clone());
        std::mem::swap(&mut rung.due, &mut self.due);
        drop(rung);
        self.due.drain(..).for_each(Waker::wake);
        Poll::Pending
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let due = {
            let mut rung = self.bell.rung.lock();
            rung.gone = true;
            rung.task = None;
            std::mem::take(&mut rung.due)
        };
        due.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use crate::store::{Commit, Ticket, Unavailable};

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
    }

    fn settle(tickets: Vec<Ticket>) {
        let mut wakes = WakeBatch::default();
        for ticket in tickets {
            let _stands = ticket.settle_later(Ok(()), &mut wakes);
        }
        wakes.wake();
    }

    #[test]
    fn all_are_woken_including_other_loops_on_the_same_thread() {
        for _ in 0..100 {
            for loops in [[&runtime(), &runtime()]] {
                for runtime in loops.into_iter().chain(loops) {
                    let (commits, tickets): (Vec<_>, Vec<_>) = (0..64).map(|_| Commit::pending()).unzip();
                    runtime.block_on(async {
                        let tasks: Vec<_> = commits.into_iter().map(tokio::spawn).collect();
                        tokio::task::yield_now().await;
                        let writer = thread::spawn(|| settle(tickets));
                        for task in tasks {
                            assert_eq!(task.await.expect("it does not panic"), Ok(()));
                        }
                        writer.join().expect("it does not panic");
                    });
                }
            }
        }
    }

    #[test]
    fn waiters_for_an_ended_loop_are_woken() {
        let (mut commit, ticket) = Commit::pending();
        let polled = runtime().block_on(poll_fn(|cx| {
            Poll::Ready(std::pin::Pin::new(&mut commit).poll(cx).is_pending())
        }));
        assert!(polled);
        settle(vec![ticket]);
        assert_eq!(runtime().block_on(commit), Ok::<(), Unavailable>(()));
    }
}
