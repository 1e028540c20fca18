//! Slow and obviously right: how a path is spelled, and what a lenient upstream makes of one.
//!
//! Written apart from the crate and in another manner: everything is decoded into segments of bytes, nothing is
//! borrowed, nothing is clever. Shared by the property tests and the fuzz target.

/// A decoded path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    pub segments: Vec<Vec<u8>>,
    pub trailing_slash: bool,
}

/// Decodes once. `None` for a broken escape where `strict`; otherwise such a `%` stands for itself.
fn decode(bytes: &[u8], strict: bool) -> Option<Vec<u8>> {
    let hex = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16));
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            if let (Some(high), Some(low)) = (hex(at + 1), hex(at + 2)) {
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            if strict {
                return None;
            }
        }
        out.push(bytes[at]);
        at += 1;
    }
    Some(out)
}

/// Parts decoded bytes into segments and walks them.
fn walk(decoded: &[u8]) -> Slow {
    let parts: Vec<Vec<u8>> = decoded
        .split(|byte| *byte == b'/' || *byte == b'\\')
        .map(<[u8]>::to_vec)
        .collect();
    let mut segments = Vec::new();
    for part in &parts {
        if part == b".." {
            segments.pop();
        } else if !part.is_empty() && part != b"." {
            segments.push(part.clone());
        }
    }
    let last = parts.last().cloned().unwrap_or_default();
    Slow {
        segments,
        trailing_slash: last.is_empty() || last == b"." || last == b"..",
    }
}

/// The path in segments, or `None` where it must be refused (but for its length).
pub fn spell(raw: &str) -> Option<Slow> {
    if !raw.starts_with(['/', '\\']) {
        return None;
    }
    let decoded = decode(raw.as_bytes(), true)?;
    if decoded.iter().any(|byte| *byte < 0x20 || *byte == 0x7f) {
        return None;
    }
    Some(walk(&decoded))
}

/// The canonical text of these segments.
pub fn print(slow: &Slow) -> String {
    let plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@";
    let mut text = String::new();
    for segment in &slow.segments {
        text += "/";
        for byte in segment {
            if plain.bytes().any(|allowed| allowed == *byte) {
                text.push(*byte as char);
            } else {
                text += &format!("%{byte:02X}");
            }
        }
    }
    if text.is_empty() || slow.trailing_slash {
        text += "/";
    }
    text
}

/// How lenient an upstream is.
#[derive(Clone, Copy, Debug)]
pub struct Lenience {
    /// Decodings, one after another: 1 to 4.
    pub decodings: u32,
    /// Whether it strips `;` and what follows in a segment, after each decoding.
    pub strips_parameters: bool,
    /// Whether it cuts at `?` and `#`, after each decoding.
    pub cuts_query: bool,
    /// Whether it resolves dot segments after each decoding, or never.
    pub resolves: bool,
}

impl Lenience {
    /// All there are.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for decodings in 1..=4 {
            for flags in 0..8 {
                let (strips_parameters, cuts_query, resolves) = (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0);
                all.push(Self {
                    decodings,
                    strips_parameters,
                    cuts_query,
                    resolves,
                });
            }
        }
        all
    }
}

/// The segments that such an upstream looks up for a forwarded path: lower case, without dots and spaces at the end.
pub fn read_leniently(forwarded: &str, lenience: Lenience) -> Vec<String> {
    let mut bytes = forwarded.as_bytes().to_vec();
    for _ in 0..lenience.decodings {
        bytes = decode(&bytes, false).expect("not strict");
        if lenience.cuts_query {
            bytes = bytes
                .split(|byte| *byte == b'?' || *byte == b'#')
                .next()
                .unwrap_or(&[])
                .to_vec();
        }
        if lenience.strips_parameters {
            let parts: Vec<Vec<u8>> = bytes
                .split(|byte| *byte == b'/' || *byte == b'\\')
                .map(|part| part.split(|byte| *byte == b';').next().unwrap_or(&[]).to_vec())
                .collect();
            bytes = parts.join(&b'/');
        }
        if lenience.resolves {
            bytes = walk(&bytes).segments.join(&b'/');
        }
    }
    let parts = bytes
        .split(|byte| *byte == b'/' || *byte == b'\\')
        .filter(|part| !part.is_empty());
    parts.map(|part| fold(&String::from_utf8_lossy(part))).collect()
}

fn fold(part: &str) -> String {
    let trimmed = part.trim_end_matches(['.', ' ']);
    let kept = if trimmed.is_empty() { part } else { trimmed };
    kept.to_uppercase().to_lowercase()
}
