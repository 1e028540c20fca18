//! Lists and named entries of a document, in its order and with their locations; references between parts by name; and helpers
//! for checks across fields.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::rc::Rc;

use schemars::{JsonSchema, json_schema};
use serde::de::DeserializeOwned;
use serde::{Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::NAME_CHARS_MAX;
use super::de::{self, NodeDeserializer};
use super::error::Report;
use super::scalar::inline_schema;
use super::snippet::quoted;
use super::suggest::did_you_mean;
use super::value::{shown, wrong_type};
use super::yaml::{Location, Node, NodeKind};

/// The most names that an advice lists.
const LISTED_NAMES_MAX: usize = 12;

/// An element of lists or named entries.
pub(super) trait Item: DeserializeOwned {
    /// Its noun in messages.
    const NOUN: &'static str;

    /// The entry of that name in messages.
    fn called(name: &str) -> String {
        format!("{} {}", Self::NOUN, quoted(name))
    }

    /// An item of a list in messages.
    fn of_list(_: &Node) -> String {
        format!("this {}", Self::NOUN)
    }
}

/// One of several, for a check.
pub(super) struct Entry<'a, T> {
    /// Its name; empty in a list.
    pub(super) name: &'a str,
    /// The location of its name, or of the item.
    pub(super) at: Location,
    pub(super) node: &'a Node,
    pub(super) value: &'a T,
}

impl<'a, T> Entry<'a, T> {
    /// Its fields.
    pub(super) fn part<'p>(&'p self, report: &'p mut Report) -> Part<'p> {
        Part::new(self.node, report)
    }
}

/// An item with the name that it has in a mapping.
pub(super) trait Named {
    type Of: Item;

    fn of(name: String, value: Self::Of) -> Self;

    fn parts(&self) -> (&str, &Self::Of);
}

impl<T: Item> Named for (String, T) {
    type Of = T;

    fn of(name: String, value: T) -> Self {
        (name, value)
    }

    fn parts(&self) -> (&str, &T) {
        (&self.0, &self.1)
    }
}

/// A mapping of 1 to `MAX` names that the operator chose, in the file's order. Of a repeated name the first is kept:
/// `#[serde(with = "ByName::<(String, TierSection), 256>")]`.
pub(super) struct ByName<N, const MAX: usize>(PhantomData<N>);

impl<N: Named, const MAX: usize> ByName<N, MAX> {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<N>, D::Error> {
        let NodeDeserializer { node, .. } = de::here(deserializer)?;
        let given = de::with_report(|report| named(&node, N::Of::NOUN, MAX, report));
        let entry = |(key, value): (Rc<Node>, Rc<Node>)| {
            let name = key.text().unwrap_or_default().to_owned();
            let read = read(key.place, value, N::Of::called(&name))?;
            Some(N::of(name, read))
        };
        Ok(given.unwrap_or_default().into_iter().filter_map(entry).collect())
    }

    pub(super) fn serialize<S: Serializer>(entries: &[N], serializer: S) -> Result<S::Ok, S::Error>
    where
        N::Of: Serialize,
    {
        serializer.collect_map(entries.iter().map(N::parts))
    }
}

inline_schema!([N: Named<Of: JsonSchema>, const MAX: usize] ByName<N, MAX>, |generator| {
    let entry = generator.subschema_for::<N::Of>();
    json_schema!({ "type": "object", "additionalProperties": entry, "minProperties": 1, "maxProperties": MAX })
});

/// A list of `MIN` to `MAX` items: `#[serde(with = "Items::<ServerConfig, 1, 256>")]`.
pub(super) struct Items<T, const MIN: usize, const MAX: usize>(PhantomData<T>);

impl<T: Item, const MIN: usize, const MAX: usize> Items<T, MIN, MAX> {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
        let NodeDeserializer { node, .. } = de::here(deserializer)?;
        let given = de::with_report(|report| items(&node, T::NOUN, (MIN, MAX), report));
        let item = |node: &Rc<Node>| read(node.place, Rc::clone(node), T::of_list(node));
        Ok(given.unwrap_or_default().iter().filter_map(item).collect())
    }

    pub(super) fn serialize<S: Serializer>(items: &[T], serializer: S) -> Result<S::Ok, S::Error>
    where
        T: Serialize,
    {
        items.serialize(serializer)
    }
}

inline_schema!([T: JsonSchema, const MIN: usize, const MAX: usize] Items<T, MIN, MAX>, |generator| {
    let mut schema = json_schema!({ "type": "array", "items": generator.subschema_for::<T>(), "maxItems": MAX });
    if MIN > 0 {
        schema.insert("minItems".to_owned(), MIN.into());
    }
    schema
});

fn read<T: DeserializeOwned>(at: Location, node: Rc<Node>, called: String) -> Option<T> {
    let (default_node, what) = (None, called.into());
    de::read(NodeDeserializer {
        node,
        default_node,
        at,
        what,
    })
}

/// The entries read, each with its location.
pub(super) fn entries<'a, N: Named>(read: &'a [N], node: Option<&'a Node>) -> impl Iterator<Item = Entry<'a, N::Of>> {
    read.iter().filter_map(move |entry| {
        let (name, value) = entry.parts();
        let (key, node) = node?.field(name)?;
        let at = key.place;
        Some(Entry { name, at, node, value })
    })
}

/// The items read, each with its location.
pub(super) fn listed<'a, T>(read: &'a [T], node: Option<&'a Node>) -> impl Iterator<Item = Entry<'a, T>> {
    let nodes = node.map_or(&[][..], Node::items);
    read.iter().zip(nodes).map(|(value, node)| Entry {
        name: "",
        at: node.place,
        node,
        value,
    })
}

/// The entries of a mapping of names, at least 1 and at most `max`. Repeated names are reported; the first stays.
pub(super) fn named(node: &Node, what: &str, max: usize, report: &mut Report) -> Option<Vec<(Rc<Node>, Rc<Node>)>> {
    let NodeKind::Mapping(given) = &node.kind else {
        let advice = format!("write each {what} as `name: {{ … }}`");
        wrong_type(node, "a mapping", &advice, report);
        return None;
    };
    let mut first: HashMap<&str, u32> = HashMap::new();
    let mut entries = Vec::new();
    for (key, value) in given {
        let Some(name) = key.text() else {
            wrong_type(key, &format!("the name of {}", with_article(what)), "", report);
            continue;
        };
        if key.secret.get() {
            let message = format!("this can't be the name of {}", with_article(what));
            report.add(key.place, message, "after a name stand a colon and a space");
        } else if let Some(line) = first.get(name) {
            let message = format!("{what} {} is defined twice; the first is on line {line}", shown(key));
            report.add(key.place, message, "keep one of them");
        } else {
            first.insert(name, key.place.line);
            entries.push((Rc::clone(key), Rc::clone(value)));
        }
    }
    // If all entries are invalid, each has been reported.
    bounded(node, entries.len().max(given.len().min(1)), what, (1, max), report)?;
    Some(entries)
}

/// The items of a list of `min` to `max`.
pub(super) fn items<'n>(
    node: &'n Node,
    what: &str,
    bounds: (usize, usize),
    report: &mut Report,
) -> Option<&'n [Rc<Node>]> {
    let NodeKind::Sequence(items) = &node.kind else {
        let advice = "write it in brackets, or each item on a line of its own after `- `";
        wrong_type(node, "a list", advice, report);
        return None;
    };
    bounded(node, items.len(), what, bounds, report)?;
    Some(items)
}

fn bounded(node: &Node, count: usize, what: &str, (min, max): (usize, usize), report: &mut Report) -> Option<()> {
    if count < min {
        report.add(node.place, format!("there is no {what}"), "add at least one");
    } else if count > max {
        let message = format!("{count} {} are too many", plural(what));
        report.add(node.place, message, format!("at most {max} fit here"));
    }
    (min..=max).contains(&count).then_some(())
}

/// A mapping whose fields are checked together. A check names the fields that it depends on: an invalid one has been reported,
/// and its value is a stand-in.
pub(super) struct Part<'a> {
    node: &'a Node,
    report: &'a mut Report,
}

impl<'a> Part<'a> {
    pub(super) fn new(node: &'a Node, report: &'a mut Report) -> Self {
        Self { node, report }
    }

    /// Whether all those fields are written and valid.
    pub(super) fn right(&self, fields: &[&str]) -> bool {
        let right = |field: &&str| {
            self.node
                .value(field)
                .is_some_and(|value| self.report.is_sound(value.place))
        };
        fields.iter().all(right)
    }

    /// Whether those of the fields that are written are valid.
    pub(super) fn sound(&self, fields: &[&str]) -> bool {
        fields
            .iter()
            .all(|field| self.node.value(field).is_none() || self.right(&[field]))
    }

    /// Whether the field is written, or probably meant by a mistyped one.
    pub(super) fn is_meant(&self, field: &'static str) -> bool {
        self.node.value(field).is_some() || self.report.is_meant(self.node.place, field)
    }

    /// Whether the mapping is empty, without even an unknown field.
    pub(super) fn is_empty(&self) -> bool {
        matches!(&self.node.kind, NodeKind::Mapping(entries) if entries.is_empty())
    }

    /// The value of a field.
    pub(super) fn value(&self, field: &str) -> Option<&'a Node> {
        self.node.value(field)
    }

    /// The text of a field, as messages show it.
    pub(super) fn shown(&self, field: &str) -> String {
        self.value(field).map(shown).unwrap_or_default()
    }

    /// Checks the mapping that a field holds, if it does.
    pub(super) fn within(&mut self, field: &str, check: impl FnOnce(Part<'_>)) {
        if let Some(node) = self.value(field) {
            check(Part::new(node, self.report));
        }
    }

    /// Reports a problem elsewhere.
    pub(super) fn add_at(&mut self, at: Location, message: impl Into<String>, advice: impl Into<String>) {
        self.report.add(at, message, advice);
    }

    /// Reports a problem at the field, if it is written, or at the whole mapping.
    pub(super) fn add(&mut self, field: &str, message: impl Into<String>, advice: impl Into<String>) {
        let place = self.value(field).map_or(self.node.place, |value| value.place);
        self.report.add(place, message, advice);
    }
}

/// The names that parts of a document can refer to.
#[derive(Default)]
pub(super) struct KnownNames {
    pub(super) tiers: Names,
    pub(super) limits: Names,
    pub(super) upstreams: Names,
}

/// Names that other places refer to, in the file's order.
#[derive(Default)]
pub(super) struct Names {
    what: &'static str,
    order: Vec<String>,
    numbers: HashMap<String, u16>,
    /// The list of names, built once: a hostile file would need it thousands of times.
    advice: String,
}

impl Names {
    /// Those names, if there are at most `max`: else nothing refers to them.
    pub(super) fn of<'n>(what: &'static str, names: impl Iterator<Item = &'n str>, max: usize) -> Self {
        let mut known = Self {
            what,
            ..Self::default()
        };
        for name in names.filter(|name| !name.is_empty()) {
            let next = u16::try_from(known.order.len()).unwrap_or(u16::MAX);
            if *known.numbers.entry(name.to_owned()).or_insert(next) == next {
                known.order.push(name.to_owned());
            }
        }
        if known.order.len() > max {
            (known.order, known.numbers) = Default::default();
        }
        let listed: Vec<String> = known
            .order
            .iter()
            .take(LISTED_NAMES_MAX)
            .map(|name| quoted(name))
            .collect();
        let more = if listed.len() < known.order.len() { ", …" } else { "" };
        known.advice = format!("{}: {}{more}", plural(what), listed.join(", "));
        known
    }

    /// The schema of a name: one of digits alone needs no quotes.
    pub(super) fn schema() -> Value {
        json!({ "anyOf": [{ "type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX }, { "type": "integer", "minimum": 0 }] })
    }

    /// The name with that number.
    pub(super) fn name(&self, number: usize) -> Option<&str> {
        self.order.get(number).map(String::as_str)
    }

    /// The number of the name written here. Reports nothing if no names could be read.
    pub(super) fn resolve(&self, node: &Node, report: &mut Report) -> Option<u16> {
        let Some(name) = node.text() else {
            wrong_type(node, &format!("the name of {}", with_article(self.what)), "", report);
            return None;
        };
        self.number(name, node.place, report)
    }

    /// The number of the given name at that location.
    pub(super) fn number(&self, name: &str, at: Location, report: &mut Report) -> Option<u16> {
        let number = self.numbers.get(name).copied();
        if number.is_none() && !self.order.is_empty() {
            let suggestion = did_you_mean(name, self.order.iter().map(String::as_str), report);
            let message = format!("there is no {} {}{suggestion}", self.what, quoted(name));
            report.add(at, message, self.advice.as_str());
        }
        number
    }
}

fn with_article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

fn plural(noun: &str) -> String {
    format!("{noun}{}", if noun.ends_with('s') { "es" } else { "s" })
}
