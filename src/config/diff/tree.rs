//! Settings as a tree: the serialized sections, defaults filled in, in the order of their fields.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::Serialize;

/// Marks a secret text. Only whether two secrets differ is visible.
pub(in crate::config) const HIDDEN: char = '\u{0}';

/// A part of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::config) enum Tree {
    /// Missing.
    Nothing,
    Value(String),
    List(Vec<Tree>),
    Map(Vec<(String, Tree)>),
}

static NOTHING: Tree = Tree::Nothing;

impl Tree {
    /// The serialized value.
    pub(in crate::config) fn of(settings: &impl Serialize) -> Self {
        let written = serde_json::to_string(settings).and_then(|text| serde_json::from_str(&text));
        written.expect("settings are mappings of fields, lists and texts, as JSON has them")
    }

    /// The value of a field.
    pub(super) fn get(&self, field: &str) -> &Self {
        let found = self.fields().iter().find(|(name, _)| name == field);
        found.map_or(&NOTHING, |(_, value)| value)
    }

    pub(super) fn fields(&self) -> &[(String, Self)] {
        match self {
            Self::Map(fields) => fields,
            _ => &[],
        }
    }

    pub(super) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The text to show; `None` if missing.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Value(text) if text.starts_with(HIDDEN) => Some("***".to_owned()),
            Self::Value(text) => Some(text.clone()),
            Self::List(items) => {
                let items: Vec<String> = items.iter().filter_map(Self::text).collect();
                (!items.is_empty()).then(|| items.join(", "))
            }
            Self::Map(fields) => {
                let field = |(name, value): &(String, Self)| Some(format!("{name} {}", value.text()?));
                Some(fields.iter().filter_map(field).collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Grower;
        impl<'de> Visitor<'de> for Grower {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("settings")
            }

            fn visit_unit<E: Error>(self) -> Result<Tree, E> {
                Ok(Tree::Nothing)
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Value(value.to_string()))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Tree, E> {
                Ok(Tree::Value(value.to_string()))
            }

            fn visit_str<E: Error>(self, value: &str) -> Result<Tree, E> {
                Ok(Tree::Value(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Tree::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Tree::Map(fields))
            }
        }
        deserializer.deserialize_any(Grower)
    }
}
