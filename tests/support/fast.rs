//! An upstream server that answers at once, as its request's query says, and counts. It runs in a thread of its own.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// An upstream server that answers `/search?status=200&length=100&chunked` with that many bytes.
pub struct FastServer {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    _close: oneshot::Sender<()>,
}

#[derive(Default)]
struct Seen {
    now: AtomicUsize,
    most: AtomicUsize,
    all: AtomicUsize,
}

impl FastServer {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("it listens");
        let seen = Arc::new(Seen::default());
        let (close, closed) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let of_thread = Arc::clone(&seen);
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("it listens");
                tokio::select! {
                    () = serve(listener, of_thread) => {}
                    _ = closed => {}
                }
            });
        });
        Self {
            address,
            seen,
            _close: close,
        }
    }

    /// The most requests that it ever had at once.
    pub fn most_at_once(&self) -> usize {
        self.seen.most.load(SeqCst)
    }

    /// All requests that it had.
    pub fn requests(&self) -> usize {
        self.seen.all.load(SeqCst)
    }
}

async fn serve(listener: TcpListener, seen: Arc<Seen>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("a socket");
        let seen = Arc::clone(&seen);
        let service = hyper::service::service_fn(move |request| answer(request, Arc::clone(&seen)));
        tokio::spawn(async move {
            // The proxy may close it at any time.
            let _ended = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    seen: Arc<Seen>,
) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let now = seen.now.fetch_add(1, SeqCst) + 1;
    seen.most.fetch_max(now, SeqCst);
    seen.all.fetch_add(1, SeqCst);
    let query = request.uri().query().unwrap_or_default().to_owned();
    let value = |name: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(of, _)| *of == name).map(|(_, value)| value)
    };
    let length: usize = value("length").map_or(2, |length| length.parse().expect("a number"));
    let status: StatusCode = value("status").unwrap_or("200").parse().expect("a status");
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    // Others get a chance to be here at the same time.
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    let bytes = Bytes::from(vec![b'x'; length]);
    let body = if status == StatusCode::NO_CONTENT {
        Empty::new().boxed()
    } else if query.contains("chunked") {
        let half = bytes.len() / 2;
        Chunks([bytes.slice(..half), bytes.slice(half..)].into_iter()).boxed()
    } else {
        Full::new(bytes).boxed()
    };
    seen.now.fetch_sub(1, SeqCst);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    Ok(response)
}

/// A body whose length nobody is told, so that it is sent in chunks.
struct Chunks<I>(I);

impl<I: Iterator<Item = Bytes> + Unpin> http_body::Body for Chunks<I> {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|chunk| Ok(Frame::data(chunk))))
    }
}
