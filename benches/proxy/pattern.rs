//! The bytes of large bodies, so that both ends can tell whether they arrived intact.

use std::sync::OnceLock;

/// The length after which the pattern begins again.
const PERIOD: usize = 64 * 1_024;

/// One period.
pub fn block() -> &'static [u8] {
    static BLOCK: OnceLock<Vec<u8>> = OnceLock::new();
    // Within the period the bytes repeat at no power of two: a lost or doubled buffer shows.
    BLOCK.get_or_init(|| (0..PERIOD).map(|place| (place % 251) as u8).collect())
}

/// The next bytes at `place` of a body of `length` bytes; empty at its end.
pub fn at(place: usize, length: usize) -> &'static [u8] {
    let block = block();
    let begin = place % PERIOD;
    let end = (begin + (length - place)).min(PERIOD);
    &block[begin..end]
}

/// Whether `bytes` are those at `place`.
pub fn holds(mut place: usize, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let expected = at(place, place + bytes.len());
        let (now, rest) = bytes.split_at(expected.len());
        if now != expected {
            return false;
        }
        place += now.len();
        bytes = rest;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_odd_pieces_is_intact() {
        let length = 3 * PERIOD + 77;
        let mut body = Vec::new();
        while body.len() < length {
            body.extend_from_slice(at(body.len(), length));
        }
        assert_eq!(body.len(), length);
        let mut place = 0;
        for piece in body.chunks(10_007) {
            assert!(holds(place, piece));
            place += piece.len();
        }
        body.remove(PERIOD + 5);
        assert!(!holds(0, &body));
    }
}
