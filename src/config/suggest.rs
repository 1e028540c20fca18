//! "Did you mean": the known name nearest to a mistyped one.

use strsim::osa_distance;

use super::error::Report;
use super::snippet::quoted;

/// Names longer than this, in bytes, are not compared.
const COMPARED_BYTES_MAX: usize = 64;
/// No suggestions after this many problems: the comparison must not make a hostile file slow.
const SUGGESTIONS_MAX: usize = 200;

/// The nearest name, if one is near enough.
pub(super) fn nearest<'n>(name: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let typed = name.to_ascii_lowercase();
    let allowed = (typed.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|known| {
            typed.len().max(known.len()) <= COMPARED_BYTES_MAX && typed.len().abs_diff(known.len()) <= allowed
        })
        .map(|known| (osa_distance(&typed, &known.to_ascii_lowercase()), known))
        .filter(|(distance, _)| *distance <= allowed && *distance < typed.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// "; did you mean `…`?", or nothing.
pub(super) fn did_you_mean<'n>(name: &str, known: impl IntoIterator<Item = &'n str>, report: &Report) -> String {
    if report.len() >= SUGGESTIONS_MAX {
        return String::new();
    }
    nearest(name, known)
        .map(|near| format!("; did you mean {}?", quoted(near)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        assert_eq!(osa_distance("", "abc"), 3);
        assert_eq!(osa_distance("concurency", "concurrency"), 1);
        assert_eq!(osa_distance("prioirty", "priority"), 1, "neighbours swapped");
        assert_eq!(osa_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn only_similar_names_are_suggested() {
        let known = ["priority", "concurrency", "quota", "max_wait"];
        assert_eq!(nearest("concurency", known), Some("concurrency"));
        assert_eq!(nearest("prioirty", known), Some("priority"), "neighbours swapped");
        assert_eq!(nearest("Quota", known), Some("quota"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("$2", ["$1", "free"]), Some("$1"));
        assert_eq!(nearest("x", ["y"]), None, "nothing in common");
        assert_eq!(nearest(&"q".repeat(100), known), None);
    }
}
