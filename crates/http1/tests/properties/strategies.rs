//! Heads and bodies, right and nearly right.

use proptest::prelude::*;
use proptest::sample::{Index, select};

pub type Cuts = Vec<Index>;

/// Where bytes are divided, up to eight times.
pub fn cuts() -> impl Strategy<Value = Cuts> {
    prop::collection::vec(any::<Index>(), 0..8)
}

/// Texts put together, and sometimes a byte changed.
fn soup(parts: Vec<&'static [u8]>, number: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), any::<u8>()), 0..2);
    (prop::collection::vec(select(parts), number), changes).prop_map(|(parts, changes)| {
        let mut bytes = parts.concat();
        for (at, byte) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        bytes
    })
}

/// The beginning of a connection in either direction: often a head, often not quite.
pub fn head() -> impl Strategy<Value = Vec<u8>> {
    let start = select(vec![
        "GET /a?b HTTP/1.1\r\nHost: h\r\n",
        "POST http://h/ HTTP/1.0\r\n",
        "\r\nOPTIONS * HTTP/1.1\r\nHost: h\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.0 404\r\n",
        "",
    ]);
    let lines: Vec<&[u8]> = vec![
        b"A: b\r\n",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: a, close\r\n",
        b"X: \xff\t \r\n",
        b"Y:\r\n",
        b"Some-Longer-Name_of-a-field: and a value that is longer than sixteen bytes\r\n",
        b"A : b\r\n",
        b" c\r\n",
        b"X: \r",
        b"\n",
        b"X",
        b"\0",
    ];
    let right = soup(lines[..7].to_vec(), 0..5);
    let any = soup(lines, 0..5);
    let end = select(vec!["\r\n", "\r\n", "\r\nrest", "\r", ""]);
    (start, prop_oneof![3 => right, 1 => any], end)
        .prop_map(|(start, lines, end)| [start.as_bytes(), &lines, end.as_bytes()].concat())
}

/// A chunked body: often right, often not quite.
pub fn chunked_soup() -> impl Strategy<Value = Vec<u8>> {
    let right: Vec<&[u8]> = vec![
        b"3\r\nabc\r\n",
        b"1;a=b\r\n\n\r\n",
        b"0a \t; a = \"b\\\"c\" ;d\r\n0123456789\r\n",
        b"02;x\r\n\r\n\r\n",
    ];
    let mut any = right.clone();
    any.extend_from_slice(&[
        b"5\r\nab",
        b"3;\r\nabc\r\n",
        b"0\r\n",
        b"3\nabc\r\n",
        b";a",
        b"\"",
        b"\r\n",
        b"7fffffffffffffff\r\n",
        b"10000000000000000",
        b" ",
        b"=",
        b"0\r\n\r\n",
        b"00000000000000000\r\n",
        b";long-extension-name-of-thirty-bytes",
        b"\\",
        b"f",
    ]);
    let end: Vec<&[u8]> = vec![
        b"0\r\n\r\n", b"0;a\r\n\r\nrest", b"0\r\nA: b\r\n\r\n", b"0\r\nA: b\r\nC:\td\r\n\r\nrest", b"0\r\nA: b\r\n c\r\n\r\n", b"0\r\nA\r\n\r\n",
        b"0\r\nA: b\n\r\n", b"0\r\nA: b\rc\r\n\r\n", b"0\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\n\r\n", b"0\r\n", b"0\r\nA: b\r\n",
        b"0\r\nA: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n\r\n",
    ];
    let body = prop_oneof![2 => soup(right, 0..4), 1 => soup(any, 0..4)];
    (body, select(end)).prop_map(|(body, end)| [&body, end].concat())
}

/// A chunk that is right.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub data: Vec<u8>,
    /// Leading zeros of its size.
    pub zeros: usize,
    pub extension: String,
}

pub fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
    let extension = select(vec!["", "", "", ";a", ";a=b", "\t;a=\"\\\"\"", " ; a = b;c"]);
    let data = prop::collection::vec(any::<u8>(), 1..300);
    let chunk = (data, 0..5_usize, extension);
    let chunk = chunk.prop_map(|(data, zeros, extension)| Chunk {
        data,
        zeros,
        extension: extension.into(),
    });
    prop::collection::vec(chunk, 0..6)
}

/// The body and its data.
pub fn written(chunks: &[Chunk]) -> (Vec<u8>, Vec<u8>) {
    let (mut body, mut data) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let size = format!(
            "{}{:x}{}\r\n",
            "0".repeat(chunk.zeros),
            chunk.data.len(),
            chunk.extension
        );
        body.extend_from_slice(size.as_bytes());
        body.extend_from_slice(&chunk.data);
        body.extend_from_slice(b"\r\n");
        data.extend_from_slice(&chunk.data);
    }
    body.extend_from_slice(b"0\r\n\r\n");
    (body, data)
}

/// A request head that is right.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: Option<String>,
    pub length: Option<u64>,
    /// Names, and values without whitespace around them; a length is among them.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Whitespace around each value.
    space: (String, String),
}

impl Request {
    pub fn written(&self) -> Vec<u8> {
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        let start = format!("{} {}{query} HTTP/1.1\r\nHost: h.example\r\n", self.method, self.path);
        let mut bytes = start.into_bytes();
        for (name, value) in &self.fields {
            let (before, after) = (self.space.0.as_bytes(), self.space.1.as_bytes());
            bytes.extend_from_slice(&[name.as_bytes(), b":", before, value, after, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

pub fn request() -> impl Strategy<Value = Request> {
    let visible = |not: &'static str| {
        let bytes: Vec<char> = (0x21..=0x7e_u8)
            .map(char::from)
            .filter(|byte| !not.contains(*byte))
            .collect();
        prop::collection::vec(select(bytes), 0..40).prop_map(String::from_iter)
    };
    let method = prop_oneof![
        select(vec!["GET", "HEAD", "POST"]).prop_map(str::to_owned),
        "[A-Z!#$%&'*+.^_`|~-]{1,32}"
    ];
    let method = method.prop_filter("a gateway has no tunnels", |method| method != "CONNECT");
    // Names of the engine's own fields have rules of their own.
    let name = "X-[A-Za-z0-9!#$%&'*+.^_`|~-]{0,24}";
    let value = prop::collection::vec(prop_oneof![Just(b'\t'), 0x20..=0x7e_u8, 0x80..=0xff_u8], 0..60);
    let value = value.prop_map(|value| {
        let text = |byte: &u8| !matches!(byte, b' ' | b'\t');
        let begin = value.iter().position(text).unwrap_or(value.len());
        let end = value.iter().rposition(text).map_or(begin, |last| last + 1);
        value[begin..end].to_vec()
    });
    let fields = prop::collection::vec((name, value), 0..12);
    let length = prop::option::of(0..=i64::MAX as u64);
    let space = ("[ \t]{0,3}", "[ \t]{0,3}");
    let target = (visible("#?"), prop::option::of(visible("#")));
    (method, target, fields, length, space).prop_map(|(method, (path, query), mut fields, length, space)| {
        if let Some(length) = length {
            fields.insert(
                fields.len() / 2,
                ("content-length".into(), length.to_string().into_bytes()),
            );
        }
        Request {
            method,
            path: format!("/{path}"),
            query,
            length,
            fields,
            space,
        }
    })
}
