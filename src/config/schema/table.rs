//! The table of all settings in `docs/configuration.md`, from the schema: path, type, default and description.

use serde_json::Value;

use super::{DESCRIBED, KIND, forms};

/// The table, in Markdown.
pub fn table() -> String {
    let mut rows = vec![
        "| setting | value | default | what it says |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    fields(&DESCRIBED, "", &mut rows);
    rows.push(String::new());
    rows.join("\n")
}

/// Adds a row for each field of the mapping, by name.
fn fields(section: &'static Value, before: &str, rows: &mut Vec<String>) {
    let required = section["required"].as_array();
    for (name, field) in section["properties"].as_object().into_iter().flatten() {
        let is_required = required.is_some_and(|required| required.contains(&Value::from(name.as_str())));
        let default = match (field.get("default"), is_required) {
            (Some(Value::String(text)), _) => format!("`{text}`"),
            (Some(value), _) => format!("`{value}`"),
            (None, true) => "must be given".to_owned(),
            (None, false) => String::new(),
        };
        let at = format!("{before}{name}");
        let meaning = field["description"].as_str().unwrap_or_default().replace('|', "\\|");
        rows.push(format!("| `{at}` | {} | {default} | {meaning} |", kind(field)));
        below(field, &at, rows);
    }
}

/// The nested fields: of a mapping, of the entries of a named list (`NAME`), of the items of a list (`[]`).
fn below(field: &'static Value, at: &str, rows: &mut Vec<String>) {
    for form in forms(field) {
        fields(form, &format!("{at}."), rows);
        if let Some(entry) = form.get("additionalProperties").filter(|entry| entry.is_object()) {
            below(entry, &format!("{at}.NAME"), rows);
        }
        if let Some(item) = form.get("items") {
            below(item, &format!("{at}[]"), rows);
        }
    }
}

/// The type of the value, in few words.
fn kind(field: &'static Value) -> String {
    let mut kinds: Vec<String> = forms(field).into_iter().filter_map(one_kind).collect();
    kinds.dedup();
    kinds.join(" or ")
}

fn one_kind(form: &Value) -> Option<String> {
    if let Some(kind) = form[KIND].as_str() {
        return Some(kind.to_owned());
    }
    if form.get("const").is_some() {
        return None;
    }
    if let Some(words) = form["oneOf"]
        .as_array()
        .filter(|words| words.iter().all(|word| word.get("const").is_some()))
    {
        let words: Vec<String> = words
            .iter()
            .filter_map(|word| Some(format!("`{}`", word["const"].as_str()?)))
            .collect();
        return Some(words.join(", "));
    }
    if let Some(words) = form["enum"].as_array() {
        let words: Vec<String> = words
            .iter()
            .filter_map(|word| Some(format!("`{}`", word.as_str()?)))
            .collect();
        return Some(words.join(", "));
    }
    let bounds = match (&form["minimum"], &form["maximum"]) {
        (Value::Number(least), Value::Number(most)) => format!("{least} to {most}"),
        _ => "number".to_owned(),
    };
    match form["type"].as_str()? {
        "integer" => Some(bounds),
        "boolean" => Some("`true`, `false`".to_owned()),
        "string" => Some("text".to_owned()),
        "array" => Some("list".to_owned()),
        "object" => Some("mapping".to_owned()),
        _ => None,
    }
}
