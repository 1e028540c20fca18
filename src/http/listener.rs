//! One thread's share of the public listener: accepting connections, their bounds, and graceful shutdown.
//!
//! hyper serves HTTP/1 directly on the connection. `head_timeout` bounds reading a head, and so also idle keep-alive.

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
use super::way::{Begun, Core};
use crate::clock::Clock;
use crate::gate::ResizableSemaphore;
use crate::policy::refusal::Refusal;
use crate::policy::time::Span;
use crate::telemetry::connections::{ListenerMeters, OpenConnection, RefusedConnection};

/// The pause after a failed accept: most likely there are no file descriptors left.
pub const ACCEPT_PAUSE: Span = Span::from_millis(50);

/// How often idle upstream connections are checked for expiry.
const SWEEP_EVERY: Span = Span::from_secs(1);

/// hyper's own bound on headers; a request within it costs no allocation.
const HEADERS_MAX_OF_HYPER: usize = 100;

/// Bounds on the public listener's connections.
#[derive(Clone, Debug)]
pub struct ListenerBounds {
    /// Open connections of all threads together.
    pub connections: Arc<ResizableSemaphore>,
    /// How long a client may take to send a request's head, and how long a connection may be idle.
    pub head_timeout: Duration,
    /// How long a client may stop reading its response.
    pub send_timeout: Span,
    /// The most bytes of a request's head.
    pub head_max: usize,
    /// The most headers of a request.
    pub headers_max: usize,
    /// The peers that use the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
    /// Counts connections.
    pub meters: Arc<ListenerMeters>,
}

/// Serves one thread's share of the public listener until `closing`, then until its connections and jobs have ended.
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
    let meters = Arc::clone(&core.site.load().bounds().meters);
    let clock = gate.clock();
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if meters.accept_failed(clock.now()) {
                    warn!(%error, "accepting connections fails; they wait in the system's backlog");
                }
                clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let counted = meters.opened();
        // Taken after accepting: a thread that holds a permit while it waits for a connection would keep it from the others.
        let permits = Arc::clone(&core.site.load().bounds().connections);
        let permit = permits.take().await;
        let bounds = core.site.load().bounds().clone();
        let (core, watcher, closing) = (Arc::clone(core), graceful.watcher(), closing.clone());
        let clock = *clock;
        tasks.spawn(async move {
            // The site must not be held here: it would live as long as the connection, and removing an upstream waits for its
            // end.
            if let Some(greeted) = read_proxy_header(clock, stream, peer, &bounds, &closing).await {
                serve_connection(core, greeted, bounds, watcher, counted).await;
            }
            drop(permit);
        });
    }
}

/// An accepted connection and its client's address.
struct Greeted {
    stream: TcpStream,
    peer: SocketAddr,
    /// Bytes read after the PROXY protocol header.
    ahead: Vec<u8>,
}

/// Reads the PROXY protocol header, if one is expected from the peer. `None`: it is missing or invalid, and the connection is
/// closed.
async fn read_proxy_header(
    clock: Clock,
    mut stream: TcpStream,
    peer: SocketAddr,
    bounds: &ListenerBounds,
    closing: &CancellationToken,
) -> Option<Greeted> {
    if !bounds.proxy_protocol.is_expected_from(peer) {
        let ahead = Vec::new();
        return Some(Greeted { stream, peer, ahead });
    }
    tokio::select! {
        greeted = bounds.proxy_protocol.read_from(&mut stream, peer) => match greeted {
            Ok((peer, ahead)) => Some(Greeted { stream, peer, ahead }),
            Err(error) => {
                debug!(%peer, %error, "invalid PROXY protocol header");
                bounds.meters.refused(RefusedConnection::ProxyProtocol);
                None
            }
        },
        () = clock.sleep(bounds.head_timeout.into()) => {
            debug!(%peer, "timeout waiting for the PROXY protocol header");
            bounds.meters.refused(RefusedConnection::ProxyProtocol);
            None
        }
        () = closing.cancelled() => None,
    }
}

async fn serve_connection(
    core: Arc<Core>,
    greeted: Greeted,
    bounds: ListenerBounds,
    watcher: Watcher,
    counted: OpenConnection,
) {
    let Greeted { stream, peer, ahead } = greeted;
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "connection closed before it was served");
        return;
    }
    let clock = *core.site.load().gate().clock();
    let (socket, connection) = Connection::open(stream, ahead, clock, bounds.send_timeout, counted);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(bounds.head_timeout)
        .max_buf_size(bounds.head_max);
    if bounds.headers_max != HEADERS_MAX_OF_HYPER {
        http.max_headers(bounds.headers_max);
    }
    let service = hyper::service::service_fn(|request| {
        let (core, connection) = (Arc::clone(&core), Arc::clone(&connection));
        let site = core.site.load_full();
        let begun = Begun::new(&site, peer, &request);
        async move {
            let answering = connection.answering();
            let response = core.serve(&site, &connection, request, begun).await?;
            Ok::<_, super::way::HungUp>(response.map(|body| body.answering(answering)))
        }
    });
    let served = watcher
        .watch(http.serve_connection(TokioIo::new(socket), service))
        .await;
    if let Some(refusal) = final_refusal(&connection, served.as_ref().err()) {
        let (answer, observation) = core.site.load().refuse_unreadable(&refusal, peer.ip());
        if let Err(error) = connection.write_last(&answer, &clock).await {
            debug!(%error, "client closed before reading its refusal");
        }
        drop(observation);
    } else if let Err(error) = served {
        debug!(%error, "connection failed");
    }
    connection.close(&clock).await;
}

/// Answers one request by the site `by`, which may be older than the active one.
#[cfg(test)]
pub(crate) async fn serve_overtaken(core: &Core, by: &super::site::Site, stream: TcpStream) {
    let (clock, peer) = (*by.gate().clock(), stream.peer_addr().expect("connected"));
    let (bounds, counted) = (by.bounds(), by.bounds().meters.opened());
    let (socket, connection) = Connection::open(stream, Vec::new(), clock, bounds.send_timeout, counted);
    let service = hyper::service::service_fn(|request| {
        let connection = Arc::clone(&connection);
        let begun = Begun::new(by, peer, &request);
        async move {
            let answering = connection.answering();
            let response = core.serve(by, &connection, request, begun).await?;
            Ok::<_, super::way::HungUp>(response.map(|body| body.answering(answering)))
        }
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    served.await.expect("the client waits for its answer");
    connection.close(&clock).await;
}

const NOT_HTTP: Refusal = Refusal::BadRequest(Cow::Borrowed("the request is not HTTP/1.1"));

/// The refusal for a request that hyper could not parse or that timed out.
fn final_refusal(connection: &Connection, error: Option<&hyper::Error>) -> Option<Refusal> {
    match connection.rejected() {
        Some(414 | 431) => Some(Refusal::HeadersTooLarge),
        Some(_) => Some(NOT_HTTP),
        // HTTP/2's preface: hyper answers nothing.
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
