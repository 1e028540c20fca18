//! A JSON body, and what is wrong with it in the words of its fields.
//!
//! Absent on purpose: the words of the JSON crate, which tell of types of ours and repeat values, among which may be a key.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::Problem;
use super::wire::{BODY_BYTES_MAX, read};
use super::{Admin, BODY_TIMEOUT};

/// Characters of a field's name that an error repeats, at most.
const NAME_CHARS_MAX: usize = 32;

/// A JSON body.
pub struct Sent<T>(pub T);

/// The fields of what may be sent as one object.
pub trait Fields: DeserializeOwned {
    /// All of them.
    fn all() -> Vec<Field>;
}

/// A field of an object that is sent.
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it holds, in words.
    pub holds: &'static str,
    /// Whether it must be there. Then it holds text.
    pub required: bool,
}

impl Field {
    /// One that may be left out.
    pub const fn optional(name: &'static str, holds: &'static str) -> Self {
        let required = false;
        Self { name, holds, required }
    }

    /// One that must be there, which holds text.
    pub const fn required(name: &'static str, holds: &'static str) -> Self {
        let required = true;
        Self { name, holds, required }
    }
}

impl<T: Fields> FromRequest<Arc<Admin>> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, admin: &Arc<Admin>) -> Result<Self, Problem> {
        let body = read(request, BODY_BYTES_MAX, BODY_TIMEOUT, admin.gate.clock()).await?;
        // Nothing sent is nothing said.
        let body = if body.is_empty() { &b"{}"[..] } else { &body };
        match serde_json::from_slice(body) {
            Ok(sent) => Ok(Self(sent)),
            Err(_) => Err(Problem::bad_request(wrong::<T>(body))),
        }
    }
}

/// Why that body, which is none of these lines, is none.
fn wrong<T: Fields>(body: &[u8]) -> String {
    let object: Map<String, Value> = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return format!("the body is not a JSON object with fields of {}", fields::<T>()),
        Err(error) => {
            return format!(
                "the body is not JSON: see line {}, column {}",
                error.line(),
                error.column()
            );
        }
    };
    match misfit::<T>(&object) {
        Some(OverrideError::Unknown(name)) => {
            let name = name.chars().take(NAME_CHARS_MAX);
            let shown: String = name.flat_map(char::escape_default).collect();
            format!("unknown field `{shown}`; there are {}", fields::<T>())
        }
        Some(OverrideError::Missing(Field { name, holds, .. })) => format!("the field `{name}` is missing: {holds}"),
        Some(OverrideError::Other(Field { name, holds, .. })) => {
            format!("the field `{name}` holds something else than {holds}")
        }
        None => "a field is given twice".to_owned(),
    }
}

/// What is wrong with an object that was sent.
pub enum OverrideError<'o> {
    /// It has a field of that name, which isn't known.
    Unknown(&'o str),
    /// It lacks that field.
    Missing(Field),
    /// That field holds something else.
    Other(Field),
}

/// The first thing that is wrong with that object, if anything is but that a field was given twice.
pub fn misfit<T: Fields>(object: &Map<String, Value>) -> Option<OverrideError<'_>> {
    let fields = T::all();
    let is_known = |name: &str| fields.iter().any(|field| field.name == name);
    if let Some(name) = object.keys().find(|name| !is_known(name)) {
        return Some(OverrideError::Unknown(name));
    }
    fields.into_iter().find_map(|field| match object.get(field.name) {
        None => field.required.then_some(OverrideError::Missing(field)),
        Some(value) => (!holds_what_it_should::<T>(field.name, value)).then_some(OverrideError::Other(field)),
    })
}

/// Whether that value is right for its field: whether it is in an object of which all else is.
fn holds_what_it_should<T: Fields>(name: &str, value: &Value) -> bool {
    let required = T::all().into_iter().filter(|field| field.required);
    let mut object: Map<String, Value> = required.map(|field| (field.name.to_owned(), "".into())).collect();
    object.insert(name.to_owned(), value.clone());
    serde_json::from_value::<T>(object.into()).is_ok()
}

fn fields<T: Fields>() -> String {
    let names: Vec<&str> = T::all().iter().map(|field| field.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin::keys::{NewKeyLine, RotateLine};
    use crate::http::admin::networks;
    use crate::store::{AccountPatch, AccountSpec};

    /// Exactly the fields that are read are told of.
    fn agree<T: Fields>() {
        let told = serde_json::from_str::<T>(r#"{ "?": 0 }"#)
            .err()
            .map(|error| error.to_string());
        let told = told.expect("no field has that name");
        let read: Vec<&str> = told.split('`').skip(3).step_by(2).collect();
        assert_eq!(
            read,
            T::all().iter().map(|field| field.name).collect::<Vec<_>>(),
            "{told}"
        );
    }

    #[test]
    fn the_fields_that_are_told_of_are_those_that_are_read() {
        agree::<AccountSpec>();
        agree::<AccountPatch>();
        agree::<networks::ChangeLine>();
        agree::<NewKeyLine>();
        agree::<RotateLine>();
    }
}
