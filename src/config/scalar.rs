//! Types of single values, each defined once: how it is read, its schema, and how it is written. A field names its type in
//! `#[serde(with = "As::<Length>")]`, or `Maybe` if it has no default, and holds a plain value.

use std::borrow::Cow;
use std::fmt::Display;
use std::marker::PhantomData;
use std::time::Duration;

use serde::{Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::de::{self, NodeDeserializer};
use super::diff::HIDDEN;
use super::entries::{Names, items};
use super::error::Report;
use super::schema::KIND;
use super::value::{self, DURATION_MAX, show_size, shown, text};
use super::words;
use super::yaml::{Location, Node};
use crate::policy::rules::{TierId, UpstreamId};

/// A type of single values.
pub(super) trait Scalar {
    /// The type of the field.
    type Value;

    /// Reads the value, or reports what is wrong with it and returns `None`.
    fn read(node: &Node, report: &mut Report) -> Option<Self::Value>;

    /// The stand-in for an invalid value: never used, since a document with an error gives no configuration.
    fn stand_in() -> Self::Value;

    /// The value as in tiers.yaml, for defaults in the schema, and for differences. An object is an entry of a list.
    fn written(value: &Self::Value) -> Value;

    /// The schema of the type.
    fn schema() -> Value;
}

/// A field with a default, or a required one.
pub(super) struct As<S>(PhantomData<S>);

impl<S: Scalar> As<S> {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<S::Value, D::Error> {
        let NodeDeserializer { node, default_node, .. } = de::here(deserializer)?;
        let read = |node: &Node| de::with_report(|report| S::read(node, report));
        Ok(read(&node)
            .or_else(|| read(default_node.as_deref()?))
            .unwrap_or_else(S::stand_in))
    }

    pub(super) fn serialize<Z: Serializer>(value: &S::Value, serializer: Z) -> Result<Z::Ok, Z::Error> {
        S::written(value).serialize(serializer)
    }
}

/// An optional field.
pub(super) struct Maybe<S>(PhantomData<S>);

impl<S: Scalar> Maybe<S> {
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<S::Value>, D::Error> {
        let here = de::here(deserializer)?;
        Ok(de::with_report(|report| S::read(&here.node, report)))
    }

    pub(super) fn serialize<Z: Serializer>(value: &Option<S::Value>, serializer: Z) -> Result<Z::Ok, Z::Error> {
        value.as_ref().map(S::written).serialize(serializer)
    }
}

/// A type whose schema is inlined rather than referenced by name.
macro_rules! inline_schema {
    ([$($generics:tt)*] $type:ty, |$generator:pat_param| $schema:expr) => {
        impl<$($generics)*> schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema($generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }
    };
}
pub(super) use inline_schema;

inline_schema!([S: Scalar] As<S>, |_| S::schema().try_into().unwrap_or_default());
inline_schema!([S: Scalar] Maybe<S>, |_| S::schema().try_into().unwrap_or_default());

/// A whole number from `MIN` to `MAX`.
pub(super) struct Whole<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

impl<T: TryFrom<u64> + TryInto<u64> + Copy, const MIN: u64, const MAX: u64> Scalar for Whole<T, MIN, MAX> {
    type Value = T;

    fn read(node: &Node, report: &mut Report) -> Option<T> {
        T::try_from(value::integer(node, MIN..=MAX, report)?).ok()
    }

    fn stand_in() -> T {
        T::try_from(MIN).ok().expect("the type holds all from MIN to MAX")
    }

    fn written(value: &T) -> Value {
        (*value).try_into().unwrap_or(u64::MAX).into()
    }

    fn schema() -> Value {
        json!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A duration from `MIN` to `MAX` milliseconds.
pub(super) struct LengthIn<const MIN: u64, const MAX: u64>;

/// A duration, longer than zero and at most a leap year.
pub(super) type Length = LengthIn<1, { DURATION_MAX.as_secs() * 1_000 }>;

impl<const MIN: u64, const MAX: u64> Scalar for LengthIn<MIN, MAX> {
    type Value = Duration;

    fn read(node: &Node, report: &mut Report) -> Option<Duration> {
        value::duration(node, Self::stand_in()..=Duration::from_millis(MAX), report)
    }

    fn stand_in() -> Duration {
        Duration::from_millis(MIN)
    }

    fn written(value: &Duration) -> Value {
        words::length(*value).into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": r"^([0-9]+(d|h|m|s|ms))+$", KIND: "length of time" })
    }
}

/// A number of bytes from `MIN` to `MAX`.
pub(super) struct Size<T, const MIN: u64, const MAX: u64>(PhantomData<T>);

impl<T: TryFrom<u64> + TryInto<u64> + Copy, const MIN: u64, const MAX: u64> Scalar for Size<T, MIN, MAX> {
    type Value = T;

    fn read(node: &Node, report: &mut Report) -> Option<T> {
        T::try_from(value::size(node, MIN..=MAX, report)?).ok()
    }

    fn stand_in() -> T {
        T::try_from(MIN).ok().expect("the type holds all from MIN to MAX")
    }

    fn written(value: &T) -> Value {
        show_size((*value).try_into().unwrap_or(u64::MAX)).into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": r"^[0-9]+(B|kB|KB|MB|GB|KiB|MiB|GiB|TiB)$", KIND: "size" })
    }
}

/// A list of `MIN` to `MAX` values.
pub(super) struct Several<S, const MIN: usize, const MAX: usize>(PhantomData<S>);

/// A type of list items.
pub(super) trait OfSeveral: Scalar<Value: PartialEq + Clone> {
    /// One of them, in messages.
    const NOUN: &'static str;
    /// Whether duplicates are errors.
    const ONCE: bool = false;
}

impl<S: OfSeveral, const MIN: usize, const MAX: usize> Scalar for Several<S, MIN, MAX> {
    type Value = Vec<S::Value>;

    fn read(node: &Node, report: &mut Report) -> Option<Vec<S::Value>> {
        let items = items(node, S::NOUN, (MIN, MAX), report)?;
        let mut values: Vec<S::Value> = Vec::with_capacity(items.len());
        for item in items {
            let Some(value) = S::read(item, report) else { continue };
            if S::ONCE && values.contains(&value) {
                let value = S::written(&value);
                let called = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                report.add(item.place, format!("`{called}` is named twice"), "keep one of them");
                continue;
            }
            values.push(value);
        }
        (values.len() == items.len()).then_some(values)
    }

    fn stand_in() -> Vec<S::Value> {
        Vec::new()
    }

    fn written(values: &Vec<S::Value>) -> Value {
        values.iter().map(S::written).collect()
    }

    fn schema() -> Value {
        let mut schema = json!({ "type": "array", "items": S::schema(), "maxItems": MAX });
        if MIN > 0 {
            schema["minItems"] = MIN.into();
        }
        if S::ONCE {
            schema["uniqueItems"] = true.into();
        }
        schema
    }
}

/// A value, or `off`.
pub(super) struct OrOff<S>(PhantomData<S>);

impl<S: Scalar> Scalar for OrOff<S> {
    type Value = Option<S::Value>;

    fn read(node: &Node, report: &mut Report) -> Option<Option<S::Value>> {
        match node.text() {
            Some("off") => Some(None),
            _ => S::read(node, report).map(Some),
        }
    }

    fn stand_in() -> Option<S::Value> {
        None
    }

    fn written(value: &Option<S::Value>) -> Value {
        value.as_ref().map_or_else(|| "off".into(), S::written)
    }

    fn schema() -> Value {
        json!({ "anyOf": [{ "type": "string", "enum": ["off"] }, S::schema()] })
    }
}

/// A secret value: a token, a key, its hash, or what names one.
pub(super) struct Secret<S>(PhantomData<S>);

impl<S: Scalar> Scalar for Secret<S> {
    type Value = S::Value;

    fn read(node: &Node, report: &mut Report) -> Option<S::Value> {
        S::read(node, report)
    }

    fn stand_in() -> S::Value {
        S::stand_in()
    }

    fn written(value: &S::Value) -> Value {
        hidden(S::written(value))
    }

    fn schema() -> Value {
        let mut schema = S::schema();
        schema[SECRET] = true.into();
        schema
    }
}

fn hidden(value: Value) -> Value {
    match value {
        Value::String(text) => format!("{HIDDEN}{text}").into(),
        Value::Array(items) => items.into_iter().map(hidden).collect(),
        other => other,
    }
}

/// The schema's keyword for secret values.
pub(super) const SECRET: &str = "x-secret";

/// A text that is parsed.
pub(super) trait Parsed {
    type Value: Display;
    /// Its noun in messages.
    const WHAT: &'static str;
    /// Its noun in the table of settings.
    const CALLED: &'static str = Self::WHAT;
    /// A valid example.
    const EXAMPLE: &'static str;
    /// The schema of the type.
    const PATTERN: &'static str = "";
    /// One of several, in messages.
    const NOUN: &'static str = Self::WHAT;
    /// Whether duplicates in a list are errors.
    const ONCE: bool = false;

    /// Parses the text, or returns the error and advice.
    fn parse(written: &str, node: &Node) -> Result<Self::Value, Wrong>;

    /// The error for a text of another kind: "… is not a number".
    fn is_not(node: &Node, advice: impl Into<Cow<'static, str>>) -> Result<Self::Value, Wrong> {
        wrong(format!("{} is not {}", shown(node), Self::WHAT), advice)
    }

    /// The error for a value that is not allowed here: "… can't be a number".
    fn cannot_be(node: &Node, advice: impl Into<Cow<'static, str>>) -> Result<Self::Value, Wrong> {
        wrong(format!("{} can't be {}", shown(node), Self::WHAT), advice)
    }
}

/// An error of a text, and advice.
pub(super) type Wrong = (String, Cow<'static, str>);

pub(super) fn wrong<T>(message: impl Into<String>, advice: impl Into<Cow<'static, str>>) -> Result<T, Wrong> {
    Err((message.into(), advice.into()))
}

impl<P: Parsed<Value: PartialEq + Clone>> OfSeveral for P {
    const NOUN: &'static str = P::NOUN;
    const ONCE: bool = P::ONCE;
}

impl<P: Parsed> Scalar for P {
    type Value = P::Value;

    fn read(node: &Node, report: &mut Report) -> Option<P::Value> {
        let parsed = P::parse(text(node, P::WHAT, report)?, node);
        parsed
            .map_err(|(message, advice)| report.add(node.place, message, advice))
            .ok()
    }

    fn stand_in() -> P::Value {
        let example = P::parse(P::EXAMPLE, &Node::refused(Location::START));
        example.expect("the example is right: tests/config_secrets.rs puts something wrong everywhere")
    }

    fn written(value: &P::Value) -> Value {
        value.to_string().into()
    }

    fn schema() -> Value {
        match P::PATTERN {
            "" => json!({ "type": "string", "minLength": 1, KIND: P::CALLED }),
            pattern => json!({ "type": "string", "pattern": pattern, KIND: P::CALLED }),
        }
    }
}

/// A reference to a name defined elsewhere in the document.
macro_rules! reference {
    ($(#[$doc:meta])* $name:ident, $id:ident, $names:ident) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl Scalar for $name {
            type Value = $id;

            fn read(node: &Node, report: &mut Report) -> Option<$id> {
                de::names().$names.resolve(node, report).map($id)
            }

            fn stand_in() -> $id {
                $id(0)
            }

            fn written(id: &$id) -> Value {
                de::names().$names.name(id.index()).into()
            }

            fn schema() -> Value {
                Names::schema()
            }
        }
    };
}
reference!(
    /// The name of a tier.
    TierName, TierId, tiers
);
reference!(
    /// The name of an upstream.
    UpstreamName, UpstreamId, upstreams
);

// Defaults, as an attribute names them.

pub(super) fn millis<const N: u64>() -> Duration {
    Duration::from_millis(N)
}

pub(super) fn secs<const N: u64>() -> Duration {
    Duration::from_secs(N)
}

pub(super) fn number<T: TryFrom<u64>, const N: u64>() -> T {
    T::try_from(N).ok().expect("the type holds its default")
}

pub(super) fn yes() -> bool {
    true
}
