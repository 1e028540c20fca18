//! The JSON Schema of tiers.yaml, for editors that complete and validate it. It comes from the sections' structs;
//! `docs/tiers.schema.json` is the output of [`text`]. `tiergate check` finds what a schema can't express, such as whether a tier
//! exists.

mod table;

use std::collections::HashMap;
use std::sync::LazyLock;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::Value;

use super::Config;
use super::scalar::SECRET;

pub use table::table;

/// The schema's keyword for the kind of a value, where its type says only its notation: for the table only.
pub(super) const KIND: &str = "x-kind";

/// The schema's keyword for the advice on a missing required field: for the reader only.
const ADD: &str = "x-add";

static DESCRIBED: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft07().with_transform(RecursiveTransform(plain));
    settings.into_generator().into_root_schema_for::<Config>().to_value()
});

static REQUIRED: LazyLock<HashMap<&'static str, Vec<(&'static str, &'static str)>>> = LazyLock::new(|| {
    let definitions = DESCRIBED["definitions"].as_object().into_iter().flatten();
    let named = definitions.map(|(name, section)| (name.as_str(), required_of(section)));
    named.chain([("Config", required_of(&DESCRIBED))]).collect()
});

/// The schema as text, in draft 7, which editors support best.
pub fn text() -> String {
    let mut schema = DESCRIBED.clone();
    strip(&mut schema);
    format!("{schema:#}\n")
}

/// The schema with the keywords for the reader.
pub(super) fn described() -> &'static Value {
    &DESCRIBED
}

/// The required fields of that struct, in order, each with its advice.
pub(super) fn required(name: &str) -> &'static [(&'static str, &'static str)] {
    REQUIRED.get(name).map_or(&[], Vec::as_slice)
}

/// The default of that struct's field, if it has one.
pub(super) fn default(section: &str, field: &str) -> Option<&'static Value> {
    let section = match section {
        "Config" => &*DESCRIBED,
        section => DESCRIBED["definitions"].get(section)?,
    };
    section["properties"].get(field)?.get("default")
}

/// The alternatives for a value, one or all of which apply, references resolved.
pub(super) fn forms(schema: &'static Value) -> Vec<&'static Value> {
    let name = schema.get("$ref").and_then(Value::as_str);
    let meant = name.and_then(|name| DESCRIBED.pointer(name.strip_prefix('#')?));
    let several = ["allOf", "anyOf", "oneOf"]
        .into_iter()
        .filter_map(|several| schema.get(several)?.as_array());
    let mut all = vec![schema];
    all.extend(meant.into_iter().chain(several.flatten()).flat_map(forms));
    all
}

fn required_of(section: &'static Value) -> Vec<(&'static str, &'static str)> {
    let required = section["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    let advice = |name| section["properties"][name][ADD].as_str().unwrap_or_default();
    required.map(|name| (name, advice(name))).collect()
}

/// Removes the keywords for the reader.
fn strip(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            members.remove(ADD);
            members.remove(SECRET);
            members.remove(KIND);
            members.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

/// Optional fields may not be empty, integer widths and defaults of whole sections are left out (those are the defaults of their
/// fields), and a description is one line, which editors wrap.
fn plain(schema: &mut Schema) {
    schema.remove("format");
    if schema
        .get("default")
        .is_some_and(|default| default.is_null() || default.is_object())
    {
        schema.remove("default");
    }
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ");
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|one| one.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            // Draft 7 ignores everything beside a reference.
            schema.insert("allOf".to_owned(), Value::Array(vec![only.into()]));
        }
    }
}

#[cfg(test)]
mod tests;
