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
    /// What it makes of `;` and what follows in a segment, after each decoding.
    pub parameters: Parameters,
    /// Whether it cuts at `?` and `#`, after each decoding.
    pub cuts_query: bool,
    /// What it makes of dot segments after each decoding.
    pub dots: Dots,
}

/// Whose path parameters are stripped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    Kept,
    StrippedInAll,
    StrippedInTheLast,
}

/// Which dot segments are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dots {
    Kept,
    Plain,
    /// With dots and spaces behind them too.
    AsOnWindows,
}

impl Lenience {
    /// All there are.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for decodings in 1..=4 {
            for parameters in [
                Parameters::Kept,
                Parameters::StrippedInAll,
                Parameters::StrippedInTheLast,
            ] {
                for dots in [Dots::Kept, Dots::Plain, Dots::AsOnWindows] {
                    for cuts_query in [false, true] {
                        all.push(Self {
                            decodings,
                            parameters,
                            cuts_query,
                            dots,
                        });
                    }
                }
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
            bytes = until(&bytes, b"?#");
        }
        let mut parts = parts(&bytes);
        let last = parts.len().saturating_sub(1);
        for (at, part) in parts.iter_mut().enumerate() {
            let in_last = lenience.parameters == Parameters::StrippedInTheLast && at == last;
            if in_last || lenience.parameters == Parameters::StrippedInAll {
                *part = until(part, b";");
            }
        }
        if lenience.dots == Dots::AsOnWindows {
            parts = parts.into_iter().map(as_on_windows).collect();
        }
        bytes = parts.join(&b'/');
        if lenience.dots != Dots::Kept {
            bytes = walk(&bytes).segments.join(&b'/');
        }
    }
    parts(&bytes)
        .iter()
        .map(|part| fold(&String::from_utf8_lossy(part)))
        .collect()
}

/// What is before the first of these.
fn until(bytes: &[u8], ends: &[u8]) -> Vec<u8> {
    bytes.iter().copied().take_while(|byte| !ends.contains(byte)).collect()
}

/// Decoded bytes in parts, none of them empty.
fn parts(bytes: &[u8]) -> Vec<Vec<u8>> {
    let parts = bytes.split(|byte| *byte == b'/' || *byte == b'\\');
    parts.filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Dots with more dots or spaces behind them are dots.
fn as_on_windows(part: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8_lossy(&part).into_owned();
    match text.trim_end_matches(' ') {
        ".." => b"..".to_vec(),
        _ if text.trim_matches(['.', ' ']).is_empty() => b".".to_vec(),
        _ => part,
    }
}

fn fold(part: &str) -> String {
    let trimmed = part.trim_end_matches(['.', ' ']);
    let kept = if trimmed.is_empty() { part } else { trimmed };
    kept.to_uppercase().to_lowercase()
}
