//! The JSON Schema of tiers.yaml, by which editors complete a file and check it while it is written.
//!
//! A type a section, whose fields are those that its reader knows and whose bounds are the reader's: a test holds the two
//! together. `docs/tiers.schema.json` is what [`text`] gives.
//!
//! Absent on purpose: reading by these types. They describe the document and no value of them is ever made; and what a schema
//! can't say, such as whether a tier that is named exists, is said by `tiergate check`.

#![expect(
    dead_code,
    reason = "the types describe a document: nobody makes or reads a value of them"
)]

mod answers;
mod document;
mod edge;
mod levels;
mod limits;
mod scalars;
mod work;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use self::document::Document;

/// The schema as a text, in draft 7, which editors know best.
pub fn text() -> String {
    format!("{:#}\n", value())
}

/// The schema itself.
pub(super) fn value() -> Value {
    let settings = SchemaSettings::draft07().with_transform(RecursiveTransform(plain));
    settings.into_generator().into_root_schema_for::<Document>().to_value()
}

/// Fields that may be left out may not be empty, how wide an integer is in memory is nobody's business, and a description is one
/// line, which editors break as they like.
fn plain(schema: &mut Schema) {
    schema.remove("format");
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|one| one.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            // Beside a reference draft 7 reads nothing else.
            schema.insert("allOf".to_owned(), Value::Array(vec![only.into()]));
        }
    }
}

#[cfg(test)]
mod tests;
