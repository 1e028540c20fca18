//! The bytes of a connection as this crate understands them.

use tiergate_http1::{
    BodyDecoder, ChunkLimits, Fields, Framing, HeadLimits, Method, Names, Piece, RequestHead, ResponseHead, TargetForm,
};

use crate::conversation::{Conversation, End, Message};

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 64 << 10,
    target_bytes_max: 32 << 10,
    fields_max: 100,
};

/// The storage that a connection keeps.
#[derive(Default)]
pub struct Engine {
    request: RequestHead,
    response: ResponseHead,
}

/// Bytes of which a part has arrived, the rest in pieces of `step`.
struct Arriving<'a> {
    input: &'a [u8],
    begin: usize,
    end: usize,
    step: usize,
}

impl<'a> Arriving<'a> {
    fn new(input: &'a [u8], step: usize) -> Self {
        Self {
            input,
            begin: 0,
            end: 0,
            step: step.max(1),
        }
    }

    fn now(&self) -> &'a [u8] {
        &self.input[self.begin..self.end]
    }

    /// Whether there was more.
    fn more(&mut self) -> bool {
        let end = self.end.saturating_add(self.step).min(self.input.len());
        std::mem::replace(&mut self.end, end) < end
    }
}

impl Engine {
    /// The requests of a client that sends these bytes, `step` at a time, and then waits.
    pub fn requests(&mut self, input: &[u8], step: usize) -> Conversation {
        let mut bytes = Arriving::new(input, step);
        let mut messages = Vec::new();
        let end = loop {
            match self.request(&mut bytes, &mut messages) {
                Ok(true) => {}
                Ok(false)
                    if messages.last().is_some_and(|last: &Message| last.complete) && !self.request.persists() =>
                {
                    break End::Closed;
                }
                Ok(false) => break End::Open,
                Err(why) => break End::Refused(why),
            }
        };
        Conversation {
            messages,
            end,
            used: bytes.begin,
        }
    }

    /// The next request. Whether another may follow.
    fn request(&mut self, bytes: &mut Arriving<'_>, messages: &mut Vec<Message>) -> Result<bool, String> {
        let head = &mut self.request;
        head.clear();
        let len = loop {
            match head
                .parse(bytes.now(), Names::own(), &LIMITS)
                .map_err(|error| format!("{error:?}"))?
            {
                Some(len) => break len,
                None if bytes.more() => {}
                None => return Ok(false),
            }
        };
        let buffer = bytes.now();
        messages.push(Message {
            begin: bytes.begin,
            subject: head.method_bytes(buffer).to_vec(),
            target: target(head, buffer),
            fields: fields(head.fields(), buffer),
            ..Message::default()
        });
        bytes.begin += len;
        let framing = head.framing();
        Ok(body(bytes, framing, messages.last_mut().expect("just pushed"))? && head.persists())
    }

    /// The response of a server that sends these bytes, `step` at a time, and closes. Interim responses are skipped.
    pub fn response(&mut self, input: &[u8], step: usize, method: &str) -> Conversation {
        let mut bytes = Arriving::new(input, step);
        let mut messages = Vec::new();
        let end = match self.final_response(&mut bytes, Method::of(method.as_bytes()), &mut messages) {
            Ok(true) => End::Closed,
            Ok(false) => End::Open,
            Err(why) => End::Refused(why),
        };
        Conversation {
            messages,
            end,
            used: bytes.begin,
        }
    }

    /// Whether the response is complete.
    fn final_response(
        &mut self,
        bytes: &mut Arriving<'_>,
        method: Method,
        messages: &mut Vec<Message>,
    ) -> Result<bool, String> {
        let head = &mut self.response;
        let (begin, buffer) = loop {
            head.clear();
            let len = loop {
                match head
                    .parse(bytes.now(), Names::own(), &LIMITS)
                    .map_err(|error| format!("{error:?}"))?
                {
                    Some(len) => break len,
                    None if bytes.more() => {}
                    None => return Ok(false),
                }
            };
            let (begin, buffer) = (bytes.begin, bytes.now());
            bytes.begin += len;
            if !(100..200).contains(&head.status()) || head.status() == 101 {
                break (begin, buffer);
            }
        };
        let framing = head.framing(method).map_err(|error| format!("{error:?}"))?;
        messages.push(Message {
            begin,
            subject: head.status().to_string().into_bytes(),
            fields: fields(head.fields(), buffer),
            ..Message::default()
        });
        body(bytes, framing.body, messages.last_mut().expect("just pushed"))
    }
}

/// Reads the body. Whether it is complete.
fn body(bytes: &mut Arriving<'_>, framing: Framing, message: &mut Message) -> Result<bool, String> {
    let mut decoder = BodyDecoder::new(framing, ChunkLimits::default());
    loop {
        let now = bytes.now();
        match decoder.next(now).map_err(|error| format!("{error:?}"))? {
            Piece::Data(range) => {
                bytes.begin += range.end;
                message.body.extend_from_slice(&now[range]);
            }
            Piece::More => {
                bytes.begin += now.len();
                if !bytes.more() {
                    message.complete = decoder.close().is_ok();
                    return Ok(message.complete);
                }
            }
            Piece::End(used) => {
                bytes.begin += used;
                let trailers = Fields::parse(decoder.trailers(), Names::own()).expect("the decoder checked them");
                message.trailers = fields(&trailers, decoder.trailers());
                message.complete = true;
                return Ok(true);
            }
        }
    }
}

fn fields(fields: &Fields, buffer: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let one = |field: &tiergate_http1::Field| (field.name(buffer).to_ascii_lowercase(), field.value(buffer).to_vec());
    fields.iter().map(one).collect()
}

/// The target as it was sent.
fn target(head: &RequestHead, buffer: &[u8]) -> Vec<u8> {
    let mut target = Vec::new();
    if head.target_form() == TargetForm::Absolute {
        target.extend_from_slice(b"//");
        target.extend_from_slice(head.host(buffer).expect("absolute forms have one"));
    }
    target.extend_from_slice(head.path(buffer));
    if let Some(query) = head.query(buffer) {
        target.push(b'?');
        target.extend_from_slice(query);
    }
    target
}
