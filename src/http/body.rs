//! Answer bodies of the public listener.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::observation::Observation;
use super::socket::Answering;
use super::way::HungUp;
use crate::upstream::answer::UpstreamBody;

/// The body of an answer.
#[derive(Debug, Default)]
pub struct Body {
    kind: BodySource,
    /// Dropped with the body, when hyper has encoded it.
    answering: Option<Answering>,
    /// Ends with the body.
    observation: Option<Box<Observation>>,
}

#[derive(Debug, Default)]
enum BodySource {
    #[default]
    Empty,
    Whole(Option<Bytes>),
    Upstream(UpstreamBody, HangUp),
    Own(axum::body::Body, HangUp),
}

impl Body {
    /// A whole body.
    pub fn whole(bytes: Bytes) -> Self {
        Self {
            kind: BodySource::Whole(Some(bytes)),
            ..Self::default()
        }
    }

    /// The body of an upstream server's answer.
    pub fn of_upstream(answer: UpstreamBody) -> Self {
        Self {
            kind: BodySource::Upstream(answer, HangUp::default()),
            ..Self::default()
        }
    }

    /// A body from tiergate's own router.
    pub fn own(body: axum::body::Body) -> Self {
        Self {
            kind: BodySource::Own(body, HangUp::default()),
            ..Self::default()
        }
    }

    /// Counts the request as being answered while this body lives.
    pub fn answering(mut self, answering: Answering) -> Self {
        self.answering = Some(answering);
        self
    }

    /// Goes on with the observation of the request, and ends it with the body.
    pub(super) fn observed(mut self, observation: Observation) -> Self {
        self.observation = Some(Box::new(observation));
        self
    }
}

/// Why a body ended early.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self {
            kind,
            answering,
            observation,
        } = &mut *self;
        let frame = match kind {
            BodySource::Empty => None,
            BodySource::Whole(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            BodySource::Upstream(answer, hang_up) => match Pin::new(answer).poll_frame(cx) {
                Poll::Ready(frame) => frame.map(|frame| frame.map_err(Error::from)),
                Poll::Pending => {
                    ready!(hang_up.poll(answering.as_ref(), cx));
                    Some(Err(HungUp.into()))
                }
            },
            // Events may be long in coming.
            BodySource::Own(body, hang_up) => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => frame.map(|frame| frame.map_err(Error::from)),
                Poll::Pending => {
                    ready!(hang_up.poll(answering.as_ref(), cx));
                    Some(Err(HungUp.into()))
                }
            },
        };
        if let (Some(observation), Some(Ok(frame))) = (observation, &frame) {
            observation.sent(frame.data_ref().map_or(0, Bytes::len));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            BodySource::Empty => true,
            BodySource::Whole(bytes) => bytes.is_none(),
            BodySource::Upstream(answer, _) => answer.is_end_stream(),
            BodySource::Own(body, _) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            BodySource::Empty => SizeHint::with_exact(0),
            BodySource::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            BodySource::Upstream(answer, _) => answer.size_hint(),
            BodySource::Own(body, _) => body.size_hint(),
        }
    }
}

/// Detects that the client has disconnected before the end of its response. hyper detects that only if no further request is
/// buffered.
#[derive(Default)]
struct HangUp(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl HangUp {
    fn poll(&mut self, answering: Option<&Answering>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(answering) = answering else {
            return Poll::Pending;
        };
        self.0
            .get_or_insert_with(|| Box::pin(answering.hung_up()))
            .as_mut()
            .poll(cx)
    }
}

impl fmt::Debug for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HangUp")
    }
}
