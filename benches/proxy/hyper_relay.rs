//! A bare relay on hyper: no rule, no limit, no header of its own. The yardstick for what an HTTP library alone costs.
//!
//! `hyper-relay LISTEN UPSTREAM`, one thread.

use std::cell::RefCell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;

use http_body_util::{Either, Empty};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};

type Error = Box<dyn std::error::Error>;

/// Idle connections to the upstream server.
struct Pool {
    upstream: SocketAddr,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
}

impl Pool {
    /// An idle connection whose last answer is complete.
    fn kept(&self) -> Option<SendRequest<Incoming>> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|sender| !sender.is_closed());
        let ready = idle.iter().rposition(SendRequest::is_ready)?;
        Some(idle.swap_remove(ready))
    }

    async fn connection(&self) -> Result<SendRequest<Incoming>, Error> {
        if let Some(kept) = self.kept() {
            return Ok(kept);
        }
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        spawn_local(driver);
        Ok(sender)
    }

    async fn relay(&self, mut request: Request<Incoming>) -> Result<Response<Incoming>, Error> {
        let mut sender = self.connection().await?;
        request.headers_mut().remove(CONNECTION);
        // The target in origin form, as it came.
        let target = request.uri().path_and_query().cloned();
        *request.uri_mut() = target.map_or_else(|| Uri::from_static("/"), Uri::from);
        let response = sender.send_request(request).await?;
        self.idle.borrow_mut().push(sender);
        Ok(response)
    }
}

type Answer = Response<Either<Incoming, Empty<Bytes>>>;

async fn answer(pool: &Pool, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let closes = request.headers().get(CONNECTION).is_some_and(|value| value == "close");
    let mut answer = match pool.relay(request).await {
        Ok(response) => response.map(Either::Left),
        Err(_) => {
            let mut failed = Response::new(Either::Right(Empty::new()));
            *failed.status_mut() = StatusCode::BAD_GATEWAY;
            failed
        }
    };
    if closes {
        answer
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    debug_assert!(answer.body().size_hint().exact().is_some());
    Ok(answer)
}

async fn serve(listen: SocketAddr, upstream: SocketAddr) -> Result<(), Error> {
    let listener = TcpListener::bind(listen).await?;
    let idle = RefCell::default();
    let pool = Rc::new(Pool { upstream, idle });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let pool = Rc::clone(&pool);
        spawn_local(async move {
            let service = service_fn(|request| answer(&pool, request));
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // Fails when the client hangs up.
            let _ = connection.await;
        });
    }
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let mut address = || -> Result<SocketAddr, Error> {
        let text = arguments.next().ok_or("usage: hyper-relay LISTEN UPSTREAM")?;
        Ok(text.parse()?)
    };
    let (listen, upstream) = (address()?, address()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(listen, upstream))
}
