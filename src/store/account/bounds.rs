//! What can be said of an account, a key or a network: one check for each kind of value, which also tells what it wants.

use std::fmt;
use std::ops::RangeInclusive;

use crate::store::keys::Form;

/// Characters of a name, all of them visible ASCII.
pub const NAME_CHARS: RangeInclusive<usize> = 1..=64;
/// Bytes of an address of mail (RFC 5321 §4.5.3.1.3, without its brackets).
pub const EMAIL_BYTES_MAX: usize = 254;
/// Bytes of a note.
pub const NOTE_BYTES_MAX: usize = 1_024;
/// Request limits, or quotas, for which an account or a network has numbers of its own.
pub const OWN_NUMBERS_MAX: usize = 16;

/// The name of an account.
pub(crate) const NAME: Bounds = Bounds::of("a name", Rule::Name);
/// The name of a source of imports.
pub(crate) const SOURCE: Bounds = Bounds::of("a source", Rule::Name);
/// A number of somebody's own for a request limit, in requests.
pub(crate) const OWN_LIMIT: Bounds = Bounds::of("a number for a request limit", Rule::Number(0, 1_000_000_000));
/// The name of something of which somebody has a number of their own.
pub(crate) const OWN_NAME: Bounds = Bounds::of("the name of a quota or request limit", Rule::Name);
/// What operators want to remember.
pub(crate) const NOTE: Bounds = Bounds::of("a note", Rule::Text(NOTE_BYTES_MAX));

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// [`NAME_CHARS`] visible ASCII characters.
    Name,
    /// Up to [`EMAIL_BYTES_MAX`] bytes with an `@`.
    Email,
    /// Text for people, of at most so many bytes.
    Text(usize),
    /// A whole number from the first to the second.
    Number(u64, u64),
    /// At most [`OWN_NUMBERS_MAX`] of them.
    Entries,
    /// Whatever its type can hold.
    Anything,
}

/// What something is called, and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    what: &'static str,
    rule: Rule,
}

/// Something is out of these bounds. Its text says what they are, and not what was sent, which may be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Illegal(pub Bounds);

impl Bounds {
    /// Those of what is called so, with its article: it stands at the beginning of an error.
    pub(crate) const fn of(what: &'static str, rule: Rule) -> Self {
        Self { what, rule }
    }

    /// Whether the text fits.
    ///
    /// # Errors
    /// It doesn't.
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

    /// Whether the number fits.
    ///
    /// # Errors
    /// It doesn't.
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

/// Whether these numbers of somebody's own fit, by their names: each is within those bounds.
///
/// # Errors
/// One doesn't, its name doesn't, or there are too many.
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

/// A key that was put in a field beside its own would be kept in plain text.
fn is_key(text: &str) -> bool {
    Form::of(text.trim().as_bytes()) == Form::Ours
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
            Rule::Entries => write!(f, "{what} of one's own: there are at most {OWN_NUMBERS_MAX} of them"),
            Rule::Anything => write!(f, "{what} can't be that"),
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
    fn a_key_is_kept_nowhere_as_text() {
        let key = crate::store::Secret::mint()
            .expect("random numbers")
            .reveal()
            .to_owned();
        for bounds in [NAME, NOTE, SOURCE, OWN_NAME] {
            assert_eq!(bounds.text(&key), Err(Illegal(bounds)));
            assert!(!Illegal(bounds).to_string().contains(&key));
        }
    }
}
