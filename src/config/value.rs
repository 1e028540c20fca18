//! Parsers of single values: text, numbers, durations, sizes, choices. Each returns the value, or reports the error and advice.
//! There is no guessing: a quoted number is text, a duration has a unit, and only `true` and `false` are booleans.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Report;
use super::snippet::quoted;
use super::suggest::did_you_mean;
use super::words;
use super::yaml::{Node, NodeKind};

/// The longest duration, where a setting has no range of its own.
pub const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

const DURATION_ADVICE: &str = "write a number and its unit, such as 500ms, 30s, 5m, 24h, 7d or 1h30m";
const SIZE_ADVICE: &str = "write a number and its unit, such as 512B, 64KiB, 25MiB, 1GiB or 10MB";

/// A node in messages: its kind, and its text unless that must not be shown.
pub(super) fn shown(node: &Node) -> String {
    match &node.kind {
        NodeKind::Scalar { .. } if node.is_null() => "nothing".to_owned(),
        NodeKind::Scalar { text, .. } if text.is_empty() => "empty text".to_owned(),
        NodeKind::Scalar { .. } if node.secret.get() => "this".to_owned(),
        NodeKind::Scalar { text, .. } => quoted(text),
        NodeKind::Sequence(_) => "a list".to_owned(),
        NodeKind::Mapping(_) => "a mapping".to_owned(),
        NodeKind::Refused => "this".to_owned(),
    }
}

/// Reports that the node isn't `wanted`, unless it has been reported already.
pub(super) fn wrong_type(node: &Node, wanted: &str, advice: &str, report: &mut Report) {
    if !matches!(node.kind, NodeKind::Refused) {
        let message = format!("{wanted} belongs here, not {}", shown(node));
        report.add(node.place, message, advice);
    }
}

/// Text, which may not be empty.
pub(super) fn text<'n>(node: &'n Node, wanted: &str, report: &mut Report) -> Option<&'n str> {
    let written = node.text().filter(|text| !text.is_empty() && !node.is_null());
    if written.is_none() {
        let is_empty = node.text().is_some_and(str::is_empty);
        let advice = if is_empty {
            "write it, or leave the field out"
        } else {
            ""
        };
        wrong_type(node, wanted, advice, report);
    }
    written
}

/// Whether the name has 1 to 64 characters, all of them `legal`.
pub(super) fn name_is_legal(name: &str, legal: impl Fn(char) -> bool) -> bool {
    (1..=super::NAME_CHARS_MAX).contains(&name.len()) && name.chars().all(legal)
}

/// An integer within the range.
pub(super) fn integer(node: &Node, range: RangeInclusive<u64>, report: &mut Report) -> Option<u64> {
    let wanted = format!("a whole number from {} to {}", range.start(), range.end());
    let NodeKind::Scalar { text, quoted } = &node.kind else {
        wrong_type(node, &wanted, "", report);
        return None;
    };
    let number = plain_digits(text).and_then(|digits| digits.parse::<u64>().ok());
    let advice = match number.filter(|number| range.contains(number)) {
        Some(number) if !*quoted => return Some(number),
        Some(number) => format!("take away the quotes: {number}"),
        None if plain_digits(text.strip_prefix('-').unwrap_or(text)).is_some() => {
            let message = format!("{} is outside {} to {}", shown(node), range.start(), range.end());
            report.add(node.place, message, format!("write {wanted}"));
            return None;
        }
        None => digits_alone(text),
    };
    wrong_type(node, &wanted, &advice, report);
    None
}

/// Advice for what was meant as a number.
fn digits_alone(text: &str) -> String {
    let digits: String = text.chars().filter(|c| !matches!(c, '_' | ',' | '\'' | ' ')).collect();
    if digits != text && plain_digits(&digits).is_some() {
        return format!("write digits only: {digits}");
    }
    match text.to_ascii_lowercase().as_str() {
        "unlimited" | "unbounded" | "infinite" | "inf" | "none" | "no" | "off" | "-1" => {
            "there is no word for it: leave out what has this number, or write a large one".to_owned()
        }
        _ => String::new(),
    }
}

/// Decimal digits alone, without a leading zero (which some take for octal).
fn plain_digits(text: &str) -> Option<&str> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (digits && (text == "0" || !text.starts_with('0'))).then_some(text)
}

/// `true` or `false`.
pub(super) fn boolean(node: &Node, report: &mut Report) -> Option<bool> {
    match &node.kind {
        NodeKind::Scalar { text, quoted: false } if text == "true" => Some(true),
        NodeKind::Scalar { text, quoted: false } if text == "false" => Some(false),
        _ => {
            let advice = match node.text().map(str::to_ascii_lowercase).as_deref() {
                Some("yes" | "on" | "true") => "write true",
                Some("no" | "off" | "false") => "write false",
                _ => "",
            };
            wrong_type(node, "true or false", advice, report);
            None
        }
    }
}

/// Words of other programs, and their equivalents here.
const SYNONYMS: [(&str, &str); 12] = [
    ("ip", "network"),
    ("address", "network"),
    ("client", "network"),
    ("user", "account"),
    ("key", "account"),
    ("all", "global"),
    ("everybody", "global"),
    ("leaky_bucket", "burst"),
    ("token_bucket", "burst"),
    ("gcra", "burst"),
    ("round_robin", "fair"),
    ("sync", "strict"),
];

/// One of the words.
pub(super) fn one_of(node: &Node, words: &[&'static str], report: &mut Report) -> Option<&'static str> {
    let wanted = match words {
        [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        alone => alone.concat(),
    };
    let word = node.text().unwrap_or_default();
    let chosen = words.iter().copied().find(|name| *name == word);
    if chosen.is_none() {
        let is_meant = |(other, meant): &&(&str, &str)| *other == word && words.contains(meant);
        let suggestion = match SYNONYMS.iter().find(is_meant) {
            Some((_, meant)) => format!("did you mean `{meant}`?"),
            None => did_you_mean(word, words.iter().copied(), report),
        };
        wrong_type(node, &wanted, suggestion.trim_start_matches("; "), report);
    }
    chosen
}

/// A duration, longer than zero and within the range.
pub(super) fn duration(node: &Node, range: RangeInclusive<Duration>, report: &mut Report) -> Option<Duration> {
    let (message, advice) = match parse_duration(node.text().unwrap_or("-")) {
        Ok(Duration::ZERO) if node.text() != Some("") => {
            ("a length of time must be longer than zero".to_owned(), DURATION_ADVICE)
        }
        Ok(length) if length > DURATION_MAX && *range.end() == DURATION_MAX && range.start().as_secs() == 0 => {
            (format!("{} is longer than 366 days", shown(node)), "write at most 366d")
        }
        parsed => {
            return measure(
                "length of time",
                node,
                (parsed, words::length),
                range,
                DURATION_ADVICE,
                report,
            );
        }
    };
    report.add(node.place, message, advice);
    None
}

/// Parses a duration as in tiers.yaml, such as `24h`, longer than zero and at most [`DURATION_MAX`]: for the command line.
///
/// # Errors
/// What to write instead.
pub fn length_of_time(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if !text.is_empty() && !duration.is_zero() && duration <= DURATION_MAX => Ok(duration),
        Ok(_) => Err(format!("{DURATION_ADVICE}, at most 366d")),
        Err(why) => Err(format!("{why}: {DURATION_ADVICE}")),
    }
}

/// A number of bytes within the range.
pub(super) fn size(node: &Node, range: RangeInclusive<u64>, report: &mut Report) -> Option<u64> {
    let parsed = parse_size(node.text().unwrap_or_default());
    measure("size", node, (parsed, show_size), range, SIZE_ADVICE, report)
}

/// The parsed value, if it is within the range.
fn measure<T: Copy + PartialOrd>(
    thing: &str,
    node: &Node,
    (parsed, show): (Result<T, String>, fn(T) -> String),
    range: RangeInclusive<T>,
    advice: &str,
    report: &mut Report,
) -> Option<T> {
    text(node, &format!("a {thing}"), report)?;
    let (message, advice) = match parsed {
        Ok(value) if range.contains(&value) => return Some(value),
        Ok(_) => {
            let within = format!("{} to {}", show(*range.start()), show(*range.end()));
            (
                format!("{} is outside {within}", shown(node)),
                format!("write a {thing} from {within}"),
            )
        }
        // Why quotes of it.
        Err(_) if node.secret.get() => (format!("{} is not a {thing}", shown(node)), advice.to_owned()),
        Err(why) => (format!("{} is not a {thing}: {why}", shown(node)), advice.to_owned()),
    };
    report.add(node.place, message, advice);
    None
}

/// `30s`, `500ms`, `1h30m`: numbers and units, the larger ones first, each at most once. Saturates.
fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS_MS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let mut total_ms = 0_u64;
    let mut larger = u64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest)?;
        let Some((_, unit_ms)) = UNITS_MS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("{} is not a unit of time", quoted(unit)));
        };
        if *unit_ms >= larger {
            return Err("the larger unit comes first, and each only once".to_owned());
        }
        larger = *unit_ms;
        total_ms = total_ms.saturating_add(number.saturating_mul(*unit_ms));
        rest = after;
    }
    Ok(Duration::from_millis(total_ms))
}

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// `25MiB`: one number and one unit. Saturates.
pub(super) fn parse_size(text: &str) -> Result<u64, String> {
    let (number, unit, after) = number_and_unit(text)?;
    if !after.is_empty() {
        return Err("it is more than one number and one unit".to_owned());
    }
    match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
        Some((_, bytes)) => Ok(number.saturating_mul(*bytes)),
        None => Err(format!("{} is not a unit of size", quoted(unit))),
    }
}

/// The size in the largest binary unit that divides it.
pub(super) fn show_size(bytes: u64) -> String {
    let fits = |(_, unit): &&(&str, u64)| bytes > 0 && bytes.is_multiple_of(*unit);
    let (name, unit) = SIZE_UNITS[5..].iter().rev().find(fits).unwrap_or(&SIZE_UNITS[0]);
    format!("{}{name}", bytes / unit)
}

/// The number and the unit with which the text begins, and what comes after them.
fn number_and_unit(text: &str) -> Result<(u64, &str, &str), String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(digits);
    if number.is_empty() {
        return Err("it does not begin with a whole number".to_owned());
    }
    let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, after) = rest.split_at(letters);
    match after.chars().next() {
        _ if unit.is_empty() && after.is_empty() => Err("it has no unit".to_owned()),
        Some('.' | ',') => Err("it is not a whole number".to_owned()),
        Some(c) if !c.is_ascii_digit() => Err(format!("{} has no place in it", quoted(&c.to_string()))),
        _ => Ok((number.parse().unwrap_or(u64::MAX), unit, after)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let ms = |text| parse_duration(text).map(|duration| duration.as_millis());
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("30s"), Ok(30_000));
        assert_eq!(ms("1h30m"), Ok(5_400_000));
        assert_eq!(ms("7d"), Ok(604_800_000));
        assert_eq!(ms("0s"), Ok(0));
        assert_eq!(ms("99999999999999999999d"), Ok(u128::from(u64::MAX)), "saturates");
        for wrong in [
            "30", "s", "", "1.5s", "-1s", "1m1h", "1s1s", "3 s", "3sec", "1h30", "½s",
        ] {
            assert!(parse_duration(wrong).is_err() || wrong.is_empty(), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512B"), Ok(512));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        assert_eq!(parse_size("25MiB"), Ok(26_214_400));
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("10MB"), Ok(10_000_000));
        assert_eq!(parse_size("99999999999999999999TiB"), Ok(u64::MAX), "saturates");
        for wrong in ["25", "MiB", "", "25mib", "1.5MiB", "1MiB1B", "-1B"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(show_size(1 << 40), "1TiB");
        assert_eq!(show_size(8 << 10), "8KiB");
        assert_eq!(show_size(1000), "1000B");
        assert_eq!(show_size(0), "0B");
    }

    #[test]
    fn numbers_are_digits_without_leading_zeros() {
        assert_eq!(plain_digits("0"), Some("0"));
        for wrong in ["", "01", "+1", "-1", "1_000", "1e3", "0x10"] {
            assert_eq!(plain_digits(wrong), None, "{wrong}");
        }
    }
}
