//! A decoder of the chunked coding that is plainly right: it has the whole body, and takes it apart line by line.

use tiergate_http1::ChunkLimits;

#[derive(Debug, PartialEq, Eq)]
pub enum Model {
    /// Data, trailer lines and bytes used.
    Complete(Vec<u8>, Vec<u8>, usize),
    Incomplete,
    Wrong,
}

pub fn decode(body: &[u8], limits: ChunkLimits) -> Model {
    let (mut data, mut at, mut extensions) = (Vec::new(), 0, 0);
    loop {
        let Some(line) = line(&body[at..]) else {
            return Model::Incomplete;
        };
        let Some((size, extension)) = size_line(line) else {
            return Model::Wrong;
        };
        // The CR after an extension counts as part of it.
        extensions += if extension.is_empty() { 0 } else { extension.len() + 1 };
        if extensions > limits.extension_bytes_max as usize {
            return Model::Wrong;
        }
        at += line.len() + 2;
        if size == 0 {
            return trailers(body, at, data, limits);
        }
        let Some(chunk) = body.get(at..).and_then(|rest| rest.get(..usize::try_from(size).ok()?)) else {
            return Model::Incomplete;
        };
        data.extend_from_slice(chunk);
        at += chunk.len();
        match &body[at..] {
            [] | [b'\r'] => return Model::Incomplete,
            [b'\r', b'\n', ..] => at += 2,
            _ => return Model::Wrong,
        }
    }
}

/// Up to the first CR LF.
fn line(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.windows(2).position(|end| end == b"\r\n")?;
    Some(&bytes[..len])
}

/// The size and the text of the extensions.
fn size_line(line: &[u8]) -> Option<(u64, &[u8])> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extensions) = line.split_at(digits);
    if digits == 0 || digits > 16 {
        return None;
    }
    let size = u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
    let mut rest = extensions;
    while !rest.is_empty() {
        rest = extension(rest)?;
    }
    (size <= i64::MAX as u64).then_some((size, extensions))
}

/// Takes one extension off: BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ].
fn extension(text: &[u8]) -> Option<&[u8]> {
    let text = spaces(text).strip_prefix(b";")?;
    let text = token(spaces(text))?;
    let Some(value) = spaces(text).strip_prefix(b"=") else {
        return Some(text);
    };
    let value = spaces(value);
    match value.strip_prefix(b"\"") {
        Some(quoted) => rest_of_quoted(quoted),
        None => token(value),
    }
}

fn spaces(text: &[u8]) -> &[u8] {
    let len = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[len..]
}

fn token(text: &[u8]) -> Option<&[u8]> {
    let tchar = |byte: &&u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let len = text.iter().take_while(tchar).count();
    (len > 0).then(|| &text[len..])
}

fn rest_of_quoted(mut text: &[u8]) -> Option<&[u8]> {
    let plain = |byte: u8| byte == b'\t' || byte >= b' ' && byte != 0x7f;
    loop {
        match text {
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', escaped, rest @ ..] if plain(*escaped) => text = rest,
            [byte, rest @ ..] if plain(*byte) && *byte != b'\\' => text = rest,
            _ => return None,
        }
    }
}

fn trailers(body: &[u8], begin: usize, data: Vec<u8>, limits: ChunkLimits) -> Model {
    let (mut at, mut number) = (begin, 0);
    loop {
        let Some(line) = line(&body[at..]) else {
            return Model::Incomplete;
        };
        at += line.len() + 2;
        if at - begin > limits.trailer_bytes_max as usize {
            return Model::Wrong;
        }
        if line.is_empty() {
            return Model::Complete(data, body[begin..at - 2].to_vec(), at);
        }
        number += 1;
        let clean = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7f;
        let colon = token(line).is_some_and(|rest| rest.starts_with(b":"));
        if number > limits.trailers_max || !colon || !line.iter().all(clean) {
            return Model::Wrong;
        }
    }
}
