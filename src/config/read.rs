//! Reading the shape of a document: fields of a mapping, entries of a named list, items. Problems are collected, not
//! returned: a reader answers `None` after it has put down why, and the others go on.
//!
//! Absent on purpose: what single values look like (`value`) and which fields there are (the sections).

use std::collections::HashMap;

use super::error::Report;
use super::excerpt::quoted;
use super::suggest::{did_you_mean, nearest};
use super::yaml::{Kind, Node, Place};

/// Names that an advice lists, at most.
const LISTED_NAMES_MAX: usize = 12;

/// What a node is called in messages: its kind, and its text unless that must not be shown.
pub(super) fn shown(node: &Node) -> String {
    match &node.kind {
        Kind::Scalar { .. } if node.is_null() => "nothing".to_owned(),
        Kind::Scalar { text, .. } if text.is_empty() => "empty text".to_owned(),
        Kind::Scalar { .. } if node.secret => "this".to_owned(),
        Kind::Scalar { text, .. } => quoted(text),
        Kind::Sequence(_) => "a list".to_owned(),
        Kind::Mapping(_) => "a mapping".to_owned(),
        Kind::Refused => "this".to_owned(),
    }
}

/// Reports that something else than `wanted` stands here, unless it has been reported already.
pub(super) fn wrong_type(node: &Node, wanted: &str, advice: &str, report: &mut Report) {
    if !matches!(node.kind, Kind::Refused) {
        report.add(
            node.place,
            format!("{wanted} belongs here, not {}", shown(node)),
            advice,
        );
    }
}

/// The mapping's fields, of which the names are known.
pub(super) struct Fields<'n> {
    what: String,
    at: Place,
    known: &'static [&'static str],
    given: Vec<(&'static str, &'n Node)>,
    /// Fields that are written, unknown and repeated ones too.
    count: usize,
    /// Fields that a mistyped one was likely meant to be: to report them as missing too would say it twice.
    meant: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The fields of `node`, which is called `what` and named at `at`. Unknown and repeated ones are reported.
    pub(super) fn of(
        node: &'n Node,
        what: impl Into<String>,
        at: Place,
        known: &'static [&'static str],
        report: &mut Report,
    ) -> Option<Self> {
        let what = what.into();
        let Kind::Mapping(entries) = &node.kind else {
            let advice = format!("{what} has fields: {}", known.join(", "));
            wrong_type(node, "a mapping", &advice, report);
            return None;
        };
        let mut seen: HashMap<&'static str, Place> = HashMap::new();
        let (mut given, mut meant) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            let Some(name) = key
                .text()
                .and_then(|text| known.iter().copied().find(|known| *known == text))
            else {
                meant.extend(unknown_field(key, known, report));
                continue;
            };
            if let Some(first) = seen.get(name) {
                let message = format!("`{name}` is given twice; the first is on line {}", first.line);
                report.add(key.place, message, "keep one of them");
                continue;
            }
            seen.insert(name, key.place);
            given.push((name, value));
        }
        Some(Self {
            what,
            at,
            known,
            given,
            count: entries.len(),
            meant,
        })
    }

    /// Whether nothing at all is written in it, not even a field that is unknown.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether the field is given, or was likely meant by one that is mistyped.
    pub(super) fn is_meant(&self, name: &'static str) -> bool {
        self.get(name).is_some() || self.meant.contains(&name)
    }

    /// The value of a field, if it is given.
    pub(super) fn get(&self, name: &'static str) -> Option<&'n Node> {
        debug_assert!(self.known.contains(&name), "{name} is not announced");
        self.given
            .iter()
            .find(|(given, _)| *given == name)
            .map(|(_, value)| *value)
    }

    /// Reads a field that must be there.
    pub(super) fn required<T>(
        &self,
        name: &'static str,
        advice: &str,
        report: &mut Report,
        read: impl FnOnce(&'n Node, &mut Report) -> Option<T>,
    ) -> Option<T> {
        match self.get(name) {
            Some(value) => read(value, report),
            None if self.meant.contains(&name) => None,
            None => {
                report.add(self.at, format!("{} lacks `{name}`", self.what), advice);
                None
            }
        }
    }

    /// Reads a field that may be left out.
    pub(super) fn maybe<T>(
        &self,
        name: &'static str,
        report: &mut Report,
        read: impl FnOnce(&'n Node, &mut Report) -> Option<T>,
    ) -> Option<T> {
        self.get(name).and_then(|value| read(value, report))
    }

    /// Reads a field that has a default.
    pub(super) fn or<T>(
        &self,
        name: &'static str,
        default: T,
        report: &mut Report,
        read: impl FnOnce(&'n Node, &mut Report) -> Option<T>,
    ) -> T {
        self.maybe(name, report, read).unwrap_or(default)
    }
}

/// Reports a field that is none; the answer is the one that was likely meant.
fn unknown_field(key: &Node, known: &'static [&'static str], report: &mut Report) -> Option<&'static str> {
    let Some(text) = key.text() else {
        wrong_type(key, "the name of a field", "", report);
        return None;
    };
    let fields = format!("fields here: {}", known.join(", "));
    if key.secret {
        // In `name:value` YAML sees one word.
        let meant = text
            .split_once(':')
            .and_then(|(name, _)| known.iter().copied().find(|known| *known == name));
        let advice = match meant {
            Some(meant) => format!("write `{meant}: `, with a space after the colon"),
            None => fields,
        };
        report.add(key.place, "this is the name of no field", advice);
        return meant;
    }
    let suggestion = did_you_mean(text, known.iter().copied(), report);
    report.add(key.place, format!("unknown field {}{suggestion}", shown(key)), fields);
    nearest(text, known.iter().copied())
}

/// One entry of a mapping whose keys are names that the operator chose.
pub(super) struct Entry<'n> {
    pub(super) name: &'n str,
    pub(super) at: Place,
    pub(super) value: &'n Node,
}

/// The entries of a mapping of names, at least 1 and at most `max`. Repeated names are reported; the first stays.
pub(super) fn entries<'n>(node: &'n Node, what: &str, max: usize, report: &mut Report) -> Option<Vec<Entry<'n>>> {
    let Kind::Mapping(given) = &node.kind else {
        wrong_type(
            node,
            "a mapping",
            &format!("write each {what} as `name: {{ … }}`"),
            report,
        );
        return None;
    };
    let mut first: HashMap<&str, Place> = HashMap::new();
    let mut entries = Vec::new();
    for (key, value) in given {
        let Some(name) = key.text() else {
            wrong_type(key, &format!("the name of {}", with_article(what)), "", report);
            continue;
        };
        if key.secret {
            let message = format!("this can't be the name of {}", with_article(what));
            report.add(key.place, message, "after a name stand a colon and a space");
            continue;
        }
        if let Some(first) = first.get(name) {
            let message = format!(
                "{what} {} is defined twice; the first is on line {}",
                shown(key),
                first.line
            );
            report.add(key.place, message, "keep one of them");
            continue;
        }
        first.insert(name, key.place);
        entries.push(Entry {
            name,
            at: key.place,
            value,
        });
    }
    // Of entries that are all wrong each has been told.
    bounded(node, entries.len().max(given.len().min(1)), what, 1, max, report)?;
    Some(entries)
}

/// Reads each item of a list of `min` to `max`. `None` if the list or any item is wrong.
pub(super) fn list<'n, T>(
    node: &'n Node,
    what: &str,
    (min, max): (usize, usize),
    report: &mut Report,
    mut read: impl FnMut(&'n Node, &mut Report) -> Option<T>,
) -> Option<Vec<T>> {
    let Kind::Sequence(items) = &node.kind else {
        wrong_type(
            node,
            "a list",
            "write it in brackets, or each item on a line of its own after `- `",
            report,
        );
        return None;
    };
    bounded(node, items.len(), what, min, max, report)?;
    let read: Vec<Option<T>> = items.iter().map(|item| read(item, report)).collect();
    read.into_iter().collect()
}

fn bounded(node: &Node, count: usize, what: &str, min: usize, max: usize, report: &mut Report) -> Option<()> {
    if (min..=max).contains(&count) {
        return Some(());
    }
    let (message, advice) = if count < min {
        (format!("there is no {what}"), "add at least one".to_owned())
    } else {
        (
            format!("{count} {} are too many", plural(what)),
            format!("at most {max} fit here"),
        )
    };
    report.add(node.place, message, advice);
    None
}

/// Names that other places refer to, in the file's order.
pub(super) struct Names<'n> {
    what: &'static str,
    order: Vec<&'n str>,
    numbers: HashMap<&'n str, u16>,
    /// Which there are, made once: a hostile file asks for it thousands of times.
    advice: String,
}

impl<'n> Names<'n> {
    /// The names of those entries, of which there are no more than a `u16` counts.
    pub(super) fn of(what: &'static str, entries: &[Entry<'n>]) -> Self {
        let order: Vec<&str> = entries.iter().map(|entry| entry.name).collect();
        let numbers = order.iter().copied().zip(0..).collect();
        let listed: Vec<String> = order.iter().take(LISTED_NAMES_MAX).map(|name| quoted(name)).collect();
        let more = if listed.len() < order.len() { ", …" } else { "" };
        let advice = format!("{}: {}{more}", plural(what), listed.join(", "));
        Self {
            what,
            order,
            numbers,
            advice,
        }
    }

    /// The number of the one that is named here. Says nothing if none could be read at all.
    pub(super) fn resolve(&self, node: &Node, report: &mut Report) -> Option<u16> {
        let Some(name) = node.text() else {
            wrong_type(node, &format!("the name of {}", with_article(self.what)), "", report);
            return None;
        };
        self.number(name, node.place, report)
    }

    /// The number of the one of that name, which stands there.
    pub(super) fn number(&self, name: &str, at: Place, report: &mut Report) -> Option<u16> {
        let number = self.numbers.get(name).copied();
        if number.is_none() && !self.order.is_empty() {
            let suggestion = did_you_mean(name, self.order.iter().copied(), report);
            let message = format!("there is no {} {}{suggestion}", self.what, quoted(name));
            report.add(at, message, self.advice.as_str());
        }
        number
    }
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    };
    format!("{article} {noun}")
}

fn plural(noun: &str) -> String {
    let ending = if noun.ends_with('s') { "es" } else { "s" };
    format!("{noun}{ending}")
}
