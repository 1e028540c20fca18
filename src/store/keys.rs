//! API keys: their form, hash and id.
//!
//! A key of ours is `tg_`, 30 base62 characters from the system's randomness (178 bits), and 6 base62 characters of CRC32 over
//! the 33 before them. So a mistyped or truncated key is distinguished from a revoked one without a look-up, and scanners for
//! leaked secrets recognize keys offline.
//!
//! Keys are not stored. A [`PlaintextKey`] is shown once, when it is created; only its [`KeyHash`] is kept.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::account::{Bounds, Rule};
use crate::policy::time::UnixTime;

/// The prefix of our keys.
pub const PREFIX: &str = "tg_";
/// Random base62 characters of a key.
pub const RANDOM_CHARS: usize = 30;
/// Base62 characters of a key's checksum. 62^6 is more than 2^32.
pub const CHECKSUM_CHARS: usize = 6;
/// Bytes of an imported key.
pub const IMPORTED_KEY_BYTES: RangeInclusive<usize> = 1..=512;
/// Bytes of a key's label.
pub const LABEL_BYTES_MAX: usize = 64;
/// The bounds of a label.
pub(super) const LABEL: Bounds = Bounds::of("a label", Rule::Text(LABEL_BYTES_MAX));
/// Characters of a key that are kept to recognize it by, and of a short key at most a quarter.
pub const BEGINNING_CHARS_MAX: usize = 7;
/// Keys of an account. Expired ones are dropped to make space.
pub const KEYS_PER_ACCOUNT_MAX: usize = 16;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const OURS_BYTES: usize = PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS;

/// SHA-256 of an API key, which is all that is stored of it.
pub type KeyHash = [u8; 32];

/// Hashes a key.
pub fn hash(key: &[u8]) -> KeyHash {
    Sha256::digest(key).into()
}

/// What the form of a key reveals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// Ours and well-formed. It may still be unknown.
    Ours,
    /// Ours with a wrong checksum: no such key exists.
    Misspelled,
    /// Not of our form.
    Foreign,
}

impl KeyForm {
    /// Classifies a key. A key that only starts like ours is foreign.
    pub fn of(key: &[u8]) -> Self {
        let Some(body) = key.strip_prefix(PREFIX.as_bytes()) else {
            return Self::Foreign;
        };
        if key.len() != OURS_BYTES || !body.iter().all(u8::is_ascii_alphanumeric) {
            return Self::Foreign;
        }
        let (random, given) = key.split_at(OURS_BYTES - CHECKSUM_CHARS);
        if checksum(random) == given {
            Self::Ours
        } else {
            Self::Misspelled
        }
    }
}

fn checksum(random: &[u8]) -> [u8; CHECKSUM_CHARS] {
    let mut left = crc32fast::hash(random);
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[left as usize % BASE62.len()];
        left /= 62;
    }
    digits
}

/// A key in plain text, to be shown once.
#[derive(Clone, PartialEq, Eq)]
pub struct PlaintextKey(String);

impl PlaintextKey {
    /// Creates a random key.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn mint() -> io::Result<Self> {
        // The largest multiple of 62 that fits a byte: bytes above it would favour some characters.
        const FAIR: u8 = 248;
        let mut key = PREFIX.to_owned();
        let mut random = [0; RANDOM_CHARS];
        while key.len() < PREFIX.len() + RANDOM_CHARS {
            getrandom::fill(&mut random)?;
            let missing = PREFIX.len() + RANDOM_CHARS - key.len();
            let fair = random.iter().filter(|byte| **byte < FAIR).take(missing);
            key.extend(fair.map(|byte| char::from(BASE62[usize::from(*byte) % BASE62.len()])));
        }
        key.extend(checksum(key.as_bytes()).map(char::from));
        Ok(Self(key))
    }

    /// Takes over a key made elsewhere.
    ///
    /// # Errors
    /// No client could present it.
    pub fn imported(key: String) -> Result<Self, UnusableKey> {
        if !IMPORTED_KEY_BYTES.contains(&key.len()) {
            return Err(UnusableKey::Length);
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UnusableKey::Characters);
        }
        match KeyForm::of(key.as_bytes()) {
            KeyForm::Misspelled => Err(UnusableKey::Misspelled),
            KeyForm::Ours | KeyForm::Foreign => Ok(Self(key)),
        }
    }

    /// The key in plain text.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its hash.
    pub fn hash(&self) -> KeyHash {
        hash(self.0.as_bytes())
    }

    /// How it begins.
    pub fn beginning(&self) -> Beginning {
        Beginning::of(self.0.as_bytes())
    }
}

impl fmt::Debug for PlaintextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlaintextKey(…)")
    }
}

/// Why a key can't be imported. Says nothing about the key itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnusableKey {
    /// It is empty or longer than [`IMPORTED_KEY_BYTES`].
    Length,
    /// It has characters other than visible ASCII, which headers don't carry reliably.
    Characters,
    /// It has our form with a wrong checksum.
    Misspelled,
}

impl fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length => write!(f, "a key has 1 to {} characters", IMPORTED_KEY_BYTES.end()),
            Self::Characters => f.write_str("a key has visible ASCII characters only"),
            Self::Misspelled => f.write_str("the key looks like one of tiergate's, but its checksum is wrong"),
        }
    }
}

impl std::error::Error for UnusableKey {}

/// The public id of a key: the first 48 bits of its hash, as 12 hexadecimal digits. Unique among a server's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 6]);

impl KeyId {
    /// The id of the key with that hash.
    pub fn of(hash: &KeyHash) -> Self {
        let mut id = [0; 6];
        id.copy_from_slice(&hash[..6]);
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Not 12 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoKeyId;

impl fmt::Display for NoKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key's id is 12 hexadecimal digits")
    }
}

impl std::error::Error for NoKeyId {}

impl FromStr for KeyId {
    type Err = NoKeyId;

    fn from_str(text: &str) -> Result<Self, NoKeyId> {
        let mut id = [0; 6];
        if text.len() != 2 * id.len() {
            return Err(NoKeyId);
        }
        for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |at: usize| char::from(digits[at]).to_digit(16).ok_or(NoKeyId);
            *byte = u8::try_from(digit(0)? * 16 + digit(1)?).map_err(|_| NoKeyId)?;
        }
        Ok(Self(id))
    }
}

/// The first characters of a key, by which operators recognize it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Beginning {
    chars: [u8; BEGINNING_CHARS_MAX],
    len: u8,
}

impl Beginning {
    /// How the key begins. Of a key with other characters than visible ASCII, nothing is kept.
    pub fn of(key: &[u8]) -> Self {
        Self::kept(&key[..BEGINNING_CHARS_MAX.min(key.len() / 4)])
    }

    /// What was kept of a key.
    pub(super) fn kept(kept: &[u8]) -> Self {
        let mut begins = Self::default();
        if kept.len() <= BEGINNING_CHARS_MAX && kept.iter().all(u8::is_ascii_graphic) {
            begins.chars[..kept.len()].copy_from_slice(kept);
            begins.len = kept.len() as u8;
        }
        begins
    }

    /// The characters; none of a very short key.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.chars[..usize::from(self.len)]).expect("they are ASCII")
    }
}

impl fmt::Debug for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.as_str())
    }
}

/// What is stored of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// SHA-256 of the key.
    pub hash: KeyHash,
    /// A label, at most [`LABEL_BYTES_MAX`] bytes without control characters; may be empty.
    pub label: Box<str>,
    /// When it was created or imported.
    pub created: UnixTime,
    /// When it becomes invalid; `None`: never.
    pub expires: Option<UnixTime>,
}

impl Key {
    /// A key without a label that never expires.
    pub fn plain(hash: KeyHash, created: UnixTime) -> Self {
        Self {
            hash,
            label: Box::default(),
            created,
            expires: None,
        }
    }

    /// Its id.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.hash)
    }

    /// Whether it has expired.
    pub fn is_expired(&self, now: UnixTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn checksums_never_change() {
        // Pinned, so that no change here invalidates keys in circulation.
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        assert_eq!(
            KeyForm::of(b"tg_000000000000000000000000000000"),
            KeyForm::Foreign,
            "too short"
        );
        let random = b"tg_abcdefghijklmnopqrstuvwxyz0123";
        assert_eq!(&checksum(random), b"09jF6R");
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let id = KeyId::of(&hash(b"key-1"));
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "0123456789a", "0123456789abc", "0123456789ag", "+123456789ab"] {
            assert_eq!(wrong.parse::<KeyId>(), Err(NoKeyId), "{wrong}");
        }
    }

    #[test]
    fn only_presentable_keys_are_imported() {
        let taken = |key: &str| PlaintextKey::imported(key.to_owned()).map(|_| ());
        assert_eq!(taken("k"), Ok(()));
        assert_eq!(taken("tg_whatever"), Ok(()), "it only begins like ours");
        assert_eq!(taken(""), Err(UnusableKey::Length));
        assert_eq!(taken(&"k".repeat(513)), Err(UnusableKey::Length));
        assert_eq!(taken("a b"), Err(UnusableKey::Characters));
        assert_eq!(taken("ké"), Err(UnusableKey::Characters));
        assert_eq!(taken(&format!("tg_{}", "0".repeat(36))), Err(UnusableKey::Misspelled));
    }

    #[test]
    fn little_of_a_short_key_is_kept() {
        for (key, kept) in [
            ("tg_abcdefghijklmnopqrstuvwxyz0123456789", "tg_abcd"),
            ("key-1", "k"),
            ("abc", ""),
        ] {
            assert_eq!(Beginning::of(key.as_bytes()).as_str(), kept);
        }
        assert_eq!(Beginning::of("ключ от двери".as_bytes()).as_str(), "");
        assert_eq!(Beginning::kept(b"longer than any").as_str(), "");
    }

    #[test]
    fn a_secret_is_shown_only_when_asked() {
        let secret = PlaintextKey::mint().expect("randomness");
        assert!(!format!("{secret:?}").contains(&secret.reveal()[3..]));
    }

    proptest! {
        /// CRC32 detects every error within 32 bits: one wrong character, or two swapped neighbours.
        #[test]
        fn a_slip_of_the_pen_is_noticed(at in PREFIX.len()..OURS_BYTES, to in 0_usize..62) {
            let key = PlaintextKey::mint().expect("randomness").0.into_bytes();
            prop_assert_eq!(KeyForm::of(&key), KeyForm::Ours);
            prop_assert_eq!(key.len(), 39);
            let mut slip = key.clone();
            slip[at] = BASE62[to];
            prop_assert_eq!(KeyForm::of(&slip) == KeyForm::Ours, slip == key);
            let mut swapped = key.clone();
            let first = at.clamp(PREFIX.len(), OURS_BYTES - CHECKSUM_CHARS - 2);
            swapped.swap(first, first + 1);
            prop_assert_eq!(KeyForm::of(&swapped) == KeyForm::Ours, swapped == key);
            prop_assert_eq!(KeyForm::of(&key[..key.len() - 1]), KeyForm::Foreign);
        }

        #[test]
        fn any_bytes_have_a_form(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_ne!(KeyForm::of(&bytes), KeyForm::Ours);
        }
    }
}
