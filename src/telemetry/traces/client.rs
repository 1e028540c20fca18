//! The HTTP client of the exporter: one request at a time, each on a connection and a runtime of its own. It blocks the
//! exporter's thread, for no longer than its timeout.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::net::TcpStream;

use super::export::Tally;
use crate::clock::Clock;
use crate::policy::time::Span;

/// The longest answer of a collector, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Sends batches to a collector.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) clock: Clock,
    /// The longest exchange, from connecting to the end of the answer.
    pub(super) timeout: Span,
    /// Is told of failures: the exporter itself keeps their causes to itself.
    pub(super) tally: Arc<Tally>,
}

impl HttpClient for Client {
    fn send_bytes<'c, 'f>(
        &'c self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'f>>
    where
        'c: 'f,
        Self: 'f,
    {
        Box::pin(async move {
            let answer = self.send(request);
            self.tally.answered(match &answer {
                Ok(answer) if answer.status().is_success() => None,
                Ok(answer) => Some(format!("the collector answered {}", answer.status())),
                Err(error) => Some(error.to_string()),
            });
            answer
        })
    }
}

impl Client {
    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime.block_on(async {
            tokio::select! {
                answer = exchange(request) => answer,
                () = self.clock.sleep(self.timeout) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        });
        // Don't wait for a pending DNS lookup.
        runtime.shutdown_background();
        answer
    }
}

async fn exchange(mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let uri = std::mem::take(request.uri_mut());
    let authority = uri.authority().ok_or("the endpoint names no host")?;
    let host = authority.host().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80))).await?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    *request.uri_mut() = Uri::try_from(target)?;
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    request.headers_mut().insert(header::HOST, HeaderValue::from_str(host)?);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the runtime.
    let _driver = tokio::spawn(connection);
    let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
    Ok(Response::from_parts(head, body))
}
