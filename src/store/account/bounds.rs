//! Bounds on the values of an account, a key or a network, with their error texts.

use std::fmt;
use std::ops::RangeInclusive;

use crate::store::keys::KeyForm;

/// Characters of a name, all of them visible ASCII.
pub const NAME_CHARS: RangeInclusive<usize> = 1..=64;
/// Bytes of an email address (RFC 5321 §4.5.3.1.3, without its brackets).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Bytes of a note.
pub const NOTE_BYTES_MAX: usize = 1_024;
/// Request limits, or quotas, that an account or a network may override.
pub const OWN_NUMBERS_MAX: usize = 16;

/// The name of an account.
pub(crate) const NAME: Bounds = Bounds::of("a name", Rule::Name);
/// The name of a source of imports.
pub(crate) const SOURCE: Bounds = Bounds::of("a source", Rule::Name);
/// An override of a request limit, in requests.
pub(crate) const OWN_LIMIT: Bounds = Bounds::of("a number for a request limit", Rule::Number(0, 1_000_000_000));
/// The name of an overridden quota or request limit.
pub(crate) const OWN_NAME: Bounds = Bounds::of("the name of a quota or request limit", Rule::Name);
/// An operator's note.
pub(crate) const NOTE: Bounds = Bounds::of("a note", Rule::Text(NOTE_BYTES_MAX));

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// [`NAME_CHARS`] visible ASCII characters.
    Name,
    /// Up to [`EMAIL_BYTES_MAX`] bytes with an `@`.
    Email,
    /// Text of at most that many bytes, without control characters.
    Text(usize),
    /// A whole number from the first to the second, both included.
    Number(u64, u64),
    /// At most [`OWN_NUMBERS_MAX`] entries.
    Entries,
    /// No check beyond the type's own.
    Anything,
}

/// The name of a value in error texts, and its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    what: &'static str,
    rule: Rule,
}

/// A value is out of bounds. Its text states the bounds, never the value, which may be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Illegal(pub Bounds);

impl Bounds {
    /// `what` starts the error text, so it has its article.
    pub(crate) const fn of(what: &'static str, rule: Rule) -> Self {
        Self { what, rule }
    }

    /// # Errors
    /// The text breaks the rule.
    pub(crate) fn text(self, text: &str) -> Result<(), Illegal> {
        self.unless(
            match self.rule {
                Rule::Name => NAME_CHARS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()),
                Rule::Email => is_email(text),
                Rule::Text(bytes_max) => {
                    text.len() <= bytes_max && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t')
                }
                Rule::Anything => true,
                Rule::Number(..) | Rule::Entries => false,
            } && !is_key(text),
        )
    }

    /// # Errors
    /// The number breaks the rule.
    pub(crate) fn number(self, number: u64) -> Result<(), Illegal> {
        self.unless(match self.rule {
            Rule::Number(least, most) => (least..=most).contains(&number),
            Rule::Entries => number <= OWN_NUMBERS_MAX as u64,
            Rule::Anything => true,
            Rule::Name | Rule::Email | Rule::Text(_) => false,
        })
    }

    fn unless(self, is_legal: bool) -> Result<(), Illegal> {
        if is_legal { Ok(()) } else { Err(Illegal(self)) }
    }
}

/// Checks overrides, by name, against these bounds.
///
/// # Errors
/// A number or a name is out of bounds, or there are too many.
pub(crate) fn check_numbers<'n>(
    mut numbers: impl ExactSizeIterator<Item = (&'n str, u64)>,
    each: Bounds,
) -> Result<(), Illegal> {
    Bounds::of(each.what, Rule::Entries).number(numbers.len() as u64)?;
    numbers.try_for_each(|(name, number)| OWN_NAME.text(name).and_then(|()| each.number(number)))
}

fn is_email(email: &str) -> bool {
    let parts = email.rsplit_once('@');
    email.len() <= EMAIL_BYTES_MAX
        && parts.is_some_and(|(local, host)| !local.is_empty() && !host.is_empty())
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
}

// Refuse a key pasted into the wrong field: it would be stored in plain text.
fn is_key(text: &str) -> bool {
    KeyForm::of(text.trim().as_bytes()) == KeyForm::Ours
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bounds { what, rule } = self.0;
        match rule {
            Rule::Name => {
                let (least, most) = (NAME_CHARS.start(), NAME_CHARS.end());
                write!(
                    f,
                    "{what} is {least} to {most} visible ASCII characters without spaces: it may travel in a header"
                )
            }
            Rule::Email => write!(f, "{what} is 3 to {EMAIL_BYTES_MAX} bytes with an @, without spaces"),
            Rule::Text(bytes_max) => write!(f, "{what} is at most {bytes_max} bytes without control characters"),
            Rule::Number(least, most) => write!(f, "{what} is {least} to {most}"),
            Rule::Entries => write!(f, "{what}: there can be at most {OWN_NUMBERS_MAX} of them"),
            Rule::Anything => write!(f, "{what} is out of range"),
        }
    }
}

impl std::error::Error for Illegal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_fits_up_to_its_bound_and_no_further() {
        let name = |text: &str| NAME.text(text).is_ok();
        assert!(name("a") && name(&"a".repeat(64)) && name("$20"));
        assert!(!name("") && !name(&"a".repeat(65)) && !name("a b") && !name("é"));
        let note = |text: &str| NOTE.text(text).is_ok();
        assert!(note("") && note("two\nlines\tmore") && note(&"é".repeat(512)));
        assert!(!note(&"é".repeat(513)) && !note("\u{7}"));
        let email = |text: &str| Bounds::of("an email", Rule::Email).text(text).is_ok();
        assert!(email("a@b") && email(&format!("{}@b", "a".repeat(252))));
        for wrong in ["a", "@b", "a@", "a b@c", "a@b\n", &format!("{}@b", "a".repeat(253))] {
            assert!(!email(wrong), "{wrong:?}");
        }
        let number = |number| Bounds::of("it", Rule::Number(1, 3)).number(number).is_ok();
        assert_eq!([0, 1, 3, 4].map(number), [false, true, true, false]);
        let numbers = |count| check_numbers(vec![("http", 1); count].into_iter(), OWN_LIMIT).is_ok();
        assert_eq!([16, 17].map(numbers), [true, false]);
    }

    #[test]
    fn a_key_is_stored_nowhere_as_text() {
        let key = crate::store::PlaintextKey::mint()
            .expect("random numbers")
            .reveal()
            .to_owned();
        for bounds in [NAME, NOTE, SOURCE, OWN_NAME] {
            assert_eq!(bounds.text(&key), Err(Illegal(bounds)));
            assert!(!Illegal(bounds).to_string().contains(&key));
        }
    }
}
