//! How values are written: as tiers.yaml writes them, so that what is read in a difference is found in the file.
//!
//! Absent on purpose: anything that would make two lengths of time, sizes or numbers read alike.

use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use http::HeaderValue;
use serde::Serialize;

use crate::config::excerpt::printable;
use crate::config::secret::without_credentials;
use crate::config::words;
use crate::policy::time::Span;

/// Characters of a value that are shown, at most.
const SHOWN_CHARS_MAX: usize = 80;
/// Characters that are shown before the first that differs, at most, where a value must be cut.
const BEFORE_CHARS_MAX: usize = 20;

/// A length of time.
pub(super) fn length(length: &Duration) -> String {
    words::length(*length)
}

/// The same for the policy's lengths.
pub(super) fn span(span: &Span) -> String {
    words::span(*span)
}

/// What is there, or `none`.
pub(super) fn or<T>(none: &'static str, show: impl Fn(&T) -> String) -> impl Fn(&Option<T>) -> String {
    move |value| value.as_ref().map_or_else(|| none.to_owned(), &show)
}

/// A word of a choice, as the file has it.
pub(super) fn word<T: Serialize>(word: &T) -> String {
    let written = serde_json::to_value(word).unwrap_or_default();
    written.as_str().unwrap_or_default().to_owned()
}

/// `true` or `false`.
pub(super) fn switch(on: &bool) -> String {
    on.to_string()
}

/// A folder or file.
pub(super) fn path(path: &Path) -> String {
    path.display().to_string()
}

/// A header's value.
pub(super) fn value(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Several, with commas between.
pub(super) fn listed(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

/// `1 key`, `2 keys`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// Both texts, printable, without credentials and at most so long that a line shows them; where they must be cut, what differs is
/// not cut away.
pub(super) fn apart(old: &str, new: &str) -> (String, String) {
    let chars = |text: &str| printable(&without_credentials(text)).chars().collect::<Vec<_>>();
    let (old, new) = (chars(old), chars(new));
    if old.len().max(new.len()) <= SHOWN_CHARS_MAX {
        return (old.iter().collect(), new.iter().collect());
    }
    let alike = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let first = alike.saturating_sub(BEFORE_CHARS_MAX);
    let cut = |text: &[char]| {
        let last = text.len().min(first + SHOWN_CHARS_MAX);
        let before = if first > 0 { "…" } else { "" };
        let after = if last < text.len() { "…" } else { "" };
        let shown: String = text[first..last].iter().collect();
        format!("{before}{shown}{after}")
    };
    (cut(&old), cut(&new))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_of_time_read_as_they_are_written() {
        let ms = |ms| length(&Duration::from_millis(ms));
        assert_eq!(
            [ms(500), ms(1_500), ms(30_000), ms(60_000)],
            ["500ms", "1500ms", "30s", "60s"]
        );
        assert_eq!([ms(90_000), ms(300_000), ms(3_600_000)], ["90s", "5m", "1h"]);
        assert_eq!([ms(5_400_000), ms(86_400_000), ms(604_800_000)], ["90m", "24h", "7d"]);
        assert_eq!(length(&Duration::from_nanos(1)), "1ns");
        assert_eq!(length(&Duration::ZERO), "0ns");
    }

    proptest! {
        #[test]
        fn lengths_that_differ_never_read_alike(a in 0_u64..200_000_000, b in 0_u64..200_000_000, unit in 1_u64..100_000) {
            let (a, b) = (Duration::from_millis(a * unit), Duration::from_millis(b / unit));
            prop_assert_eq!(a == b, length(&a) == length(&b));
        }

        #[test]
        fn what_differs_is_not_cut_away(start in "[a-z]{0,200}", old in "[a-z]{0,90}", new in "[a-z]{0,90}", end in "[a-z]{0,200}") {
            let (a, b) = (format!("{start}{old}{end}"), format!("{start}{new}{end}"));
            let (shown_a, shown_b) = apart(&a, &b);
            prop_assert_eq!(a == b, shown_a == shown_b, "{} {}", shown_a, shown_b);
            prop_assert!(shown_a.chars().count() <= SHOWN_CHARS_MAX + 2);
        }
    }
}
