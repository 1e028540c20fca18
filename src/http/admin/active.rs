//! Counts a connection of the admin listener as active while a request on it is being answered.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::telemetry::connections::OpenConnection;

/// A connection that is active until this is dropped.
struct Answering(Arc<OpenConnection>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.set_active(false);
    }
}

/// A body that keeps its connection active.
struct CountedBody {
    body: Body,
    _answering: Answering,
}

/// The connection is active until the response's body has been handed to it, however slowly its client reads.
pub(super) async fn count(request: Request, next: Next) -> Response {
    let Some(connection) = request.extensions().get::<Arc<OpenConnection>>().cloned() else {
        return next.run(request).await;
    };
    connection.set_active(true);
    let _answering = Answering(connection);
    let response = next.run(request).await;
    response.map(|body| Body::new(CountedBody { body, _answering }))
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
