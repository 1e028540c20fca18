//! Deserializes the sections' structs from the document's tree, and continues after errors: each problem is reported with its
//! location, and a default or stand-in replaces an invalid or missing value. So one mistake hides no other.
//!
//! `derive(Deserialize)` supplies the names of a struct's fields and an enum's words; the schema of the same struct supplies the
//! required fields and their messages. Single values, lists and named entries (`scalar`, `entries`) ask for their location: they
//! deserialize a newtype struct named [`HERE`], which only this deserializer understands.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::rc::Rc;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error, IntoDeserializer, MapAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::entries::KnownNames;
use super::error::Report;
use super::schema;
use super::suggest::{did_you_mean, nearest};
use super::value::{boolean, one_of, shown, wrong_type};
use super::yaml::{Location, Node, NodeKind};

/// The newtype struct with which a value asks for its location.
const HERE: &str = "tiergate here";

thread_local! {
    static READING: ReaderState = ReaderState::default();
}

/// Shared state of reading a document.
#[derive(Default)]
struct ReaderState {
    report: RefCell<Report>,
    names: RefCell<Rc<KnownNames>>,
    handed: RefCell<Option<NodeDeserializer>>,
}

/// Deserializes the value at a node of the document.
#[derive(Clone)]
pub(super) struct NodeDeserializer {
    pub(super) node: Rc<Node>,
    /// Its default, used if it is invalid.
    pub(super) default_node: Option<Rc<Node>>,
    /// Where missing fields are reported.
    pub(super) at: Location,
    /// The name of a mapping in messages.
    pub(super) what: Rc<str>,
}

/// Reads the document as a `T`; `names` are those that its parts may refer to. `None` only if `T` has a field of a type that
/// isn't one of ours.
pub(super) fn document<T: DeserializeOwned>(root: &Rc<Node>, names: KnownNames, report: &mut Report) -> Option<T> {
    let here = NodeDeserializer {
        node: Rc::clone(root),
        default_node: None,
        at: Location::START,
        what: "the file".into(),
    };
    READING.with(|reading| {
        reading.names.replace(Rc::new(names));
        reading.report.swap(&RefCell::new(std::mem::take(report)));
    });
    let read = read(here);
    *report = READING.with(|reading| reading.report.take());
    read
}

/// Reads the node as a `T`.
pub(super) fn read<T: DeserializeOwned>(here: NodeDeserializer) -> Option<T> {
    let place = here.node.place;
    let read = T::deserialize(here);
    read.map_err(|fault| with_report(|report| report.add(place, fault.0, "")))
        .ok()
}

/// A `T` with every field's default.
pub(super) fn defaults<T: DeserializeOwned>() -> T {
    let nothing = serde::de::value::MapDeserializer::<_, DeError>::new(std::iter::empty::<(&str, &str)>());
    T::deserialize(nothing).expect("every field of it has a default")
}

/// Sections whose fields all have defaults have a default themselves.
macro_rules! by_fields {
    ($($section:ty),*) => {
        $(impl Default for $section {
            fn default() -> Self {
                $crate::config::de::defaults()
            }
        })*
    };
}
pub(super) use by_fields;

/// Runs `work` with this reading's report.
pub(super) fn with_report<T>(write: impl FnOnce(&mut Report) -> T) -> T {
    READING.with(|reading| write(&mut reading.report.borrow_mut()))
}

/// Runs `work` with those names at hand.
pub(super) fn with_names<T>(names: KnownNames, act: impl FnOnce() -> T) -> T {
    READING.with(|reading| reading.names.replace(Rc::new(names)));
    act()
}

/// The names that the document gives.
pub(super) fn names() -> Rc<KnownNames> {
    READING.with(|reading| Rc::clone(&reading.names.borrow()))
}

/// The node of the value that is being read.
pub(super) fn here<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeDeserializer, D::Error> {
    struct HandoverVisitor;
    impl Visitor<'_> for HandoverVisitor {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a place in a document")
        }

        fn visit_unit<E>(self) -> Result<(), E> {
            Ok(())
        }
    }
    deserializer.deserialize_newtype_struct(HERE, HandoverVisitor)?;
    let handed = READING.with(|reading| reading.handed.take());
    handed.ok_or_else(|| D::Error::custom("this is read from a document alone"))
}

/// A type was asked for that isn't one of ours.
#[derive(Debug)]
pub(super) struct DeError(String);

impl fmt::Display for DeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for DeError {}

impl Error for DeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl<'de> Deserializer<'de> for NodeDeserializer {
    type Error = DeError;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        let read = with_report(|report| given(&self, known, report));
        let (is_read, mut given) = (read.is_some(), read.unwrap_or_default());
        for (field, advice) in schema::required(name) {
            if given.iter().any(|(given, _)| given == field) {
                continue;
            }
            with_report(|report| {
                // One that was mistyped is not missing too.
                if is_read && !report.is_meant(self.node.place, field) {
                    report.add(self.at, format!("{} lacks `{field}`", self.what), *advice);
                }
            });
            given.push((field, Rc::new(Node::refused(self.at))));
        }
        visitor.visit_map(FieldAccess {
            section: name,
            fields: given.into_iter(),
            value: None,
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        let word = with_report(|report| one_of(&self.node, words, report)).or(words.first().copied());
        let word: StrDeserializer<'_, DeError> = word.unwrap_or_default().into_deserializer();
        visitor.visit_enum(word)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        match self.node.kind {
            NodeKind::Refused => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        let default_node = self.default_node.as_deref().and_then(Node::text) == Some("true");
        visitor.visit_bool(with_report(|report| boolean(&self.node, report)).unwrap_or(default_node))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, DeError> {
        if name != HERE {
            return visitor.visit_newtype_struct(self);
        }
        READING.with(|reading| reading.handed.replace(Some(self)));
        visitor.visit_unit()
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, DeError> {
        Err(DeError("no setting is read as this type".to_owned()))
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

/// The fields of a struct that are written.
type Given = Vec<(&'static str, Rc<Node>)>;

/// The same, and the next one's value.
struct FieldAccess {
    section: &'static str,
    fields: <Given as IntoIterator>::IntoIter,
    value: Option<NodeDeserializer>,
}

impl<'de> MapAccess<'de> for FieldAccess {
    type Error = DeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, DeError> {
        let Some((name, node)) = self.fields.next() else {
            return Ok(None);
        };
        let default_node = schema::default(self.section, name).map(|value| Rc::new(Node::of(value, node.place)));
        let (at, what) = (node.place, format!("`{name}`").into());
        self.value = Some(NodeDeserializer {
            node,
            default_node,
            at,
            what,
        });
        let name: StrDeserializer<'_, DeError> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DeError> {
        let value = self
            .value
            .take()
            .ok_or_else(|| DeError("a value has no key".to_owned()))?;
        seed.deserialize(value)
    }
}

/// The known fields. Unknown and repeated ones are reported. `None`: it is not a mapping.
fn given(here: &NodeDeserializer, known: &'static [&'static str], report: &mut Report) -> Option<Given> {
    let NodeKind::Mapping(entries) = &here.node.kind else {
        let advice = format!("{} has fields: {}", here.what, known.join(", "));
        wrong_type(&here.node, "a mapping", &advice, report);
        return None;
    };
    let mut seen: HashMap<&'static str, Location> = HashMap::new();
    let mut given = Given::new();
    for (key, value) in entries {
        let named = |known: &&&str| key.text() == Some(**known);
        let Some(name) = known.iter().find(named).copied() else {
            if let Some(name) = unknown_field(key, known, report) {
                report.mean(here.node.place, name);
            }
            continue;
        };
        if let Some(first) = seen.get(name) {
            let message = format!("`{name}` is given twice; the first is on line {}", first.line);
            report.add(key.place, message, "keep one of them");
            continue;
        }
        seen.insert(name, key.place);
        given.push((name, Rc::clone(value)));
    }
    Some(given)
}

/// Reports an unknown field, and returns the known one that was likely meant.
fn unknown_field(key: &Node, known: &'static [&'static str], report: &mut Report) -> Option<&'static str> {
    let Some(text) = key.text() else {
        wrong_type(key, "the name of a field", "", report);
        return None;
    };
    let fields = format!("fields here: {}", known.join(", "));
    if !key.secret.get() {
        let suggestion = did_you_mean(text, known.iter().copied(), report);
        report.add(key.place, format!("unknown field {}{suggestion}", shown(key)), fields);
        return nearest(text, known.iter().copied());
    }
    // In `name:value` YAML sees one word.
    let before = text.split_once(':').map_or("", |(name, _)| name);
    let meant = known.iter().copied().find(|known| *known == before);
    let advice = meant.map(|meant| format!("write `{meant}: `, with a space after the colon"));
    report.add(key.place, "this is the name of no field", advice.unwrap_or(fields));
    meant
}
