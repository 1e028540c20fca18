//! One search of a simulated client, and one look at the queue.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::Endpoints;
use super::addresses::Source;
use crate::proxy::KEY_HEADER;

/// The longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(120);
/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

pub type BoxError = Box<dyn Error + Send + Sync>;

/// An answer to a search.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// tiergate's reason for a refusal.
    pub reason: Option<String>,
    /// The file name of the first match.
    pub first_match: Option<String>,
    /// How long the search service worked on it.
    pub upstream: Option<Duration>,
}

/// Searches once, on a connection of its own.
pub async fn search(proxy: SocketAddr, source: Source, key: Option<&str>, upload: Bytes) -> Result<Answer, BoxError> {
    let mut request = Request::new(Full::new(upload));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static("/search");
    if let Some(key) = key {
        request.headers_mut().insert(KEY_HEADER, key.parse()?);
    }
    if let Source::Forwarded(client) = source {
        request
            .headers_mut()
            .insert("x-forwarded-for", client.to_string().parse()?);
    }
    let (status, headers, body) = exchange(proxy, Some(source), request).await?;
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(Answer {
        status,
        reason: text(&body["reason"]),
        first_match: text(&body["result"][0]["filename"]),
        upstream: upstream_time(&headers),
    })
}

/// `431.0` of `Server-Timing: queue;dur=12.5, upstream;dur=431.0`.
fn upstream_time(headers: &HeaderMap) -> Option<Duration> {
    let timing = headers.get("server-timing")?.to_str().ok()?;
    let millis = timing
        .split(", ")
        .find_map(|metric| metric.strip_prefix("upstream;dur="))?;
    Duration::try_from_secs_f64(millis.parse::<f64>().ok()? / 1e3).ok()
}

/// The state of tiergate's queue, from its admin listener.
#[derive(Debug, Deserialize)]
pub struct QueueState {
    pub seats: u32,
    pub waiting: Vec<WaitingJob>,
    pub pools: Vec<PoolState>,
}

#[derive(Debug, Deserialize)]
pub struct WaitingJob {
    pub priority: u8,
}

#[derive(Debug, Deserialize)]
pub struct PoolState {
    pub slots: u32,
    pub running: u32,
}

/// Looks at the queue.
pub async fn queue_state(endpoints: &Endpoints) -> Result<QueueState, BoxError> {
    let mut request = Request::new(Full::default());
    *request.uri_mut() = http::Uri::from_static("/queue");
    let shown = format!("Bearer {}", endpoints.token).parse()?;
    request.headers_mut().insert(header::AUTHORIZATION, shown);
    Ok(serde_json::from_slice(
        &exchange(endpoints.admin, None, request).await?.2,
    )?)
}

async fn exchange(
    to: SocketAddr,
    from: Option<Source>,
    mut request: Request<Full<Bytes>>,
) -> Result<(StatusCode, HeaderMap, Bytes), BoxError> {
    request.headers_mut().insert(header::HOST, to.to_string().parse()?);
    request.headers_mut().insert(header::CONNECTION, "close".parse()?);
    let whole = async {
        let response = connect(to, from).await?.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok((head.status, head.headers, body))
    };
    timeout(ANSWER_MAX, whole).await?
}

async fn connect(to: SocketAddr, from: Option<Source>) -> io::Result<SendRequest<Full<Bytes>>> {
    let socket = if to.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(Source::Loopback(from)) = from {
        socket.bind((from, 0).into())?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection); // ends with the exchange
    Ok(sender)
}
