//! The bytes of a connection as hyper understands them, over a connection in memory and without a runtime.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri};
use http_body::Body as _;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;

use crate::conversation::{Conversation, End, Field, Message};

/// A socket whose peer has sent these bytes.
struct Socket<'a> {
    input: &'a [u8],
    /// Whether the peer sends nothing before it is written to.
    waits: bool,
    /// Whether the peer closes after its bytes.
    closes: bool,
}

impl Read for Socket<'_> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let socket = self.get_mut();
        if socket.waits {
            return Poll::Pending;
        }
        let len = socket.input.len().min(buffer.remaining());
        let (now, later) = socket.input.split_at(len);
        buffer.put_slice(now);
        socket.input = later;
        if len > 0 || socket.closes {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }
}

impl Write for Socket<'_> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if std::mem::take(&mut self.waits) {
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Notes that something is to be polled again.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The oracle, with the waker that all its connections share.
pub struct Hyper {
    woken: Arc<Woken>,
    waker: Waker,
}

impl Default for Hyper {
    fn default() -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        Self {
            waker: Waker::from(woken.clone()),
            woken,
        }
    }
}

impl Hyper {
    fn was_woken(&self) -> bool {
        self.woken.0.swap(false, Ordering::Relaxed)
    }

    /// The requests of a client that sends these bytes and then waits.
    pub fn requests(&self, input: &[u8]) -> Conversation {
        let messages = Rc::new(RefCell::new(Vec::new()));
        let service = service_fn(|request: Request<Incoming>| {
            let messages = Rc::clone(&messages);
            async move {
                let (head, body) = request.into_parts();
                let (subject, target) = (head.method.as_str().as_bytes().to_vec(), target(&head.uri));
                let message = Message {
                    subject,
                    target,
                    fields: fields(&head.headers),
                    ..Message::default()
                };
                messages.borrow_mut().push(message);
                let collected = Collect { body, messages }.await;
                collected.map(|()| Response::new(Empty::<Bytes>::new()))
            }
        });
        let socket = Socket {
            input,
            waits: false,
            closes: false,
        };
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder
            .header_read_timeout(None)
            .auto_date_header(false)
            .pipeline_flush(true);
        let mut connection = pin!(builder.serve_connection(socket, service));
        let mut context = Context::from_waker(&self.waker);
        let end = loop {
            match connection.as_mut().poll(&mut context) {
                Poll::Ready(Ok(())) => break End::Closed,
                Poll::Ready(Err(error)) => break End::Refused(format!("{error:?}")),
                Poll::Pending if self.was_woken() => {}
                Poll::Pending => break End::Open,
            }
        };
        let messages = messages.take();
        Conversation { messages, end, used: 0 }
    }

    /// The response of a server that sends these bytes and closes.
    pub fn response(&self, input: &[u8], method: &str) -> Conversation {
        let socket = Socket {
            input,
            waits: true,
            closes: true,
        };
        let mut context = Context::from_waker(&self.waker);
        let builder = hyper::client::conn::http1::Builder::new();
        let handshake = pin!(builder.handshake::<_, Empty<Bytes>>(socket)).poll(&mut context);
        let Poll::Ready(Ok((mut sender, mut connection))) = handshake else {
            panic!("an HTTP/1 client has nothing to wait for");
        };
        let request = Request::builder()
            .method(method)
            .uri("/")
            .body(Empty::new())
            .expect("a request");
        let mut exchange = pin!(sender.send_request(request));
        let messages = Rc::new(RefCell::new(Vec::new()));
        let (mut collect, mut served) = (None, false);
        let end = loop {
            if !served {
                served = Pin::new(&mut connection).poll(&mut context).is_ready();
            }
            if collect.is_none() {
                match exchange.as_mut().poll(&mut context) {
                    Poll::Ready(Ok(response)) => {
                        let (head, body) = response.into_parts();
                        let subject = head.status.as_str().as_bytes().to_vec();
                        let fields = fields(&head.headers);
                        messages.borrow_mut().push(Message {
                            subject,
                            fields,
                            ..Message::default()
                        });
                        collect = Some(Box::pin(Collect {
                            body,
                            messages: Rc::clone(&messages),
                        }));
                        continue;
                    }
                    Poll::Ready(Err(error)) => break End::Refused(format!("{error:?}")),
                    Poll::Pending => {}
                }
            }
            match collect.as_mut().map(|collect| collect.as_mut().poll(&mut context)) {
                Some(Poll::Ready(Ok(()))) => break End::Closed,
                Some(Poll::Ready(Err(error))) => break End::Refused(format!("{error:?}")),
                _ if self.was_woken() => {}
                _ => break End::Open,
            }
        };
        drop(collect);
        let parts = connection.into_parts();
        let used = input.len() - parts.io.input.len() - parts.read_buf.len();
        let messages = messages.take();
        Conversation { messages, end, used }
    }
}

/// Reads a body into the last message.
struct Collect {
    body: Incoming,
    messages: Rc<RefCell<Vec<Message>>>,
}

impl Future for Collect {
    type Output = Result<(), hyper::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(context));
            let mut messages = self.messages.borrow_mut();
            let message = messages.last_mut().expect("pushed with its head");
            match frame {
                None => {
                    message.complete = true;
                    return Poll::Ready(Ok(()));
                }
                Some(Err(error)) => return Poll::Ready(Err(error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => message.body.extend_from_slice(&data),
                    Err(frame) => message.trailers = fields(&frame.into_trailers().expect("data or trailers")),
                },
            }
        }
    }
}

fn fields(fields: &HeaderMap) -> Vec<Field> {
    let one = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().as_bytes().to_vec(), value.as_bytes().to_vec())
    };
    fields.iter().map(one).collect()
}

/// The target as it was sent, without the scheme.
fn target(uri: &Uri) -> Vec<u8> {
    let authority = uri
        .authority()
        .map(|authority| format!("//{authority}"))
        .unwrap_or_default();
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let slash = if path.starts_with(['/', '*']) { "" } else { "/" };
    format!("{authority}{slash}{path}").into_bytes()
}
