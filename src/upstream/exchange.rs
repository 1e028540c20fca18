//! One request to an upstream server up to the head of its answer: the connection, the one retry, the timeouts, and what happens
//! to the job if the client hangs up meanwhile.
//!
//! The future of [`exchange`] belongs to the client's connection and is dropped with it. Its running job then continues as a task
//! or is released, by the route's [`OnHangup`] (rules §5.8).

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header, request, response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tracing::debug;

use super::answer::{Ending, Kept, Tail, UpstreamBody};
use super::connections::{Connections, UpstreamConnection};
use super::request_body::RequestBody;
use super::window::BrokenOff;
use super::{Upstream, UpstreamServer};
use crate::clock::Clock;
use crate::gate::{Permit, Relocated, SemaphorePermit};
use crate::policy::Outcome;
use crate::policy::refusal::Refusal;
use crate::policy::time::{Span, Timestamp};
use crate::telemetry::upstreams::ServerFailure;
use crate::upload::{UploadError, UploadProgress};

/// No server could be reached, whether or not any is up.
const UNREACHABLE: Refusal = Refusal::UpstreamUnreachable { retry_after: None };

/// What happens to a running job whose client hangs up (rules §5.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnHangup {
    /// The upstream server finishes it, and it counts.
    #[default]
    Finish,
    /// The connection to the upstream server is closed, unless a success has begun to be sent to the client.
    Cancel,
}

/// A request for an upstream server.
#[derive(Debug)]
pub enum Errand {
    /// A job that has a slot.
    Metered {
        /// Its slot.
        permit: Permit,
        /// The slot's upstream.
        upstream: Arc<Upstream>,
        /// What happens to it if its client hangs up.
        on_hangup: OnHangup,
        /// The statuses that count as success.
        success: Arc<[u16]>,
    },
    /// A request without a slot.
    Unmetered {
        /// The destination.
        upstream: Arc<Upstream>,
        /// Its permit of the unmetered requests in flight.
        permit: SemaphorePermit,
    },
}

/// An upstream server's answer.
#[derive(Debug)]
pub struct Answered {
    /// The head as the server sent it.
    pub head: response::Parts,
    /// Its body.
    pub body: UpstreamBody,
    /// The time from the slot to the head.
    pub took: Span,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// There is a refusal for the client.
    Refused(Refusal),
    /// The client is gone.
    ClientGone,
}

/// Sends the request to a server of the errand's upstream and waits for the head of the answer. `Host` is set to the server's.
/// `tries` is told each server before it is tried.
///
/// # Errors
/// The server can't be reached, closes the connection or takes too long; or the request's body ends early, is too long or too
/// slow. The job is settled by then.
pub async fn exchange(
    connections: &Arc<Connections>,
    errand: Errand,
    head: request::Parts,
    body: RequestBody,
    mut tries: impl FnMut(&Arc<UpstreamServer>),
) -> Result<Answered, Failure> {
    let clock = connections.clock();
    let mut progress = Arc::clone(body.progress());
    let since = match &errand {
        Errand::Metered { permit, .. } => permit.since(),
        Errand::Unmetered { .. } => clock.now(),
    };
    let mut aim = Aim::find(errand)?;
    let deadline = since + aim.upstream.settings.load().timeout.into();
    let mut request = framed(head, body);
    loop {
        tries(&aim.server);
        let mut connection = match aim.connect(connections).await {
            Ok(connection) => connection,
            Err(error) if is_local_error(&error) => return Err(aim.errand.failed(UNREACHABLE)),
            Err(error) => {
                aim = aim
                    .retry_elsewhere(connections, deadline, ServerFailure::Connect, &error)
                    .await
                    .map_err(Failure::Refused)?;
                continue;
            }
        };
        request.headers_mut().insert(header::HOST, aim.authority());
        let used = connection.used;
        let answer = Box::pin(connection.sender.try_send_request(request));
        let mut flight = Flight(Some(Flying {
            connections: Arc::clone(connections),
            connection,
            answer,
            aim,
            progress,
            deadline,
        }));
        let outcome = flight.0.as_mut().expect("set above").head().await;
        let in_flight = flight.0.take().expect("set above, and taken nowhere else");
        match outcome {
            Ok(response) => return in_flight.answered(response, since).await,
            Err(Trouble::Unsent(unsent)) => {
                (aim, progress, request) = (in_flight.aim, in_flight.progress, *unsent);
                // A failure on a reused connection says nothing about the server, which may just have closed it; one on a new
                // connection does.
                if !used {
                    aim = aim
                        .retry_elsewhere(connections, deadline, ServerFailure::Broken, &BrokenOff)
                        .await
                        .map_err(Failure::Refused)?;
                }
            }
            Err(Trouble::Broken) => return Err(in_flight.failed(Refusal::UpstreamFailed)),
            Err(Trouble::Timeout) => return Err(in_flight.failed(Refusal::UpstreamTimeout)),
        }
    }
}

/// The request, chunked if its length is unknown: otherwise hyper would send no body with a GET or HEAD.
fn framed(head: request::Parts, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::from_parts(head, body);
    if request.body().size_hint().exact().is_none() {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(header::TRANSFER_ENCODING, chunked);
    }
    request
}

/// Whether a connection failed for lack of tiergate's own resources, such as descriptors: no server is at fault.
fn is_local_error(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let scarce = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    Errno::from_io_error(error).is_some_and(|error| scarce.contains(&error))
}

impl Errand {
    /// Ends the job without an answer.
    fn failed(self, refusal: Refusal) -> Failure {
        if let Self::Metered { permit, .. } = self {
            permit.settle(Outcome::Failed, 0);
        }
        Failure::Refused(refusal)
    }
}

/// The errand with its server.
#[derive(Debug)]
struct Aim {
    errand: Errand,
    upstream: Arc<Upstream>,
    server: Arc<UpstreamServer>,
    /// Whether this is the second server.
    retried: bool,
}

impl Aim {
    /// Chooses the server.
    ///
    /// # Errors
    /// The upstream has no servers left; the job is settled.
    fn find(errand: Errand) -> Result<Self, Failure> {
        let upstream = Arc::clone(match &errand {
            Errand::Metered { upstream, .. } | Errand::Unmetered { upstream, .. } => upstream,
        });
        let server = match &errand {
            Errand::Metered { permit, .. } => upstream.server(permit.server()),
            Errand::Unmetered { .. } => upstream.next_server(None),
        };
        match server {
            Some(server) => Ok(Self {
                errand,
                upstream,
                server,
                retried: false,
            }),
            None => Err(errand.failed(UNREACHABLE)),
        }
    }

    fn authority(&self) -> HeaderValue {
        self.server.authority.clone()
    }

    /// A connection to its server.
    async fn connect(&self, connections: &Connections) -> io::Result<UpstreamConnection> {
        connections
            .get(&self.upstream, &self.server)
            .await
            .inspect_err(|error| {
                let server = self.server.name();
                debug!(server, %error, "connecting to the upstream server failed");
            })
    }

    /// The server can't be reached: it is marked down, and the request moves to another server, once (rules §2.7).
    async fn retry_elsewhere(
        self,
        connections: &Connections,
        deadline: Timestamp,
        kind: ServerFailure,
        why: &impl fmt::Display,
    ) -> Result<Self, Refusal> {
        let Self {
            errand,
            upstream,
            server,
            retried,
        } = self;
        server.health.note(kind, why, connections.clock().wall());
        let unreachable = || upstream.unreachable(connections.clock().now());
        let (errand, other) = match errand {
            Errand::Metered {
                permit,
                upstream,
                on_hangup,
                success,
            } => {
                let mark_down = || server.health.mark_down(why);
                let permit = relocate(permit, retried, connections.clock(), deadline, mark_down).await;
                let permit = permit.ok_or_else(unreachable)?;
                let other = upstream.server(permit.server());
                let errand = Errand::Metered {
                    permit,
                    upstream,
                    on_hangup,
                    success,
                };
                (errand, other)
            }
            Errand::Unmetered { .. } => {
                server.health.mark_down(why);
                (errand, upstream.next_server(Some(&server)).filter(|_| !retried))
            }
        };
        let Some(server) = other else {
            errand.failed(unreachable());
            return Err(unreachable());
        };
        Ok(Self {
            errand,
            upstream,
            server,
            retried: true,
        })
    }
}

/// Moves the job to a slot of another server, at once or by the deadline; otherwise the job fails and ends.
async fn relocate(
    permit: Permit,
    retried: bool,
    clock: Clock,
    deadline: Timestamp,
    mark_down: impl FnOnce(),
) -> Option<Permit> {
    let relocated = if retried {
        permit.server_down();
        Relocated::Nowhere(permit)
    } else {
        permit.relocate()
    };
    // Mark the server down only after its slots were taken away: otherwise it could recover in between, and its slots would be
    // given back too early and never again.
    mark_down();
    match relocated {
        Relocated::To(permit) => Some(permit),
        Relocated::Waits(mut moving) => tokio::select! {
            biased;
            permit = &mut moving => Some(permit),
            () = clock.sleep_until(deadline) => {
                moving.settle(Outcome::Failed);
                None
            }
        },
        Relocated::Nowhere(permit) => {
            permit.settle(Outcome::Failed, 0);
            None
        }
    }
}

type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// A request in flight.
struct Flying {
    connections: Arc<Connections>,
    connection: UpstreamConnection,
    answer: Pin<Box<dyn Future<Output = Sent> + Send>>,
    aim: Aim,
    progress: Arc<UploadProgress>,
    deadline: Timestamp,
}

enum Trouble {
    /// No byte was sent.
    Unsent(Box<Request<RequestBody>>),
    Broken,
    Timeout,
}

impl Flying {
    /// Waits for the head of the answer.
    async fn head(&mut self) -> Result<Response<Incoming>, Trouble> {
        let clock = self.connections.clock();
        let (first_byte_timeout, timeout) = {
            let settings = self.aim.upstream.settings.load();
            (settings.first_byte_timeout, settings.timeout)
        };
        let first_byte = async {
            self.progress.complete().await;
            clock.sleep(first_byte_timeout.into()).await;
        };
        let answer = tokio::select! {
            biased;
            answer = &mut self.answer => answer,
            () = clock.sleep_until(self.deadline) => return Err(Trouble::Timeout),
            () = first_byte, if first_byte_timeout < timeout => return Err(Trouble::Timeout),
        };
        match answer {
            // `Upgrade` is never sent, so the server sent this unasked. What follows isn't HTTP, and no client may read it.
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => Err(Trouble::Broken),
            Ok(response) => Ok(response),
            Err(mut error) => {
                debug!(error = %error.error(), "no answer from the upstream server");
                let unsent = error.take_message();
                Err(unsent.map_or(Trouble::Broken, |unsent| Trouble::Unsent(Box::new(unsent))))
            }
        }
    }

    async fn answered(self, response: Response<Incoming>, since: Timestamp) -> Result<Answered, Failure> {
        let took = self.connections.clock().now().since(since);
        let (head, body) = response.into_parts();
        let handed_over = self.into_ending(head.status.as_u16(), body).hand_over().await;
        let body = handed_over.map_err(Failure::Refused)?;
        Ok(Answered { head, body, took })
    }

    /// What is left to do once the head has arrived.
    fn into_ending(self, status: u16, body: Incoming) -> Ending {
        let Self {
            connections,
            connection,
            aim,
            progress,
            deadline,
            ..
        } = self;
        let Aim {
            errand,
            upstream,
            server,
            ..
        } = aim;
        let tail = Tail {
            connection,
            connections,
            upstream,
            server,
            progress,
            deadline,
        };
        let kept = match errand {
            Errand::Unmetered { permit, .. } => Kept::Unmetered { _permit: permit },
            Errand::Metered {
                permit,
                on_hangup,
                success,
                ..
            } => Kept::Job {
                permit,
                status,
                succeeded: success.contains(&status),
                on_hangup,
            },
        };
        Ending { body, tail, kept }
    }

    /// Ends the job without an answer, by whose fault it was.
    fn failed(self, refusal: Refusal) -> Failure {
        let fault = self.progress.fault();
        let slow = refusal == Refusal::UpstreamTimeout && self.progress.waits_for_client();
        let (outcome, failure) = match fault {
            Some(UploadError::ClientGone) => (Outcome::Cancelled, Failure::ClientGone),
            Some(UploadError::Malformed) => (Outcome::Cancelled, Failure::Refused(malformed_body())),
            Some(UploadError::TooLong { limit }) => {
                (Outcome::Cancelled, Failure::Refused(Refusal::BodyTooLarge { limit }))
            }
            Some(UploadError::TooSlow) => (Outcome::Cancelled, Failure::Refused(Refusal::RequestTimeout(SLOW_BODY))),
            // Its file can't be read back.
            Some(UploadError::TooMany) => (Outcome::Failed, Failure::Refused(Refusal::TooManyUploads)),
            None if slow => (Outcome::Cancelled, Failure::Refused(Refusal::RequestTimeout(SLOW_BODY))),
            None => {
                let kind = match refusal {
                    Refusal::UpstreamTimeout => ServerFailure::Timeout,
                    _ => ServerFailure::Broken,
                };
                let at = self.connections.clock().wall();
                self.aim.server.health.failed(kind, at);
                (Outcome::Failed, Failure::Refused(refusal))
            }
        };
        if let Errand::Metered { permit, .. } = self.aim.errand {
            permit.settle(outcome, 0);
        }
        failure
    }

    /// Continues the job after the client is gone.
    async fn finish(mut self) {
        match self.head().await {
            Ok(response) => {
                let (head, body) = response.into_parts();
                self.into_ending(head.status.as_u16(), body).drain().await;
            }
            Err(Trouble::Timeout) => drop(self.failed(Refusal::UpstreamTimeout)),
            Err(Trouble::Broken | Trouble::Unsent(_)) => drop(self.failed(Refusal::UpstreamFailed)),
        }
    }

    fn continues(&self) -> bool {
        matches!(
            &self.aim.errand,
            Errand::Metered {
                on_hangup: OnHangup::Finish,
                ..
            }
        )
    }
}

/// The refusal for a body that can't be decoded.
pub fn malformed_body() -> Refusal {
    Refusal::BadRequest("the request's body has invalid HTTP/1.1 framing".into())
}

/// The refusal text for a body that arrives too slowly.
pub const SLOW_BODY: &str = "the request's body arrived too slowly";

/// A request in flight. If it is dropped with its client's connection, it continues where it should.
struct Flight(Option<Flying>);

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(in_flight) = self.0.take()
            && in_flight.continues()
        {
            let tasks = in_flight.connections.tasks.clone();
            tasks.spawn(in_flight.finish());
        }
    }
}
