//! Server-sent events (the HTML standard, §9.2). Viewers are handed the latest state: one who reads slowly misses some, and holds
//! nothing back.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::sync::watch;
use tokio_util::sync::ReusableBoxFuture;

use super::traffic::{Held, PERIODS};
use super::viewers::Viewer;
use crate::policy::time::Timestamp;

/// After so many milliseconds a browser connects again.
const RETRY_MS: u32 = 3_000;

/// The latest events.
#[derive(Clone, Debug, Default)]
pub struct Frames {
    /// No more will come.
    pub is_closed: bool,
    /// Of the state.
    pub version: u64,
    /// When the state was sent.
    pub sent: Timestamp,
    live: Bytes,
    /// Of each of the [`PERIODS`], with its version.
    traffic: [(u64, Bytes); PERIODS.len()],
}

impl Frames {
    /// What a new viewer is sent first.
    pub fn first(version: u64, sent: Timestamp, live: &str, held: &Held) -> Self {
        let mut frames = Self::default();
        frames.set_live(version, sent, live);
        frames.set_traffic(held);
        frames
    }

    /// Sets the state.
    pub fn set_live(&mut self, version: u64, sent: Timestamp, json: &str) {
        (self.version, self.sent) = (version, sent);
        self.live = event("now", json);
    }

    /// Sets what is new of the past. Whether anything is.
    pub fn set_traffic(&mut self, held: &Held) -> bool {
        let mut is_new = false;
        for ((version, frame), held) in self.traffic.iter_mut().zip(&held.0) {
            if let Some(held) = held
                && held.version != *version
            {
                *version = held.version;
                *frame = event("traffic", &held.json);
                is_new = true;
            }
        }
        is_new
    }
}

fn event(name: &str, json: &str) -> Bytes {
    // JSON as it is written here has no line breaks, which would end the field.
    Bytes::from(format!("event: {name}\ndata: {json}\n\n"))
}

/// The body of an answer with events.
pub struct Stream {
    pending: VecDeque<Bytes>,
    /// The last state sent, by its time.
    sent: Option<Timestamp>,
    traffic: [u64; PERIODS.len()],
    /// `None`: no more will come.
    next: Option<ReusableBoxFuture<'static, Changed>>,
    _viewer: Viewer,
}

/// The receiver, unless there is no sender any more.
type Changed = Option<watch::Receiver<Frames>>;

async fn changed(mut frames: watch::Receiver<Frames>) -> Changed {
    frames.changed().await.is_ok().then_some(frames)
}

impl Stream {
    /// Sends `first`, and then what is new in `frames`.
    pub fn new(first: Frames, frames: watch::Receiver<Frames>, viewer: Viewer) -> Self {
        let mut stream = Self {
            pending: VecDeque::from([Bytes::from(format!("retry: {RETRY_MS}\n\n"))]),
            sent: None,
            traffic: Default::default(),
            next: Some(ReusableBoxFuture::new(changed(frames))),
            _viewer: viewer,
        };
        stream.take(&first);
        stream
    }

    fn take(&mut self, frames: &Frames) {
        if Some(frames.sent) > self.sent && !frames.live.is_empty() {
            self.sent = Some(frames.sent);
            self.pending.push_back(frames.live.clone());
        }
        for (known, (version, frame)) in self.traffic.iter_mut().zip(&frames.traffic) {
            if known != version && !frame.is_empty() {
                *known = *version;
                self.pending.push_back(frame.clone());
            }
        }
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(bytes) = self.pending.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            let Some(next) = &mut self.next else {
                return Poll::Ready(None);
            };
            let Some(mut frames) = ready!(next.poll(cx)) else {
                self.next = None;
                continue;
            };
            let latest = frames.borrow_and_update().clone();
            self.take(&latest);
            match &mut self.next {
                Some(next) if !latest.is_closed => next.set(changed(frames)),
                next => *next = None,
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none() && self.pending.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
