//! Classes of bytes, and the few searches that everything else is made of.

/// `tchar` (RFC 9110 §5.6.2): method, field name, connection option.
pub(crate) const TOKEN: u8 = 1;
/// What a request target may contain: visible ASCII but `#`, since a fragment is never sent (RFC 9112 §3.2, RFC 3986 §3.5).
pub(crate) const TARGET: u8 = 2;
/// `reg-name` (RFC 3986 §3.2.2) but the comma, by which a recipient may have joined two `Host` lines. `%` is checked apart.
pub(crate) const REG_NAME: u8 = 4;
/// What a quoted string may contain without a backslash (`qdtext`, RFC 9110 §5.6.4).
pub(crate) const QUOTED_TEXT: u8 = 8;
/// An underscore, so that a field's name tells in passing whether it has one.
pub(crate) const UNDERSCORE: u8 = 16;
/// A percent sign, for the same reason.
pub(crate) const PERCENT: u8 = 32;

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let byte = at as u8;
        let alphanumeric = byte.is_ascii_alphanumeric();
        if alphanumeric || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~') {
            table[at] |= TOKEN;
        }
        if byte.is_ascii_graphic() && byte != b'#' {
            table[at] |= TARGET;
        }
        if alphanumeric
            || matches!(
                byte,
                b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&'..=b'+' | b';' | b'='
            )
        {
            table[at] |= REG_NAME;
        }
        if matches!(byte, b'\t' | b' '..=b'~' | 0x80..) && byte != b'"' && byte != b'\\' {
            table[at] |= QUOTED_TEXT;
        }
        if byte == b'_' {
            table[at] |= UNDERSCORE;
        }
        if byte == b'%' {
            table[at] |= PERCENT;
        }
        at += 1;
    }
    table
}

#[inline]
pub(crate) fn class(byte: u8) -> u8 {
    CLASS[usize::from(byte)]
}

#[inline]
pub(crate) fn is(byte: u8, wanted: u8) -> bool {
    class(byte) & wanted != 0
}

/// Whether all bytes are of that class.
#[inline]
pub(crate) fn all(bytes: &[u8], wanted: u8) -> bool {
    bytes.iter().all(|byte| is(*byte, wanted))
}

/// Whether the bytes are a token (RFC 9110 §5.6.2).
#[inline]
pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// A control character other than HTAB: what no line of a head may contain but for its end (RFC 9110 §5.5).
#[inline]
fn is_control(byte: u8) -> bool {
    (byte < b' ') & (byte != b'\t') | (byte == 0x7f)
}

/// What no target may contain: see [`TARGET`].
#[inline]
fn is_no_target(byte: u8) -> bool {
    (byte <= b' ') | (byte >= 0x7f) | (byte == b'#')
}

/// The place of the first control character other than HTAB.
#[inline]
pub(crate) fn find_control(bytes: &[u8]) -> Option<usize> {
    let (blocks, rest) = bytes.as_chunks::<16>();
    for (number, block) in blocks.iter().enumerate() {
        if any(block, is_control) {
            return Some(number * 16 + first_control(block));
        }
    }
    let at = rest.iter().position(|byte| is_control(*byte))?;
    Some(blocks.len() * 16 + at)
}

/// Whether all bytes may be in a target.
#[inline]
pub(crate) fn is_target(bytes: &[u8]) -> bool {
    let (blocks, rest) = bytes.as_chunks::<16>();
    !blocks.iter().any(|block| any(block, is_no_target)) && all(rest, TARGET)
}

/// Whether a byte of the block is one of those. Without branches, so that the compiler compares all sixteen at once.
#[inline(always)]
fn any(block: &[u8; 16], is: fn(u8) -> bool) -> bool {
    let mut found = false;
    for byte in block {
        found |= is(*byte);
    }
    found
}

/// The place of the first control character in a block that has one.
#[inline]
fn first_control(block: &[u8; 16]) -> usize {
    let (words, _) = block.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let number_of = u64::from_le_bytes(*word);
        // The high bit of each byte below 0x20 or equal to 0x7f, HTAB included; and of some after such a one.
        let mut hits = (number_of.wrapping_sub(ONES * 0x20) | number_of.wrapping_add(ONES)) & !number_of & HIGH_BITS;
        while hits != 0 {
            let at = lowest(hits);
            if is_control(word[at]) {
                return number * 8 + at;
            }
            hits &= hits - 1;
        }
    }
    block.len()
}

/// A byte in each byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = ONES * 0x80;

/// The number of the first byte whose high bit is set.
#[inline]
fn lowest(hits: u64) -> usize {
    (hits.trailing_zeros() / 8) as usize
}

/// The place of the first of that byte. Eight at a time, without the set-up that long searches are worth.
#[inline]
pub(crate) fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let other = u64::from_le_bytes(*word) ^ (ONES * u64::from(byte));
        // The first hit is right; a carry can make others.
        let hits = other.wrapping_sub(ONES) & !other & HIGH_BITS;
        if hits != 0 {
            return Some(number * 8 + lowest(hits));
        }
    }
    let at = rest.iter().position(|other| *other == byte)?;
    Some(words.len() * 8 + at)
}

/// How many bytes at the beginning are a token, and all their classes together. Letters and hyphens go eight at a time.
#[inline]
pub(crate) fn token_len(bytes: &[u8]) -> (usize, u8) {
    let (words, _) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let others = others_than_letters(u64::from_le_bytes(*word));
        if others != 0 {
            at += lowest(others);
            if bytes[at] == b':' {
                return (at, TOKEN);
            }
            break;
        }
        at += 8;
    }
    let (len, classes) = len_of(&bytes[at..], TOKEN);
    (at + len, TOKEN | classes)
}

/// How many bytes at the beginning may be in a host's name, and all their classes together.
#[inline]
pub(crate) fn reg_name_len(bytes: &[u8]) -> (usize, u8) {
    len_of(bytes, REG_NAME)
}

#[inline]
fn len_of(bytes: &[u8], wanted: u8) -> (usize, u8) {
    let (mut len, mut classes) = (0, 0);
    for byte in bytes {
        let class = class(*byte);
        if class & wanted == 0 {
            break;
        }
        classes |= class;
        len += 1;
    }
    (len, classes)
}

/// The high bit of each byte that is neither an ASCII letter nor a hyphen.
#[inline]
fn others_than_letters(word: u64) -> u64 {
    let ascii = word & !HIGH_BITS;
    let lower = ascii | (ONES * 0x20);
    let from_a = lower + ONES * (0x80 - b'a' as u64);
    let beyond_z = lower + ONES * (0x7f - b'z' as u64);
    let not_hyphen = (ascii ^ (ONES * b'-' as u64)) + ONES * 0x7f;
    ((!from_a | beyond_z) & not_hyphen | word) & HIGH_BITS
}

#[inline]
pub(crate) fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// The bytes without the spaces and tabs (OWS, RFC 9110 §5.6.3) before them.
#[inline]
pub(crate) fn trim_start(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    bytes
}

/// The bytes without the spaces and tabs after them.
#[inline]
pub(crate) fn trim_end(mut bytes: &[u8]) -> &[u8] {
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    trim_end(trim_start(bytes))
}

/// The elements of a comma-separated list (RFC 9110 §5.6.1), trimmed; empty ones too.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_found_anywhere() {
        for len in 0..40 {
            let clean: Vec<u8> = (0..len)
                .map(|at| [b'a', b'\t', 0xff, b' ', b'~', 0x80][at % 6])
                .collect();
            assert_eq!(find_control(&clean), None, "{clean:?}");
            for at in 0..len {
                for control in (0..=0x1f).filter(|byte| *byte != b'\t').chain([0x7f]) {
                    let mut bytes = clean.clone();
                    bytes[at] = control;
                    assert_eq!(find_control(&bytes), Some(at), "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn tokens_end_where_their_grammar_says() {
        for len in 0..20 {
            for at in 0..=len {
                for byte in 0..=255_u8 {
                    let mut bytes = vec![b'a'; len];
                    bytes.extend_from_slice(b"-Z_0: \r\n....");
                    bytes[at] = byte;
                    let end = bytes.iter().position(|byte| !is(*byte, TOKEN)).expect("a colon");
                    let (found, classes) = token_len(&bytes);
                    assert_eq!(found, end, "{bytes:?}");
                    assert_eq!(classes & UNDERSCORE != 0, bytes[..end].contains(&b'_'), "{bytes:?}");
                }
            }
        }
        assert_eq!(token_len(b""), (0, TOKEN));
    }

    #[test]
    fn bytes_are_found_at_every_place() {
        for len in 0..24 {
            for at in 0..=len {
                for other in [0, 1, b'?' - 1, b'?' + 1, 0x7f, 0x80, b'?' | 0x80, 0xff] {
                    let mut bytes = vec![other; len];
                    bytes[at..].fill(b'?');
                    assert_eq!(find(&bytes, b'?'), Some(at).filter(|_| at < len), "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn targets_are_checked_at_every_place() {
        for len in 1..40 {
            for at in 0..len {
                for byte in 0..=255_u8 {
                    let mut bytes = vec![b'/'; len];
                    bytes[at] = byte;
                    assert_eq!(is_target(&bytes), is(byte, TARGET), "{bytes:?}");
                }
            }
        }
    }

    #[test]
    fn classes_are_those_of_the_grammar() {
        for byte in 0..=255_u8 {
            let tchar = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            assert_eq!(is(byte, TOKEN), tchar, "{byte:#x}");
            assert_eq!(
                is(byte, TARGET),
                (0x21..=0x7e).contains(&byte) && byte != b'#',
                "{byte:#x}"
            );
            let quoted = byte == b'\t' || byte == b' ' || byte == b'!';
            let quoted = quoted || (0x23..=0x5b).contains(&byte) || (0x5d..=0x7e).contains(&byte) || byte >= 0x80;
            assert_eq!(is(byte, QUOTED_TEXT), quoted, "{byte:#x}");
            let reg_name = byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=".contains(&byte);
            assert_eq!(is(byte, REG_NAME), reg_name, "{byte:#x}");
        }
    }
}
