//! A proxy in memory: what it makes of a client's bytes, and sends on.

use tiergate_http1::{
    BodyDecoder, BodyError, ChunkLimits, Field, Framing, HeadLimits, LAST_CHUNK, NameSet, Names, Piece, RequestHead,
    write_chunk, write_content_length, write_field,
};

const LIMITS: HeadLimits = HeadLimits {
    head_bytes_max: 64 << 10,
    target_bytes_max: 32 << 10,
    fields_max: 100,
};

/// Bytes of which a part has arrived.
struct Arriving<'a> {
    input: &'a [u8],
    begin: usize,
    end: usize,
    step: usize,
}

impl<'a> Arriving<'a> {
    fn now(&self) -> &'a [u8] {
        &self.input[self.begin..self.end]
    }

    /// Whether there was more.
    fn more(&mut self) -> bool {
        let end = self.end.saturating_add(self.step).min(self.input.len());
        std::mem::replace(&mut self.end, end) < end
    }
}

/// What a proxy that is built on this crate sends to its server when these bytes arrive, `step` at a time, and why it stops:
/// `idle`, `head` or `body` if it awaits more, `closed` after the last request, or the name of an error.
pub fn forward_by(input: &[u8], step: usize) -> (Vec<u8>, String) {
    let mut bytes = Arriving {
        input,
        begin: 0,
        end: 0,
        step,
    };
    let (mut out, mut head) = (Vec::new(), RequestHead::new());
    loop {
        head.clear();
        let len = loop {
            match head.parse(bytes.now(), Names::own(), &LIMITS) {
                Ok(Some(len)) => break len,
                Ok(None) if bytes.more() => {}
                Ok(None) => {
                    return (
                        out,
                        if bytes.now().is_empty() {
                            "idle".into()
                        } else {
                            "head".into()
                        },
                    );
                }
                Err(error) => return (out, format!("{error:?}")),
            }
        };
        write_head(&head, bytes.now(), &mut out);
        bytes.begin += len;
        match forward_body(&mut bytes, head.framing(), &mut out) {
            Ok(true) if head.persists() => {}
            Ok(true) => return (out, "closed".into()),
            Ok(false) => return (out, "body".into()),
            Err(error) => return (out, format!("{error:?}")),
        }
    }
}

fn write_head(head: &RequestHead, buffer: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(head.method_bytes(buffer));
    out.push(b' ');
    head.write_target(buffer, out);
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(out, b"host", head.host(buffer).unwrap_or(b"default"));
    let keep = |field: &Field| !NameSet::REWRITTEN.contains(field.known()) && !field.is_nominated();
    head.fields().copy(buffer, out, keep);
    match head.framing() {
        Framing::Length(length) => write_content_length(out, length),
        Framing::Chunked => write_field(out, b"transfer-encoding", b"chunked"),
        Framing::None | Framing::UntilClose => {}
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether the body is complete.
fn forward_body(bytes: &mut Arriving<'_>, framing: Framing, out: &mut Vec<u8>) -> Result<bool, BodyError> {
    let mut decoder = BodyDecoder::new(framing, ChunkLimits::default());
    loop {
        let now = bytes.now();
        match decoder.next(now)? {
            Piece::Data(range) => {
                bytes.begin += range.end;
                match framing {
                    Framing::Chunked => write_chunk(out, &now[range]),
                    _ => out.extend_from_slice(&now[range]),
                }
            }
            Piece::End(used) => {
                bytes.begin += used;
                if framing == Framing::Chunked {
                    out.extend_from_slice(LAST_CHUNK);
                }
                return Ok(true);
            }
            Piece::More => {
                bytes.begin = bytes.end;
                if !bytes.more() {
                    return Ok(false);
                }
            }
        }
    }
}
