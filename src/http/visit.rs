//! A request as it came, and what is left unread of it when the answer goes out (rules §8).

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Request, Response, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::address::{Client, Contradiction};
use super::body::Body;
use super::observation::Observation;
use super::site::Site;
use super::socket::Connection;
use crate::upload::{Upload, UploadProgress};
use crate::upstream::request_body::{RequestBody, fault_of, has_arrived};

/// A request that has arrived. It is counted and logged from now on, even if nobody serves it: hyper drops a request whose client
/// has gone by the time its head is read.
#[derive(Debug)]
pub struct Begun {
    pub(super) client: Result<Client, Contradiction>,
    pub(super) observation: Observation,
}

impl Begun {
    /// Begins with that request of that peer.
    pub fn new<B>(site: &Site, peer: SocketAddr, request: &Request<B>) -> Self {
        let client = site.trusted_proxies.client(peer, request.headers());
        let address = client.as_ref().map_or(peer.ip(), |client| client.address);
        Self {
            client,
            observation: Observation::begin(site, request, address),
        }
    }
}

/// A request as it came, until its body is taken.
#[derive(Debug)]
pub(super) struct Visit<'c> {
    pub(super) head: Parts,
    pub(super) client: Result<Client, Contradiction>,
    pub(super) connection: &'c Connection,
    /// Whether the client waits for `100 Continue`.
    pub(super) expects: bool,
    body: Option<Incoming>,
    /// The progress of the body, once it is taken.
    progress: Option<Arc<UploadProgress>>,
}

impl<'c> Visit<'c> {
    pub(super) fn new(
        request: Request<Incoming>,
        client: Result<Client, Contradiction>,
        connection: &'c Connection,
    ) -> Self {
        let (head, body) = request.into_parts();
        Self {
            expects: expects_continue(&head),
            head,
            client,
            connection,
            body: Some(body),
            progress: None,
        }
    }

    /// The length of the head in bytes, as it was received at least. hyper bounds what it reads at once, which may be twice as
    /// much.
    pub(super) fn head_length(&self) -> usize {
        let uri = &self.head.uri;
        let target = uri.authority().map_or(0, |authority| authority.as_str().len())
            + uri.path_and_query().map_or(0, |target| target.as_str().len());
        let line = self.head.method.as_str().len() + target + " ".len() + " HTTP/1.1\r\n".len();
        let headers = self.head.headers.iter();
        headers.fold(line + "\r\n".len(), |sum, (name, value)| {
            sum + name.as_str().len() + ": \r\n".len() + value.len()
        })
    }

    /// The body's declared length in bytes.
    pub(super) fn declared_length(&self) -> Option<u64> {
        self.head
            .headers
            .get(header::CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .parse()
            .ok()
    }

    /// The request for an upstream server, with a body that is to be received first.
    pub(super) fn take(&mut self, max_body: u64) -> (Parts, Upload<Incoming>) {
        let (head, body) = self.take_parts();
        let upload = Upload::new(body, max_body, fault_of);
        self.progress = Some(Arc::clone(upload.progress()));
        (head, upload)
    }

    /// The request for an upstream server, with a body that is sent on as it arrives.
    pub(super) fn take_streamed(&mut self, max_body: u64) -> (Parts, RequestBody) {
        let (head, body) = self.take_parts();
        let body = RequestBody::streamed(body, max_body);
        self.progress = Some(Arc::clone(body.progress()));
        (head, body)
    }

    fn take_parts(&mut self) -> (Parts, Incoming) {
        let (head, ()) = Request::new(()).into_parts();
        let head = std::mem::replace(&mut self.head, head);
        (head, self.body.take().expect("a request is forwarded once"))
    }

    /// Returns the unread body when the request was refused after all.
    pub(super) fn give_back(&mut self, unread: Option<Incoming>) {
        self.body = unread;
    }

    /// Called for every answer. If the body hasn't completely arrived by now, the connection is closed after the answer, in a way
    /// that lets the client read it (rules §8).
    pub(super) async fn leave_unread(&mut self, response: &mut Response<Body>) {
        let complete = match (self.body.take(), &self.progress) {
            // A body reports its fault once: polled again, it would look complete.
            (_, Some(progress)) if progress.fault().is_some() => false,
            // A client that expects `100 Continue` gets none.
            (Some(body), _) if self.expects => body.is_end_stream(),
            (Some(body), _) => has_arrived(body).await,
            (None, Some(progress)) => progress.is_complete(),
            (None, None) => true,
        };
        if !complete {
            close_after(response, self.connection);
        }
    }
}

fn close_after(response: &mut Response<Body>, connection: &Connection) {
    response
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    connection.linger();
}

fn expects_continue(head: &Parts) -> bool {
    // Of several lines the last one counts, as in hyper, which sends the `100 Continue`.
    let expect = head.headers.get_all(header::EXPECT).iter().next_back();
    head.version == Version::HTTP_11
        && expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}
