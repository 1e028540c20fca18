//! A JSON body, with errors in terms of its fields.
//!
//! The JSON crate's own messages are not used: they name our types and repeat values, one of which may be a key.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::Problem;
use super::wire::{BODY_BYTES_MAX, read};
use super::{Admin, BODY_TIMEOUT};

/// The most characters of a field's name that an error repeats.
const NAME_CHARS_MAX: usize = 32;

/// A JSON body.
pub struct Sent<T>(pub T);

/// The fields that an object may have.
pub trait BodyFields: DeserializeOwned {
    /// All of them.
    fn all() -> Vec<BodyField>;
}

/// A field of an object that is sent.
pub struct BodyField {
    /// Its name.
    pub name: &'static str,
    /// The expected type, in words, after "must be".
    pub holds: &'static str,
    /// Whether it is required. Then it holds text.
    pub required: bool,
}

impl BodyField {
    /// An optional field.
    pub const fn optional(name: &'static str, holds: &'static str) -> Self {
        let required = false;
        Self { name, holds, required }
    }

    /// A required text field.
    pub const fn required(name: &'static str, holds: &'static str) -> Self {
        let required = true;
        Self { name, holds, required }
    }
}

impl<T: BodyFields> FromRequest<Arc<Admin>> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, admin: &Arc<Admin>) -> Result<Self, Problem> {
        let body = read(request, BODY_BYTES_MAX, BODY_TIMEOUT, admin.gate.clock()).await?;
        // An empty body counts as an empty object.
        let body = if body.is_empty() { &b"{}"[..] } else { &body };
        match serde_json::from_slice(body) {
            Ok(sent) => Ok(Self(sent)),
            Err(_) => Err(Problem::bad_request(wrong::<T>(body))),
        }
    }
}

/// Explains why the body is not a valid `T`.
fn wrong<T: BodyFields>(body: &[u8]) -> String {
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
    match first_error::<T>(&object) {
        Some(FieldError::Unknown(name)) => {
            let name = name.chars().take(NAME_CHARS_MAX);
            let shown: String = name.flat_map(char::escape_default).collect();
            format!("unknown field `{shown}`; there are {}", fields::<T>())
        }
        Some(FieldError::Missing(BodyField { name, holds, .. })) => {
            format!("the field `{name}` is missing: {holds}")
        }
        Some(FieldError::Other(BodyField { name, holds, .. })) => {
            format!("the field `{name}` must be {holds}")
        }
        None => "a field is given twice".to_owned(),
    }
}

/// What is wrong with an object.
pub enum FieldError<'o> {
    /// It has an unknown field of that name.
    Unknown(&'o str),
    /// It lacks a required field.
    Missing(BodyField),
    /// That field has another type.
    Other(BodyField),
}

/// The first error in that object. Repeated fields are not found here.
pub fn first_error<T: BodyFields>(object: &Map<String, Value>) -> Option<FieldError<'_>> {
    let fields = T::all();
    let is_known = |name: &str| fields.iter().any(|field| field.name == name);
    if let Some(name) = object.keys().find(|name| !is_known(name)) {
        return Some(FieldError::Unknown(name));
    }
    fields.into_iter().find_map(|field| match object.get(field.name) {
        None => field.required.then_some(FieldError::Missing(field)),
        Some(value) => (!holds_what_it_should::<T>(field.name, value)).then_some(FieldError::Other(field)),
    })
}

/// Tests one value: an otherwise valid object with it must be accepted.
fn holds_what_it_should<T: BodyFields>(name: &str, value: &Value) -> bool {
    let required = T::all().into_iter().filter(|field| field.required);
    let mut object: Map<String, Value> = required.map(|field| (field.name.to_owned(), "".into())).collect();
    object.insert(name.to_owned(), value.clone());
    serde_json::from_value::<T>(object.into()).is_ok()
}

fn fields<T: BodyFields>() -> String {
    let names: Vec<&str> = T::all().iter().map(|field| field.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admin::keys::{NewKeyLine, RotateLine};
    use crate::http::admin::networks;
    use crate::store::{AccountPatch, AccountSpec};

    /// The declared fields are exactly those that serde reads.
    fn agree<T: BodyFields>() {
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
    fn the_listed_fields_are_those_that_are_read() {
        agree::<AccountSpec>();
        agree::<AccountPatch>();
        agree::<networks::ChangeLine>();
        agree::<NewKeyLine>();
        agree::<RotateLine>();
    }
}
