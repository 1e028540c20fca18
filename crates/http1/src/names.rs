//! Field names that somebody asks for, each with a number, so that a head's names are compared once, when it is parsed.

use std::sync::LazyLock;

use crate::bytes::is_token;

/// The number of a field name in [`Names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(u8);

impl Name {
    /// `Host`.
    pub const HOST: Self = Self(0);
    /// `Content-Length`.
    pub const CONTENT_LENGTH: Self = Self(1);
    /// `Transfer-Encoding`.
    pub const TRANSFER_ENCODING: Self = Self(2);
    /// `Connection`.
    pub const CONNECTION: Self = Self(3);
    /// `Keep-Alive`.
    pub const KEEP_ALIVE: Self = Self(4);
    /// `Proxy-Connection`.
    pub const PROXY_CONNECTION: Self = Self(5);
    /// `TE`.
    pub const TE: Self = Self(6);
    /// `Trailer`.
    pub const TRAILER: Self = Self(7);
    /// `Upgrade`.
    pub const UPGRADE: Self = Self(8);
    /// `Expect`.
    pub const EXPECT: Self = Self(9);
    /// `Proxy-Authenticate`.
    pub const PROXY_AUTHENTICATE: Self = Self(10);
    /// `Proxy-Authorization`.
    pub const PROXY_AUTHORIZATION: Self = Self(11);
    /// A name that isn't in the table.
    pub const OTHER: Self = Self(127);
}

/// The names that the engine itself asks for; their places are their numbers.
const OWN: [&str; 12] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "proxy-authenticate",
    "proxy-authorization",
];

/// Names beside the engine's own that a table has room for.
pub const NAMES_MAX: usize = Name::OTHER.0 as usize - OWN.len();

/// A power of two, several times the names that there can be.
const SLOTS: usize = 512;
const FREE: u8 = u8::MAX;

/// Names with their numbers, found without regard to case (RFC 9110 §5.1). Built once, for example per configuration.
#[derive(Clone, Debug)]
pub struct Names {
    /// Open addressing: the number of a name, at the place of its hash or the next free one.
    slots: Box<[u8; SLOTS]>,
    /// By number.
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    key: Key,
    /// Whether names with that key can be others.
    ambiguous: bool,
    spelling: Box<[u8]>,
}

/// A name's length, and its first and last eight bytes without regard to case: all of it, if it has no more than sixteen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    first: u64,
    last: u64,
    len: usize,
}

impl Key {
    #[inline]
    fn of(name: &[u8]) -> Self {
        const LOWER: u64 = 0x2020_2020_2020_2020;
        let len = name.len();
        let (first, last) = if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            (u64::from_le_bytes(*first), u64::from_le_bytes(*last))
        } else if let (Some(first), Some(last)) = (name.first_chunk(), name.last_chunk()) {
            (
                u64::from(u32::from_le_bytes(*first)),
                u64::from(u32::from_le_bytes(*last)),
            )
        } else {
            let byte = |at: usize| u64::from(name.get(at).copied().unwrap_or_default());
            (byte(0) | byte(1) << 8 | byte(2) << 16, 0)
        };
        Self {
            first: first | LOWER,
            last: last | LOWER,
            len,
        }
    }

    #[inline]
    fn slot(&self) -> usize {
        let mixed = (self.first ^ self.last.rotate_left(29) ^ self.len as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 32) as usize % SLOTS
    }
}

/// Why there is no such table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NamesError {
    /// Not a token (RFC 9110 §5.1).
    NotAToken(String),
    /// More names than [`NAMES_MAX`].
    TooMany,
}

impl std::fmt::Display for NamesError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAToken(name) => write!(f, "{name:?} is not a field name"),
            Self::TooMany => write!(f, "more than {NAMES_MAX} field names"),
        }
    }
}

impl std::error::Error for NamesError {}

impl Names {
    /// The table of the engine's own names and these. Names that are there already keep their number.
    pub fn new<S: AsRef<str>>(more: impl IntoIterator<Item = S>) -> Result<Self, NamesError> {
        let mut names = Self {
            slots: Box::new([FREE; SLOTS]),
            entries: Vec::new(),
        };
        for own in OWN {
            names.add(own)?;
        }
        for name in more {
            names.add(name.as_ref())?;
        }
        Ok(names)
    }

    /// The table of the engine's own names.
    pub fn own() -> &'static Self {
        static OWN_NAMES: LazyLock<Names> =
            LazyLock::new(|| Names::new([""; 0]).expect("the engine's names are tokens"));
        &OWN_NAMES
    }

    fn add(&mut self, name: &str) -> Result<(), NamesError> {
        if !is_token(name.as_bytes()) {
            return Err(NamesError::NotAToken(name.to_owned()));
        }
        if self.find(name.as_bytes()) != Name::OTHER {
            return Ok(());
        }
        let number = self.entries.len();
        if number >= usize::from(Name::OTHER.0) {
            return Err(NamesError::TooMany);
        }
        let key = Key::of(name.as_bytes());
        let mut slot = key.slot();
        while self.slots[slot] != FREE {
            slot = (slot + 1) % SLOTS;
        }
        self.slots[slot] = number as u8;
        // Of the bytes of a token, only these two differ as the cases of a letter do.
        let ambiguous = name.len() > 16 || name.contains(['^', '~']);
        self.entries.push(Entry {
            key,
            ambiguous,
            spelling: name.as_bytes().into(),
        });
        Ok(())
    }

    /// The number of a name, a token in any case; [`Name::OTHER`] if it isn't in the table.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Name {
        let key = Key::of(name);
        let mut slot = key.slot();
        loop {
            let number = self.slots[slot];
            if number == FREE {
                return Name::OTHER;
            }
            let entry = &self.entries[usize::from(number)];
            if entry.key == key && (!entry.ambiguous || entry.spelling.eq_ignore_ascii_case(name)) {
                return Name(number);
            }
            slot = (slot + 1) % SLOTS;
        }
    }
}

/// A set of names of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameSet(u128);

impl NameSet {
    /// No name.
    pub const EMPTY: Self = Self(0);

    /// What concerns one connection only, whether `Connection` names it or not (RFC 9110 §7.6.1, §11.7).
    pub const HOP_BY_HOP: Self = Self::of(&[
        Name::CONNECTION,
        Name::KEEP_ALIVE,
        Name::PROXY_AUTHENTICATE,
        Name::PROXY_AUTHORIZATION,
        Name::PROXY_CONNECTION,
        Name::TE,
        Name::TRANSFER_ENCODING,
        Name::UPGRADE,
    ]);

    /// What a proxy writes itself when it forwards a message: the hop-by-hop fields, `Content-Length` and `Host`.
    pub const REWRITTEN: Self = Self::HOP_BY_HOP.with(Name::CONTENT_LENGTH).with(Name::HOST);

    /// The set of these names.
    pub const fn of(names: &[Name]) -> Self {
        let mut set = Self::EMPTY;
        let mut at = 0;
        while at < names.len() {
            set = set.with(names[at]);
            at += 1;
        }
        set
    }

    /// The set with that name too.
    pub const fn with(self, name: Name) -> Self {
        Self(self.0 | 1 << name.0)
    }

    /// Whether the name is in the set.
    #[inline]
    pub const fn contains(self, name: Name) -> bool {
        self.0 >> name.0 & 1 == 1
    }
}

/// [`Name::OTHER`] in it stands for all names that aren't in the table.
impl FromIterator<Name> for NameSet {
    fn from_iter<I: IntoIterator<Item = Name>>(names: I) -> Self {
        names.into_iter().fold(Self::EMPTY, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_names_have_their_numbers() {
        let names = Names::own();
        for (number, name) in OWN.iter().enumerate() {
            assert_eq!(names.find(name.as_bytes()), Name(number as u8));
            assert_eq!(names.find(name.to_ascii_uppercase().as_bytes()), Name(number as u8));
        }
        assert_eq!(names.find(b"proxy-authorization"), Name::PROXY_AUTHORIZATION);
        for other in [
            "",
            "h",
            "hosts",
            "x-forwarded-for",
            "transfer_encoding",
            "content-lengti",
        ] {
            assert_eq!(names.find(other.as_bytes()), Name::OTHER);
        }
    }

    #[test]
    fn a_full_table_still_finds_every_name() {
        let more: Vec<_> = (0..NAMES_MAX).map(|number| format!("x-a{number}-b")).collect();
        let names = Names::new(&more).expect("there is room");
        for (number, name) in more.iter().enumerate() {
            assert_eq!(names.find(name.as_bytes()), Name((OWN.len() + number) as u8));
        }
        assert_eq!(names.find(b"x-a999-b"), Name::OTHER);
        let one_more = more.iter().map(String::as_str).chain(["x-b"]);
        assert_eq!(Names::new(one_more).err(), Some(NamesError::TooMany));
    }

    #[test]
    fn only_tokens_are_names() {
        for wrong in ["", "a b", "a:", "é", "a\r\n"] {
            assert_eq!(Names::new([wrong]).err(), Some(NamesError::NotAToken(wrong.to_owned())));
        }
        let twice = Names::new(["HOST", "X-A", "x-a"]).expect("tokens");
        assert_eq!(twice.find(b"Host"), Name::HOST);
        let similar = Names::new(["x^", "x-0123456789-a-tail", "x-0123456789-b-tail"]).expect("tokens");
        let found = [
            "X^",
            "x~",
            "x-0123456789-A-tail",
            "x-0123456789-b-TAIL",
            "x-0123456789-c-tail",
            "x-",
            "x",
            "xy",
        ];
        let numbers = found.map(|name| similar.find(name.as_bytes()).0);
        assert_eq!(numbers, [12, 127, 13, 14, 127, 127, 127, 127]);
        assert_eq!(twice.entries.len(), OWN.len() + 1);
    }
}
