//! Sockets: one core's share of the public listener, its connections' bounds, and the graceful end.
//!
//! hyper serves HTTP/1 on it directly. A connection's head must come within `head_timeout`, which bounds idle keep-alive too.
//!
//! Absent on purpose: what is answered (`door`).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::proxy_protocol::ProxyProtocol;
use super::socket::Connection;
use super::way::Core;
use crate::clock::Clock;
use crate::gate::ResizableSemaphore;
use crate::policy::refusal::Refusal;
use crate::policy::time::{Span, Timestamp};

/// How long the door waits when the system can't give it a connection, for want of descriptors most likely.
pub const ACCEPT_PAUSE: Span = Span::from_millis(50);

/// How often the log says that no connection can be accepted.
const WARN_EVERY: Span = Span::from_secs(10);

/// How often unused connections to workers are looked through.
const SWEEP_EVERY: Span = Span::from_secs(1);

/// hyper's own bound on headers, which costs nothing extra.
const HEADERS_MAX_OF_HYPER: usize = 100;

/// What bounds the public listener's connections.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Open connections of all cores together.
    pub connections: Arc<ResizableSemaphore>,
    /// The longest that a request's head may take, and a connection be idle.
    pub head_timeout: Duration,
    /// The longest that a client may take nothing of its answer.
    pub send_timeout: Span,
    /// Bytes that a request's head may have.
    pub head_max: usize,
    /// Headers that a request may have.
    pub headers_max: usize,
    /// Who begins a connection by saying whose it is.
    pub proxy_protocol: ProxyProtocol,
}

/// Serves one core's share of the public listener until `closing`, then until its connections and jobs have ended.
pub async fn serve(core: Arc<Core>, listener: TcpListener, closing: CancellationToken, tasks: TaskTracker) {
    let sweeper = tokio::spawn(sweep(Arc::clone(&core)));
    let graceful = GracefulShutdown::new();
    tokio::select! {
        () = accept(&core, &listener, &graceful, &closing, &tasks) => {}
        () = closing.cancelled() => {}
    }
    drop(listener);
    graceful.shutdown().await;
    tasks.close();
    tasks.wait().await;
    sweeper.abort();
}

async fn accept(
    core: &Arc<Core>,
    listener: &TcpListener,
    graceful: &GracefulShutdown,
    closing: &CancellationToken,
    tasks: &TaskTracker,
) {
    let gate = Arc::clone(core.site.load().gate());
    let clock = gate.clock();
    let mut warned: Option<Timestamp> = None;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if warned.is_none_or(|at| clock.now().since(at) >= WARN_EVERY) {
                    warned = Some(clock.now());
                    warn!(%error, "no connection can be accepted");
                }
                clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // After accepting: a core that holds a place for a connection that never comes would keep it from the others.
        let places = Arc::clone(&core.site.load().bounds().connections);
        let place = places.take().await;
        let bounds = core.site.load().bounds().clone();
        let (core, watcher, closing) = (Arc::clone(core), graceful.watcher(), closing.clone());
        let clock = *clock;
        tasks.spawn(async move {
            // Without the door of this moment, which would live as long as the connection: whoever removes upstreams waits for it.
            if let Some(greeted) = greet(clock, stream, peer, &bounds, &closing).await {
                serve_connection(core, greeted, bounds, watcher).await;
            }
            drop(place);
        });
    }
}

/// A connection, and whose it is.
struct Greeted {
    stream: TcpStream,
    peer: SocketAddr,
    /// What has been read of it already.
    ahead: Vec<u8>,
}

/// Lets the peer say whose connection it is, if it is one who does. `None`: it hasn't said so, and is not answered.
async fn greet(
    clock: Clock,
    mut stream: TcpStream,
    peer: SocketAddr,
    bounds: &Bounds,
    closing: &CancellationToken,
) -> Option<Greeted> {
    if !bounds.proxy_protocol.is_spoken_by(peer) {
        let ahead = Vec::new();
        return Some(Greeted { stream, peer, ahead });
    }
    tokio::select! {
        greeted = bounds.proxy_protocol.greeted(&mut stream, peer) => match greeted {
            Ok((peer, ahead)) => Some(Greeted { stream, peer, ahead }),
            Err(error) => {
                debug!(%peer, %error, "no header of the PROXY protocol");
                None
            }
        },
        () = clock.sleep(bounds.head_timeout.into()) => {
            debug!(%peer, "no header of the PROXY protocol in time");
            None
        }
        () = closing.cancelled() => None,
    }
}

async fn serve_connection(core: Arc<Core>, greeted: Greeted, bounds: Bounds, watcher: Watcher) {
    let Greeted { stream, peer, ahead } = greeted;
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "a connection that was gone before it began");
        return;
    }
    let clock = *core.site.load().gate().clock();
    let (socket, connection) = Connection::open(stream, ahead, clock, bounds.send_timeout);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .max_buf_size(bounds.head_max);
    if bounds.headers_max != HEADERS_MAX_OF_HYPER {
        http.max_headers(bounds.headers_max);
    }
    let service = hyper::service::service_fn(|request| {
        let (core, connection) = (Arc::clone(&core), Arc::clone(&connection));
        async move {
            let answering = connection.answering();
            let response = core.serve(&connection, peer, request).await?;
            Ok::<_, super::way::HungUp>(response.map(|body| body.answering(answering)))
        }
    });
    let served = watcher
        .watch(http.serve_connection(TokioIo::new(socket), service))
        .await;
    if let Some(refusal) = last_word(&connection, served.as_ref().err()) {
        let site = core.site.load_full();
        site.note_refusal(&refusal);
        if let Err(error) = connection
            .write_last(&site.answers().reply_bytes(&refusal), &clock)
            .await
        {
            debug!(%error, "a client that did not wait for its refusal");
        }
    } else if let Err(error) = served {
        debug!(%error, "a connection broke off");
    }
    connection.close(&clock).await;
}

/// Answers the one request that comes there and has come to that door, which may be an older one by now.
#[cfg(test)]
pub(crate) async fn serve_overtaken(core: &Core, by: &super::site::Site, stream: TcpStream) {
    let (clock, peer) = (*by.gate().clock(), stream.peer_addr().expect("it is connected"));
    let (socket, connection) = Connection::open(stream, Vec::new(), clock, by.bounds().send_timeout);
    let service = hyper::service::service_fn(|request| {
        let connection = Arc::clone(&connection);
        async move {
            let answering = connection.answering();
            let response = core.serve_by(by, &connection, peer, request).await?;
            Ok::<_, super::way::HungUp>(response.map(|body| body.answering(answering)))
        }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    served.await.expect("the client waits for its answer");
    connection.close(&clock).await;
}

const NOT_HTTP: Refusal = Refusal::BadRequest(Cow::Borrowed("the request is not HTTP/1.1"));

/// What the client is told of a request that hyper could not read.
fn last_word(connection: &Connection, error: Option<&hyper::Error>) -> Option<Refusal> {
    match connection.rejected() {
        Some(414 | 431) => Some(Refusal::HeadersTooLarge),
        Some(_) => Some(NOT_HTTP),
        // HTTP/2's preface, to which hyper says nothing.
        None if error.is_some_and(hyper::Error::is_parse) => Some(NOT_HTTP),
        None if error.is_some_and(hyper::Error::is_timeout) && connection.head_begun() => {
            Some(Refusal::RequestTimeout("the request's head did not arrive in time"))
        }
        None => None,
    }
}

async fn sweep(core: Arc<Core>) {
    let clock = core.connections.clock();
    loop {
        clock.sleep(SWEEP_EVERY).await;
        core.connections.sweep();
    }
}
