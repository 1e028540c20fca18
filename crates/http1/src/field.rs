//! The field lines of a head or a trailer section: where each lies in the buffer, and a filter that copies them in one pass.

use std::ops::Range;

use crate::HeadError;
use crate::bytes::{UNDERSCORE, is_space, token_len, trim_end, trim_start};
use crate::connection::CONNECTION_OPTIONS_MAX;
use crate::head::Lines;
use crate::names::{Name, NameSet, Names};

/// A field line: places in the buffer from which it was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where the line begins, and its name.
    start: u32,
    colon: u32,
    value: u32,
    value_end: u32,
    name: Name,
    underscore: bool,
    nominated: bool,
}

impl Field {
    /// The line at that place, which contains no control character (RFC 9112 §5).
    #[inline]
    pub(crate) fn parse(buffer: &[u8], line: Range<usize>, names: &Names) -> Result<Self, HeadError> {
        let (colon, classes) = token_len(&buffer[line.start..]);
        let text = &buffer[line.clone()];
        let Some((b':', after)) = text
            .get(colon..)
            .and_then(|rest| rest.split_first())
            .filter(|_| colon > 0)
        else {
            return Err(wrong_name(text, colon));
        };
        let value = trim_start(after);
        let value_start = text.len() - value.len();
        let value_end = value_start + trim_end(value).len();
        let place = |at: usize| (line.start + at) as u32;
        Ok(Self {
            start: place(0),
            colon: place(colon),
            value: place(value_start),
            value_end: place(value_end),
            name: names.find(&text[..colon]),
            underscore: classes & UNDERSCORE != 0,
            nominated: false,
        })
    }

    /// The number of its name in the table with which it was parsed.
    #[inline]
    pub fn known(&self) -> Name {
        self.name
    }

    /// Its name as it was spelled: a token.
    #[inline]
    pub fn name<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        &buffer[self.start as usize..self.colon as usize]
    }

    /// Its value without the whitespace around it. It has no control character but HTAB; bytes from 0x80 are opaque
    /// (RFC 9110 §5.5).
    #[inline]
    pub fn value<'b>(&self, buffer: &'b [u8]) -> &'b [u8] {
        &buffer[self.value as usize..self.value_end as usize]
    }

    /// Where the value lies.
    pub(crate) fn value_start(&self) -> u32 {
        self.value
    }

    /// Whether the name has an underscore, which some servers take for a hyphen.
    #[inline]
    pub fn has_underscore(&self) -> bool {
        self.underscore
    }

    /// Whether the message's `Connection` names it: it must not be forwarded (RFC 9110 §7.6.1). `Host`, `Content-Length` and
    /// `Transfer-Encoding` can't be named.
    #[inline]
    pub fn is_nominated(&self) -> bool {
        self.nominated
    }
}

/// What is wrong with a line whose first `colon` bytes are a token and whose next one isn't a colon.
#[cold]
fn wrong_name(text: &[u8], colon: usize) -> HeadError {
    let next = text.get(colon).copied();
    if !next.is_some_and(is_space) {
        HeadError::InvalidFieldName
    } else if colon == 0 {
        HeadError::ObsoleteFolding
    } else {
        HeadError::SpaceBeforeColon
    }
}

/// The field lines of a message, in their order. Kept and used again, it allocates nothing.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    list: Vec<Field>,
    /// Which names of the table occur.
    present: NameSet,
    /// Where the lines end.
    end: u32,
}

impl Fields {
    pub(crate) const fn new() -> Self {
        Self {
            list: Vec::new(),
            present: NameSet::EMPTY,
            end: 0,
        }
    }

    /// The lines of a trailer section, each with its CR LF.
    ///
    /// # Errors
    /// The first line's that isn't a field line. [`BodyDecoder::trailers`](crate::BodyDecoder::trailers) has none.
    pub fn parse(section: &[u8], names: &Names) -> Result<Self, HeadError> {
        let (mut fields, mut lines) = (Self::new(), Lines::new());
        while lines.start < section.len() {
            let line = lines.next(section, usize::MAX)?.ok_or(HeadError::BareCr)?;
            let end = line.end;
            fields.push(Field::parse(section, line, names)?, end);
        }
        Ok(fields)
    }

    pub(crate) fn clear(&mut self) {
        self.list.clear();
        self.present = NameSet::EMPTY;
        self.end = 0;
    }

    /// The line at `line`, and two bytes for its end, is the next one.
    #[inline]
    pub(crate) fn push(&mut self, field: Field, line_end: usize) {
        self.present = self.present.with(field.name);
        self.end = line_end as u32 + 2;
        self.list.push(field);
    }

    /// Marks the fields that have one of these names. In linear time: long names that differ in their last byte are not compared.
    pub(crate) fn nominate(&mut self, buffer: &[u8], options: &[Range<u32>]) {
        const NEVER: NameSet = NameSet::of(&[Name::HOST, Name::CONTENT_LENGTH, Name::TRANSFER_ENCODING]);
        if options.is_empty() {
            return;
        }
        let mut hashes = [0; CONNECTION_OPTIONS_MAX];
        for (hash, option) in hashes.iter_mut().zip(options) {
            *hash = hash_in_any_case(&buffer[range(option)]);
        }
        let hashes = &hashes[..options.len()];
        for field in self.list.iter_mut().filter(|field| !NEVER.contains(field.name)) {
            let name = field.name(buffer);
            let named = |option: &Range<u32>| buffer[range(option)].eq_ignore_ascii_case(name);
            field.nominated = hashes.contains(&hash_in_any_case(name)) && options.iter().any(named);
        }
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All, in their order.
    #[inline]
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.list.iter()
    }

    /// The first of that name.
    #[inline]
    pub fn get(&self, name: Name) -> Option<&Field> {
        self.all(name).next()
    }

    /// All of that name, in their order.
    #[inline]
    pub fn all(&self, name: Name) -> impl Iterator<Item = &Field> {
        let list = if self.present.contains(name) {
            &self.list[..]
        } else {
            &[]
        };
        list.iter().filter(move |field| field.name == name)
    }

    /// Appends the lines that are to be kept to `out`, as they were received. Lines that follow each other are copied together.
    #[inline]
    pub fn copy(&self, buffer: &[u8], out: &mut Vec<u8>, mut keep: impl FnMut(&Field) -> bool) {
        let mut run = None;
        for field in &self.list {
            if keep(field) {
                run.get_or_insert(field.start);
            } else if let Some(start) = run.take() {
                out.extend_from_slice(&buffer[start as usize..field.start as usize]);
            }
        }
        if let Some(start) = run {
            out.extend_from_slice(&buffer[start as usize..self.end as usize]);
        }
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Equal for names that differ in case only.
fn hash_in_any_case(name: &[u8]) -> u64 {
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let mix = |hash: u64, word: [u8; 8]| {
        let mixed = (hash ^ (u64::from_le_bytes(word) | LOWER)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 32
    };
    let (words, rest) = name.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    words
        .iter()
        .chain([&last])
        .fold(name.len() as u64, |hash, word| mix(hash, *word))
}

#[inline]
pub(crate) fn range(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}
