//! The grammar of a document, from its schema: fields, entries with names of the operator's choice, items and values.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use serde_json::Value;

use super::scalar::SECRET;
use super::schema;

/// The names of all fields, at any location.
static FIELDS: LazyLock<BTreeSet<&'static str>> = LazyLock::new(|| {
    let mut fields = BTreeSet::new();
    collect(schema::described(), &mut fields);
    fields
});

/// A node of the grammar: what the schema allows there.
#[derive(Clone, Debug)]
pub(super) struct GrammarNode {
    /// The alternatives for a value, references resolved.
    forms: Vec<&'static Value>,
}

/// The kind of a name in a mapping.
pub(super) enum NameKind {
    /// A field, and the grammar of its value.
    Field(GrammarNode),
    /// A name of the operator's choice, and the grammar of its value.
    Chosen(GrammarNode),
    /// Not a field of this mapping.
    Unknown,
}

impl GrammarNode {
    /// The whole document.
    pub(super) fn document() -> Self {
        Self::of(schema::described())
    }

    /// An unknown location.
    pub(super) fn nowhere() -> Self {
        Self { forms: Vec::new() }
    }

    fn of(schema: &'static Value) -> Self {
        let forms = schema::forms(schema);
        Self { forms }
    }

    /// The kind of that name, if this is a mapping.
    pub(super) fn named(&self, name: &str) -> NameKind {
        let field = |form: &&'static Value| form.get("properties").and_then(|fields| fields.get(name));
        if let Some(field) = self.forms.iter().find_map(field) {
            return NameKind::Field(Self::of(field));
        }
        let chosen = |form: &&'static Value| form.get("additionalProperties").filter(|entry| entry.is_object());
        let chosen = self.forms.iter().find_map(chosen);
        chosen.map_or(NameKind::Unknown, |entry| NameKind::Chosen(Self::of(entry)))
    }

    /// The names of this mapping's fields.
    pub(super) fn fields(&self) -> impl Iterator<Item = &'static str> {
        let fields = self.forms.iter().filter_map(|form| form.get("properties")?.as_object());
        fields.flat_map(|fields| fields.keys().map(String::as_str))
    }

    /// Whether the value is secret.
    pub(super) fn is_secret(&self) -> bool {
        self.forms.iter().any(|form| form.get(SECRET).is_some())
    }

    /// Whether environment variables are expanded here.
    pub(super) fn takes_variable(&self) -> bool {
        self.forms.iter().any(|form| form.get("x-environment").is_some())
    }

    /// An item of this list. If no list is allowed here, an item is treated like a single value.
    pub(super) fn item(&self) -> Self {
        let items = self.forms.iter().find_map(|form| form.get("items"));
        items.map_or_else(|| self.clone(), Self::of)
    }

    /// Whether a single value is allowed here, or in a list here.
    pub(super) fn takes_value(&self) -> bool {
        let single = |form: &&'static Value| {
            let name = form.get("type").and_then(Value::as_str);
            name.is_some_and(|name| !matches!(name, "object" | "array"))
        };
        let items = self.forms.iter().find_map(|form| form.get("items"));
        self.forms.iter().any(single) || items.is_some_and(|items| Self::of(items).forms.iter().any(single))
    }
}

/// Whether some mapping of a document has a field of that name.
pub(super) fn is_field(name: &str) -> bool {
    FIELDS.contains(name)
}

fn collect(schema: &'static Value, fields: &mut BTreeSet<&'static str>) {
    match schema {
        Value::Object(members) => {
            let own = members.get("properties").and_then(Value::as_object);
            fields.extend(own.into_iter().flat_map(|own| own.keys().map(String::as_str)));
            members.values().for_each(|member| collect(member, fields));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, fields)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &[&str]) -> GrammarNode {
        path.iter().fold(GrammarNode::document(), |grammar, name| {
            match (*name, grammar.named(name)) {
                ("-", _) => grammar.item(),
                (_, NameKind::Field(grammar) | NameKind::Chosen(grammar)) => grammar,
                (name, NameKind::Unknown) => panic!("{name} of {path:?} is unknown"),
            }
        })
    }

    #[test]
    fn fields_are_known_where_they_belong() {
        assert!(at(&["listen"]).takes_value());
        assert!(!at(&["queue"]).takes_value() && !at(&[]).takes_value());
        assert!(at(&["accounts", "-", "key_sha256"]).takes_value());
        assert!(at(&["accounts", "-", "key_sha256", "-"]).takes_value());
        assert!(!at(&["accounts"]).takes_value(), "an account is no value");
        assert!(
            at(&["trusted_proxies"]).takes_value(),
            "one that stands without its list"
        );
        assert!(at(&["tiers", "any", "quotas", "any", "zone"]).takes_value());
        assert!(at(&["tiers", "any", "limits", "any", "lifts"]).takes_value());
        assert!(matches!(at(&["tiers"]).named("token"), NameKind::Chosen(_)));
        assert!(matches!(at(&["admin"]).named("tokn"), NameKind::Unknown));
        assert!(matches!(at(&["listen"]).named("a"), NameKind::Unknown));
        assert_eq!(
            at(&["admin"]).fields().collect::<Vec<_>>(),
            ["hosts", "listen", "token", "token_file"]
        );
        assert!(is_field("key_sha256") && is_field("length") && !is_field("hunter2"));
    }
}
