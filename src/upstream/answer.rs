//! An upstream server's answer on its way to the client, and the order in which its job ends (rules §6):
//!
//! 1. the server's message ends: the slot is released, however slowly the client reads;
//! 2. a success is journaled, and its debit made durable;
//! 3. the caller's concurrency is released;
//! 4. only then the answer's last part is handed over. With a Content-Length that is the bytes that complete it, otherwise
//!    the end mark alone.
//!
//! So a client that sends its next request after the last byte of this answer never competes with its own previous request, and
//! what a client has received completely is debited, even if tiergate crashes.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;

use super::connections::{Connections, UpstreamConnection};
use super::exchange::OnHangup;
use super::window::{self, BrokenOff, Inlet, Outlet, WINDOW_BYTES};
use super::{Upstream, UpstreamServer};
use crate::clock::Clock;
use crate::gate::{Committing, Permit, SemaphorePermit};
use crate::policy::Outcome;
use crate::policy::refusal::Refusal;
use crate::policy::time::Timestamp;
use crate::telemetry::upstreams::ServerFailure;
use crate::upload::UploadProgress;

/// The body of an upstream server's answer.
#[derive(Debug)]
pub struct UpstreamBody(UpstreamBodyKind);

#[derive(Debug)]
enum UpstreamBodyKind {
    /// Complete when its head arrived.
    Whole(Option<Bytes>),
    /// Streamed through a window.
    Pumped { outlet: Outlet, length: SizeHint },
}

impl UpstreamBody {
    /// Whether its job may still be running: a whole answer has been settled.
    pub fn is_under_way(&self) -> bool {
        matches!(self.0, UpstreamBodyKind::Pumped { .. })
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let chunk = match &mut self.0 {
            UpstreamBodyKind::Whole(bytes) => bytes.take().map(Ok),
            UpstreamBodyKind::Pumped { outlet, .. } => ready!(outlet.poll_take(cx)),
        };
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            UpstreamBodyKind::Whole(bytes) => bytes.is_none(),
            UpstreamBodyKind::Pumped { outlet, .. } => outlet.is_drained(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            UpstreamBodyKind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            UpstreamBodyKind::Pumped { length, .. } => *length,
        }
    }
}

/// What is needed to end an exchange whose answer's head has arrived.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) connection: UpstreamConnection,
    pub(super) connections: Arc<Connections>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) server: Arc<UpstreamServer>,
    pub(super) progress: Arc<UploadProgress>,
    pub(super) deadline: Timestamp,
}

impl Tail {
    /// The server's message has ended. The connection is reusable if the request has ended as well.
    fn over(self) {
        self.server.health.succeeded();
        if self.progress.is_complete() {
            self.connections.put_back(&self.upstream, &self.server, self.connection);
        }
    }

    /// The server's message ended early or too late. That doesn't count against the server if the client broke off its request
    /// first. Returns the outcome by whose fault it was.
    fn broken_off(self, kind: ServerFailure) -> Outcome {
        if self.progress.fault().is_some() {
            return Outcome::Cancelled;
        }
        self.server.health.failed(kind, self.connections.clock().wall());
        Outcome::Failed
    }
}

/// What an answer holds until it has ended.
#[derive(Debug)]
pub(super) enum Kept {
    /// A metered job.
    Job {
        permit: Permit,
        status: u16,
        /// Whether that is one of its route's success statuses.
        succeeded: bool,
        on_hangup: OnHangup,
    },
    /// A permit of the unmetered requests in flight.
    Unmetered { _permit: SemaphorePermit },
}

impl Kept {
    /// Whether the answer is read to its end after the client is gone. A success whose head was sent is: hanging up must not be a
    /// way to get work for free.
    fn finishes(&self) -> bool {
        matches!(
            self,
            Self::Job {
                on_hangup: OnHangup::Finish,
                ..
            } | Self::Job { succeeded: true, .. }
        )
    }

    fn give_back_slot(&mut self) {
        if let Self::Job { permit, .. } = self {
            permit.give_back_slot();
        }
    }

    /// The answer is complete, and its status decides the outcome. Completes when the last part may be sent.
    ///
    /// # Errors
    /// The success could not be journaled: the job counts as failed, and nothing more may be sent.
    async fn settle(self, clock: Clock, tasks: TaskTracker) -> Result<(), Refusal> {
        match self {
            Self::Job {
                permit,
                status,
                succeeded: true,
                ..
            } => Carried::new(permit.succeed(status), clock, tasks).await,
            Self::Job { permit, status, .. } => {
                permit.settle(Outcome::Failed, status);
                Ok(())
            }
            Self::Unmetered { .. } => Ok(()),
        }
    }

    /// The answer is incomplete, which decides the outcome.
    fn settle_as(self, outcome: Outcome) {
        if let Self::Job { permit, status, .. } = self {
            permit.settle(outcome, status);
        }
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// A success that is being journaled. Once begun it is always completed: if its client hangs up, a task continues it.
struct Carried {
    /// `None` once it has ended.
    work: Option<Work>,
    tasks: TaskTracker,
}

impl Carried {
    fn new(committing: Committing, clock: Clock, tasks: TaskTracker) -> Self {
        Self {
            work: Some(Box::pin(commit(committing, clock))),
            tasks,
        }
    }
}

async fn commit(mut committing: Committing, clock: Clock) -> Result<(), Refusal> {
    let patience = committing.patience();
    tokio::select! {
        biased;
        committed = &mut committing => committed,
        () = clock.sleep(patience) => committing.give_up(),
    }
}

impl Future for Carried {
    type Output = Result<(), Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let work = self.work.as_mut().expect("not polled after completion");
        let done = ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(done)
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.tasks.spawn(work);
        }
    }
}

/// An answer whose head has arrived.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) body: Incoming,
    pub(super) tail: Tail,
    pub(super) kept: Kept,
}

impl Ending {
    /// Hands the answer over: whole if it is complete already, otherwise through a window that a separate task fills.
    ///
    /// # Errors
    /// It has ended early, or its success could not be journaled. The job is settled.
    pub(super) async fn hand_over(mut self) -> Result<UpstreamBody, Refusal> {
        let mut held: Vec<Bytes> = Vec::new();
        let mut bytes = 0;
        while !self.body.is_end_stream() && bytes < WINDOW_BYTES {
            match poll_fn(|cx| Poll::Ready(poll_data(&mut self.body, cx))).await {
                Poll::Ready(Some(Ok(chunk))) => {
                    bytes += chunk.len();
                    held.push(chunk);
                }
                Poll::Ready(None) => {
                    self.settle().await?;
                    return Ok(UpstreamBody(UpstreamBodyKind::Whole(joined(held, bytes))));
                }
                // A body reports its error once: polled again, it would look complete.
                Poll::Ready(Some(Err(BrokenOff))) => {
                    self.kept.settle_as(self.tail.broken_off(ServerFailure::Broken));
                    return Err(Refusal::UpstreamFailed);
                }
                Poll::Pending => return Ok(self.pump(held)),
            }
        }
        if self.body.is_end_stream() {
            self.settle().await?;
            return Ok(UpstreamBody(UpstreamBodyKind::Whole(joined(held, bytes))));
        }
        Ok(self.pump(held))
    }

    /// Reads the answer to its end and discards it, after the client is gone.
    pub(super) async fn drain(self) {
        let (inlet, _) = window::open();
        self.run(inlet, Vec::new()).await;
    }

    async fn settle(self) -> Result<(), Refusal> {
        let (clock, tasks) = (self.tail.connections.clock(), self.tail.connections.tasks.clone());
        self.tail.over();
        self.kept.settle(clock, tasks).await
    }

    fn pump(self, held: Vec<Bytes>) -> UpstreamBody {
        let (inlet, outlet) = window::open();
        let tasks = self.tail.connections.tasks.clone();
        let rest = self.body.size_hint();
        let ahead: u64 = held.iter().map(|chunk| chunk.len() as u64).sum();
        let length = rest
            .exact()
            .map_or_else(SizeHint::new, |rest| SizeHint::with_exact(rest + ahead));
        tasks.spawn(self.run(inlet, held));
        UpstreamBody(UpstreamBodyKind::Pumped { outlet, length })
    }

    async fn run(mut self, inlet: Inlet, held: Vec<Bytes>) {
        held.into_iter().for_each(|chunk| inlet.put(chunk));
        match self.read(&inlet).await {
            ReadOutcome::Complete(last) => {
                self.kept.give_back_slot();
                // Otherwise the inlet is dropped, and the client's answer ends early.
                if self.settle().await.is_ok() {
                    last.into_iter().for_each(|chunk| inlet.put(chunk));
                    inlet.end();
                }
            }
            ReadOutcome::Failed(kind) => self.kept.settle_as(self.tail.broken_off(kind)),
            ReadOutcome::Cancelled => self.kept.settle_as(Outcome::Cancelled),
        }
    }

    /// Reads to the end of the server's message. With a Content-Length, the bytes that complete it are held back.
    async fn read(&mut self, inlet: &Inlet) -> ReadOutcome {
        let finish = self.kept.finishes();
        let clock = self.tail.connections.clock();
        let mut alarm = std::pin::pin!(clock.sleep_until(self.tail.deadline));
        loop {
            let mut has_room = false;
            let next = async {
                let reads = inlet.room().await;
                has_room = true;
                if !reads && !finish {
                    return ReadOutcome::Cancelled;
                }
                tokio::select! {
                    chunk = poll_fn(|cx| poll_data(&mut self.body, cx)) => match chunk {
                        Some(Ok(chunk)) => ReadOutcome::Complete(Some(chunk)),
                        Some(Err(BrokenOff)) => ReadOutcome::Failed(ServerFailure::Broken),
                        None => ReadOutcome::Complete(None),
                    },
                    () = inlet.reader_gone(), if !finish => ReadOutcome::Cancelled,
                }
            };
            let read = tokio::select! {
                read = next => read,
                // It isn't the server's fault if its answer could not be delivered.
                () = &mut alarm => {
                    let too_late = ReadOutcome::Failed(ServerFailure::Timeout);
                    return if has_room { too_late } else { ReadOutcome::Cancelled };
                }
            };
            match read {
                ReadOutcome::Complete(Some(chunk)) if !self.body.is_end_stream() => inlet.put(chunk),
                read => return read,
            }
        }
    }
}

enum ReadOutcome {
    /// With the bytes that complete the answer, if it has a Content-Length.
    Complete(Option<Bytes>),
    /// It ended early or too late.
    Failed(ServerFailure),
    /// The client is gone, or did not read in time.
    Cancelled,
}

fn joined(mut held: Vec<Bytes>, bytes: usize) -> Option<Bytes> {
    if held.len() <= 1 {
        return held.pop();
    }
    let mut whole = Vec::with_capacity(bytes);
    held.iter().for_each(|chunk| whole.extend_from_slice(chunk));
    Some(whole.into())
}

fn poll_data(body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
    loop {
        return Poll::Ready(match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            None => None,
            Some(Err(_)) => Some(Err(BrokenOff)),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => Some(Ok(chunk)),
                Err(_trailers) => continue,
            },
        });
    }
}
