//! A document whose values can be set and reordered, written as YAML in JSON style.
//!
//! serde_json's own maps lose their order, and the order of tiers matters.

use std::fmt;

/// A mapping, a list, or a value as it is written.
#[derive(Clone, Debug)]
pub enum Document {
    Map(Vec<(String, Document)>),
    List(Vec<Document>),
    Value(String),
}

impl Document {
    /// Parses JSON; its mappings are in alphabetical order.
    pub fn of(text: &str) -> Self {
        let value: Result<serde_json::Value, _> = serde_json::from_str(text);
        value.unwrap_or_else(|error| panic!("{error}: {text}")).into()
    }

    /// Sets the value at a path such as `/accounts/0/name` to this JSON, at the end of its mapping if it is new there;
    /// empty text removes it. Does nothing if the path's parent does not exist.
    pub fn set(&mut self, at: &str, text: &str) {
        let (holder, name) = at.rsplit_once('/').expect("a path begins with a slash");
        let new = Some(text).filter(|text| !text.is_empty()).map(Self::of);
        let Some(holder) = self.at(holder) else { return };
        match (holder, new) {
            (Self::Map(fields), new) => {
                let found = fields.iter().position(|(field, _)| field == name);
                match (found, new) {
                    (Some(found), Some(new)) => fields[found].1 = new,
                    (Some(found), None) => drop(fields.remove(found)),
                    (None, Some(new)) => fields.push((name.to_owned(), new)),
                    (None, None) => {}
                }
            }
            (Self::List(items), Some(new)) => items[name.parse::<usize>().expect("a number")] = new,
            (holder, _) => panic!("{at} is no path in {holder}"),
        }
    }

    /// Rotates the list or mapping at this path by `by` places, if there is one.
    pub fn rotate(&mut self, at: &str, by: usize) {
        fn rotated<T>(items: &mut [T], by: usize) {
            let count = items.len().max(1);
            items.rotate_left(by % count);
        }
        match self.at(at) {
            Some(Self::Map(fields)) => rotated(fields, by),
            Some(Self::List(items)) => rotated(items, by),
            Some(Self::Value(_)) | None => {}
        }
    }

    fn at(&mut self, at: &str) -> Option<&mut Self> {
        at.split('/').skip(1).try_fold(self, |document, name| match document {
            Self::Map(fields) => fields
                .iter_mut()
                .find(|(field, _)| field == name)
                .map(|(_, value)| value),
            Self::List(items) => items.get_mut(name.parse::<usize>().ok()?),
            Self::Value(_) => None,
        })
    }
}

impl From<serde_json::Value> for Document {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Object(fields) => {
                Self::Map(fields.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
            serde_json::Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            value => Self::Value(value.to_string()),
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(fields) => {
                f.write_str("{ ")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}\"{name}\": {value}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str(" }")
            }
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Self::Value(value) => f.write_str(value),
        }
    }
}
