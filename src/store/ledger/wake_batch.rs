//! Wakes many tasks of one event loop from another thread, with one system call.
//!
//! A wake from outside costs a write to the loop's eventfd, which is more than all the rest of a durable debit. So each loop
//! has a [`LoopWaker`] with a task of its own: wakers are queued there, its task is woken once, and it wakes them from within,
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
    /// The waker of the loop that last ran on this thread.
    static CURRENT: RefCell<Option<(Id, Arc<LoopWaker>)>> = const { RefCell::new(None) };
}

/// Wakes the tasks of one event loop.
#[derive(Debug, Default)]
pub struct LoopWaker {
    /// Never held during a wake.
    queue: Mutex<WakeQueue>,
}

#[derive(Debug, Default)]
struct WakeQueue {
    due: Vec<Waker>,
    /// The waker of its own task, while that sleeps.
    task: Option<Waker>,
    /// The task was dropped with its loop.
    closed: bool,
}

/// Tasks to wake.
#[derive(Debug, Default)]
pub struct WakeBatch {
    loops: Vec<Arc<LoopWaker>>,
}

impl WakeBatch {
    /// Queues a waker at its event loop; without one, wakes it at once.
    pub fn push(&mut self, waker: Waker, loop_waker: Option<Arc<LoopWaker>>) {
        let Some(loop_waker) = loop_waker else {
            waker.wake();
            return;
        };
        loop_waker.queue.lock().due.push(waker);
        if !self.loops.iter().any(|queued| Arc::ptr_eq(queued, &loop_waker)) {
            self.loops.push(loop_waker);
        }
    }

    /// Wakes them.
    pub fn wake(&mut self) {
        for loop_waker in self.loops.drain(..) {
            loop_waker.wake();
        }
    }
}

impl Drop for WakeBatch {
    fn drop(&mut self) {
        self.wake();
    }
}

impl LoopWaker {
    /// The current event loop's; `None` outside of any.
    pub fn current() -> Option<Arc<Self>> {
        let handle = Handle::try_current().ok()?;
        CURRENT.with_borrow_mut(|current| match current {
            Some((of, loop_waker)) if *of == handle.id() => Some(Arc::clone(loop_waker)),
            _ => {
                let loop_waker = Arc::new(Self::default());
                *current = Some((handle.id(), Arc::clone(&loop_waker)));
                let mut task = Task {
                    loop_waker: Arc::clone(&loop_waker),
                    due: Vec::new(),
                };
                handle.spawn(poll_fn(move |cx| task.poll(cx)));
                Some(loop_waker)
            }
        })
    }

    fn wake(&self) {
        let mut queue = self.queue.lock();
        if queue.closed {
            let due = std::mem::take(&mut queue.due);
            drop(queue);
            due.into_iter().for_each(Waker::wake);
            return;
        }
        let task = queue.task.take();
        drop(queue);
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// Runs in the loop and wakes the queued tasks.
struct Task {
    loop_waker: Arc<LoopWaker>,
    /// Empty between wakes; keeps its capacity.
    due: Vec<Waker>,
}

impl Task {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.loop_waker.queue.lock();
        // Under the same lock as the swap, so that later pushes wake again.
        queue.task = Some(cx.waker().clone());
        std::mem::swap(&mut queue.due, &mut self.due);
        drop(queue);
        self.due.drain(..).for_each(Waker::wake);
        Poll::Pending
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let due = {
            let mut queue = self.loop_waker.queue.lock();
            queue.closed = true;
            queue.task = None;
            std::mem::take(&mut queue.due)
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
