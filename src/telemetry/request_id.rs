//! The id of a request: `X-Request-Id`, as the client or a proxy in front has sent it, otherwise made here.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries the id, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is taken from a client, in characters.
pub const CHARS_MAX: usize = 128;

/// The id of a request: 1 to [`CHARS_MAX`] visible ASCII characters.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The id that the request brings along, if it has one header of that name and that is valid; otherwise a new one.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(REQUEST_ID).iter();
        match (sent.next(), sent.next()) {
            (Some(id), None) if is_valid(id.as_bytes()) => Self(id.clone()),
            _ => Self::new(),
        }
    }

    /// A new id: 32 hexadecimal digits, different from all others of this process, and by chance from those of any other.
    pub fn new() -> Self {
        static SEED: LazyLock<[u64; 2]> = LazyLock::new(|| [0_u8, 1].map(|salt| RandomState::new().hash_one(salt)));
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = *SEED;
        let bits = u128::from(high ^ scattered(number)) << 64 | u128::from(low.wrapping_add(number));
        let mut digits = [0; 32];
        for (place, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(bits >> (124 - 4 * place)) as usize & 15];
        }
        Self(HeaderValue::from_bytes(&digits).expect("digits are visible ASCII"))
    }

    /// The id as a header's value.
    pub fn value(&self) -> &HeaderValue {
        &self.0
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("an id is visible ASCII")
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_valid(id: &[u8]) -> bool {
    (1..=CHARS_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

/// Scatters neighbouring numbers over all 64 bits, and different numbers to different ones (splitmix64).
fn scattered(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn sent(ids: &[&[u8]]) -> HeaderMap {
        let value = |id: &&[u8]| HeaderValue::from_bytes(id).expect("a header's value");
        ids.iter().map(|id| (REQUEST_ID, value(id))).collect()
    }

    #[test]
    fn a_valid_id_is_taken_and_any_other_replaced() {
        let longest = [b'~'; CHARS_MAX];
        for valid in [&b"a"[..], b"7f3e-!\"", &longest] {
            assert_eq!(RequestId::of(&sent(&[valid])).value().as_bytes(), valid);
        }
        let too_long = [b'a'; CHARS_MAX + 1];
        let invalid: [&[&[u8]]; 6] = [&[], &[b""], &[b"a b"], &["ä".as_bytes()], &[&too_long], &[b"a", b"a"]];
        for ids in invalid {
            let id = RequestId::of(&sent(ids));
            assert_eq!(id.as_str().len(), 32, "{id:?} for {ids:?}");
        }
    }

    #[test]
    fn new_ids_differ() {
        let ids: HashSet<String> = (0..10_000).map(|_| RequestId::new().as_str().to_owned()).collect();
        assert_eq!(ids.len(), 10_000);
    }
}
