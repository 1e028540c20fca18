//! Where a document holds what must not be shown: a plain key or token that was put where its hash, or the name of its variable
//! or file, belongs.
//!
//! Absent on purpose: whether the document is right. A hash is no secret, nor is the name of a variable; the path of a file is
//! none either, but what stands in its place may be one.

use super::environment::reference;
use super::excerpt::is_hash;
use super::yaml::{Kind, Node, Place};

/// Fields of an account whose values are no secrets.
const OPEN_ACCOUNT_FIELDS: [&str; 2] = ["name", "tier"];

/// Marks the secrets of a document, so that no message quotes them, and tells where they are.
pub(super) fn mark(root: &mut Node) -> Vec<Place> {
    let mut places = Vec::new();
    if let Kind::Mapping(sections) = &mut root.kind {
        for (key, section) in sections {
            let accounts = key.text() == Some("accounts");
            find(section, key.text().is_some_and(names_a_secret), accounts, &mut places);
        }
    }
    places
}

/// Whether a field of that name holds secrets. `keys` (where a request carries its key) holds none.
pub(super) fn names_a_secret(field: &str) -> bool {
    let field = field.to_ascii_lowercase();
    let holds = ["key_", "_key", "apikey", "sha256", "secret", "token", "password"];
    field == "key" || holds.iter().any(|word| field.contains(word))
}

fn find(node: &mut Node, secret: bool, account: bool, places: &mut Vec<Place>) {
    match &mut node.kind {
        Kind::Scalar { text, .. } if secret && !is_hash(text) && reference(text).is_none() => {
            node.secret = true;
            places.push(node.place);
        }
        Kind::Refused if secret => places.push(node.place),
        Kind::Scalar { .. } | Kind::Refused => {}
        Kind::Sequence(items) => {
            // A bare word among the accounts is most likely a key.
            for item in items {
                let bare = account && matches!(item.kind, Kind::Scalar { .. });
                find(item, secret || bare, account, places);
            }
        }
        Kind::Mapping(fields) => {
            for (key, value) in fields {
                let name = key.text().unwrap_or_default();
                let hidden = secret || names_a_secret(name) || (account && !OPEN_ACCOUNT_FIELDS.contains(&name));
                find(value, hidden, account, places);
                find(key, secret, false, places);
            }
        }
    }
}
