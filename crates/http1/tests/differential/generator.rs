//! Messages that are nearly right: built from parts of which some are wrong, and then disturbed.

/// A generator of numbers (SplitMix64): the same ones for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below that number.
    pub fn below(&mut self, number: usize) -> usize {
        (self.next() % number as u64) as usize
    }

    /// Once in that many times.
    fn once_in(&mut self, number: usize) -> bool {
        self.below(number) == 0
    }

    fn one<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
}

#[rustfmt::skip]
const METHODS: &[&str] = &[
    "GET", "POST", "HEAD", "OPTIONS", "PUT", "get", "M-SEARCH", "G^T", "DELETE",
];
#[rustfmt::skip]
const WRONG_METHODS: &[&str] = &[
    "", "G ET", "CONNECT", "PRI", "G\u{e9}T", "GET\t",
];
#[rustfmt::skip]
const TARGETS: &[&str] = &[
    "/", "/a/b?c=d", "/?", "//x", "/%2e%2e/", "/a?b?c", "http://h.example/p?q", "HTTP://h.example:80",
    "https://[::1]/", "/;=@:!$&'()*+,", "/a|b{c}", "/\"<>\\^`", "http://h.example?q", "/search?url=http://a/b",
];
#[rustfmt::skip]
const WRONG_TARGETS: &[&str] = &[
    "", "*", "a", "/a b", "/#f", "http://", "http:///p", "ftp://h/", "http://u@h/", "h.example:443", "/\u{e9}",
    "http://h:99999/",
];
#[rustfmt::skip]
const VERSIONS: &[&str] = &[
    "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0",
];
#[rustfmt::skip]
const WRONG_VERSIONS: &[&str] = &[
    "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1", "HTTP/1.10", "HTTP/01.1", "", "HTTP/1.1 ", "HTTP/9.9",
];
#[rustfmt::skip]
const FIELDS: &[&str] = &[
    "Accept: */*", "X: \tvalue \t", "X-Empty:", "X_Under: 1", "a: b", "!#$%&'*+-.^_`|~: token", "X-Obs: \u{e9}",
    "Connection: close", "Connection: keep-alive", "Connection: close, keep-alive", "Connection: X, TE",
    "TE: trailers", "Trailer: X", "Upgrade: websocket", "Expect: 100-continue", "Keep-Alive: timeout=5",
    "Via: 1.1 a", "Cookie: a=b; c=d", "Content-Type: text/plain", "Host2: x", "X-Tab: a\tb", "Accept: second",
];
#[rustfmt::skip]
const WRONG_FIELDS: &[&str] = &[
    "X : y", " folded", "\tfolded", "nothing", ": empty", "X\u{e9}: y", "X: a\0b", "X: a\rb", "X: a\nb", "X: \x7f",
    "X: \x0b", "Host: two.example", "Connection: a b", "X-\0: y", "(x): y", "X\t: y", "\0",
    "Connection: ,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,",
];
#[rustfmt::skip]
const HOSTS: &[&str] = &[
    "h.example", "h.example:8080", "127.0.0.1", "[::1]:80", "", "H_o-st.example", "%41", "h:",
];
#[rustfmt::skip]
const WRONG_HOSTS: &[&str] = &[
    "a, b", "a b", "u@h", "[::1", "h:x", "h:99999", "\u{e9}", "h/x", "a,b",
];
#[rustfmt::skip]
const LENGTH_NAMES: &[&str] = &[
    "Content-Length", "content-length", "CONTENT-LENGTH", "Content-Length ", "Content_Length",
];
#[rustfmt::skip]
const LENGTHS: &[&str] = &[
    "0", "1", "3", "5", "05", "10", "5, 5", "5,5", "5, 6", "5,", ",5", "+5", "-5", "0x5", "5.0", "5 5", "",
    "9223372036854775807", "9223372036854775808", "18446744073709551615",
];
#[rustfmt::skip]
const CODING_NAMES: &[&str] = &[
    "Transfer-Encoding", "transfer-encoding", "TRANSFER-ENCODING", "Transfer-Encoding ", "Transfer_Encoding",
];
#[rustfmt::skip]
const CODINGS: &[&str] = &[
    "chunked", "chunked", "chunked", "Chunked", "CHUNKED", "gzip, chunked", "chunked, gzip", "chunked, chunked",
    "identity", "gzip", "chunked;q=1", "xchunked", "chunked,", ",chunked", "\"chunked\"", "", "chunked \t",
    "x;a=b, chunked", "\u{b}chunked", "chunked\0",
];
#[rustfmt::skip]
const SIZES: &[&str] = &[
    "0", "1", "3", "5", "a", "A", "05", "0000000000000005", "00000000000000005", "ffffffffffffffff",
    "7fffffffffffffff", "8000000000000000", "5 ", " 5", "0x5", "-1", "", "5g",
];
#[rustfmt::skip]
const EXTENSIONS: &[&str] = &[
    "", "", "", "", ";a", ";a=b", ";a=\"b c\\\"\"", " ; a = b", ";", ";=b", ";a=", ";a=\"", ";a b", ";a=\"\r\n\"",
    ";a\n", ";a\r", ";\u{e9}", ";a=b;c",
];
#[rustfmt::skip]
const TRAILERS: &[&str] = &[
    "X: y", "X-T: \tz ", "Host: h", "X : y", " folded", "X", "X: a\nb", "X: a\rb", ": y",
];
#[rustfmt::skip]
const LINE_ENDS: &[&str] = &[
    "\n", "\r", "\r\r\n", "\n\r",
];
const DISTURBANCES: &[u8] = b"\r\n\0\t :;,0159afxHC\"\\=\x0b\x7f\x80\xff";
#[rustfmt::skip]
const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 204 No Content",
    "HTTP/1.1 304 Not Modified", "HTTP/1.1 200", "HTTP/1.1 200 ", "HTTP/1.1 404 \u{e9}", "HTTP/1.1 599 x\ty",
    "HTTP/1.1 999 x",
];
#[rustfmt::skip]
const WRONG_STATUS_LINES: &[&str] = &[
    "HTTP/1.2 200 OK", "HTTP/2.0 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1  200 OK",
    "HTTP/1.1 099 x", "http/1.1 200 OK", "ICY 200 OK", "HTTP/1.1 101 Switching Protocols",
];
#[rustfmt::skip]
const INTERIM: &[&str] = &[
    "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    "HTTP/1.1 100\r\nContent-Length: 5\r\n\r\n",
];

/// The bytes of a client: one to three requests.
pub fn requests(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Most bytes should be understood, so that what follows a mistake is looked at too.
    let wrong_in = [15, 40, 200][random.below(3)];
    for _ in 0..=random.below(3) {
        if random.once_in(30) {
            bytes.extend_from_slice(random.one(&["\r\n", "\n", "\r\n\r\n", " "]).as_bytes());
        }
        let mut request_line = |right: &[&'static str], wrong: &[&'static str]| {
            let wrongly = random.once_in(wrong_in * 2);
            if wrongly { random.one(wrong) } else { random.one(right) }
        };
        let words = [
            request_line(METHODS, WRONG_METHODS),
            request_line(TARGETS, WRONG_TARGETS),
            request_line(VERSIONS, WRONG_VERSIONS),
        ];
        let space = if random.once_in(wrong_in * 6) {
            random.one(&["  ", "\t", "", "\r"])
        } else {
            " "
        };
        bytes.extend_from_slice(words.join(space).as_bytes());
        end_line(random, wrong_in, &mut bytes);
        if !random.once_in(wrong_in) {
            let host = if random.once_in(wrong_in) {
                random.one(WRONG_HOSTS)
            } else {
                random.one(HOSTS)
            };
            line(random, wrong_in, &mut bytes, &format!("Host: {host}"));
        }
        fields_and_body(random, wrong_in, &mut bytes);
    }
    disturb(random, &mut bytes);
    bytes
}

/// The bytes of a server: perhaps interim responses, and a response, after which something may follow.
pub fn response(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    let wrong_in = [15, 40, 200][random.below(3)];
    if random.once_in(60) {
        bytes.extend_from_slice(b"\r\n");
    }
    for _ in 0..random.below(4).saturating_sub(1) {
        bytes.extend_from_slice(random.one(INTERIM).as_bytes());
    }
    for _ in 0..=random.below(2) {
        let wrong = random.once_in(wrong_in);
        let status_line = if wrong {
            random.one(WRONG_STATUS_LINES)
        } else {
            random.one(STATUS_LINES)
        };
        line(random, wrong_in, &mut bytes, status_line);
        fields_and_body(random, wrong_in, &mut bytes);
    }
    disturb(random, &mut bytes);
    bytes
}

fn fields_and_body(random: &mut Random, wrong_in: usize, bytes: &mut Vec<u8>) {
    let before = random.below(4);
    fields(random, wrong_in, before, bytes);
    let (mut length, mut chunked) = (None, false);
    match random.below(8) {
        0..=2 => {}
        3 | 4 => length = length_line(random, wrong_in, bytes),
        5 | 6 => chunked = coding_line(random, wrong_in, bytes),
        _ => {
            for _ in 0..random.below(4) {
                if random.once_in(2) {
                    length = length_line(random, wrong_in, bytes).or(length);
                } else {
                    chunked |= coding_line(random, wrong_in, bytes);
                }
            }
        }
    }
    let after = random.below(3);
    fields(random, wrong_in, after, bytes);
    end_line(random, wrong_in, bytes);
    if chunked {
        chunks(random, wrong_in, bytes);
    } else if let Some(length) = length.filter(|length| *length < 100) {
        let length = if random.once_in(wrong_in) {
            random.below(12)
        } else {
            length
        };
        bytes.extend((0..length).map(|at| b"abcdefghij"[at % 10]));
    }
}

fn fields(random: &mut Random, wrong_in: usize, number: usize, bytes: &mut Vec<u8>) {
    for _ in 0..number {
        let text = if random.once_in(wrong_in * 2) {
            random.one(WRONG_FIELDS)
        } else {
            random.one(FIELDS)
        };
        line(random, wrong_in, bytes, text);
    }
}

/// A `Content-Length` line, and the length if it is one.
fn length_line(random: &mut Random, wrong_in: usize, bytes: &mut Vec<u8>) -> Option<usize> {
    let name = if random.once_in(wrong_in / 4) {
        random.one(LENGTH_NAMES)
    } else {
        LENGTH_NAMES[0]
    };
    let value = if random.once_in(wrong_in / 4) {
        random.one(LENGTHS)
    } else {
        LENGTHS[random.below(8)]
    };
    line(random, wrong_in, bytes, &format!("{name}: {value}"));
    value.split(',').next().and_then(|number| number.parse().ok())
}

/// A `Transfer-Encoding` line, and whether it says `chunked`.
fn coding_line(random: &mut Random, wrong_in: usize, bytes: &mut Vec<u8>) -> bool {
    let name = if random.once_in(wrong_in / 4) {
        random.one(CODING_NAMES)
    } else {
        CODING_NAMES[0]
    };
    let value = if random.once_in(wrong_in / 4) {
        random.one(CODINGS)
    } else {
        CODINGS[random.below(5)]
    };
    line(random, wrong_in, bytes, &format!("{name}: {value}"));
    value.to_ascii_lowercase().contains("chunked")
}

fn chunks(random: &mut Random, wrong_in: usize, bytes: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        let size = if random.once_in(wrong_in) {
            random.one(SIZES)
        } else {
            SIZES[random.below(8)]
        };
        let extension = if random.once_in(3) { random.one(EXTENSIONS) } else { "" };
        line(random, wrong_in, bytes, &format!("{size}{extension}"));
        let length = usize::from_str_radix(size, 16).unwrap_or_default().min(20);
        let length = if random.once_in(wrong_in) {
            random.below(8)
        } else {
            length
        };
        bytes.extend((0..length).map(|at| b"ABCDEFGHIJ"[at % 10]));
        end_line(random, wrong_in, bytes);
    }
    if !random.once_in(wrong_in) {
        line(random, wrong_in, bytes, "0");
        for _ in 0..random.below(3) {
            let trailer = if random.once_in(wrong_in / 2) {
                random.one(TRAILERS)
            } else {
                TRAILERS[random.below(3)]
            };
            line(random, wrong_in, bytes, trailer);
        }
        end_line(random, wrong_in, bytes);
    }
}

fn line(random: &mut Random, wrong_in: usize, bytes: &mut Vec<u8>, text: &str) {
    // What stands for a byte beyond ASCII in the lists above is sent as one byte.
    bytes.extend(text.chars().map(|character| character as u8));
    end_line(random, wrong_in, bytes);
}

fn end_line(random: &mut Random, wrong_in: usize, bytes: &mut Vec<u8>) {
    let end = if random.once_in(wrong_in * 12) {
        random.one(LINE_ENDS)
    } else {
        "\r\n"
    };
    bytes.extend_from_slice(end.as_bytes());
}

/// Changes a few bytes, in some of the cases.
fn disturb(random: &mut Random, bytes: &mut Vec<u8>) {
    if bytes.is_empty() || !random.once_in(3) {
        return;
    }
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        let byte = DISTURBANCES[random.below(DISTURBANCES.len())];
        match random.below(5) {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 if bytes.len() > 1 => {
                bytes.remove(at);
            }
            3 => bytes.truncate(at + 1),
            _ => bytes[at] ^= 1 << random.below(8),
        }
    }
}
