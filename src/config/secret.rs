//! Finds the parts of a document that must not be shown: a token or key written where its variable, its file or its hash belongs;
//! values at locations that the schema doesn't know, such as under a misspelt field; and everything in a URL but its host.
//!
//! What may be shown is known, and all else is hidden. This is all that keeps a secret out of messages: documents hold secrets
//! only where someone wrote them by mistake.

use super::environment::reference;
use super::grammar::{GrammarNode, NameKind, is_field};
use super::suggest::nearest;
use super::yaml::{Node, NodeKind};

/// The longest name of an unknown field that is shown, in characters.
const NAME_CHARS_MAX: usize = 32;
/// Parts of names of fields that hold secrets.
const SECRET_WORDS: [&str; 11] = [
    "key_",
    "_key",
    "apikey",
    "sha256",
    "secret",
    "token",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "authorization",
];

/// How to treat `${NAME}` where a secret belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum References {
    /// The name of a variable is no secret.
    Shown,
    /// Hide it like a secret.
    Hidden,
}

/// What is known of a location.
#[derive(Clone)]
enum Secrecy {
    /// Its grammar. Public text may contain addresses, which are not secret there.
    Open(GrammarNode, Published),
    /// A secret belongs there, or rather what names it.
    Secret,
    /// Unknown.
    Nothing,
}

/// Whether the location's text is public.
type Published = bool;

/// Marks each key and value of a document that must not be shown.
pub(super) fn mark(root: &Node, references: References) {
    mark_node(root, &Secrecy::Open(GrammarNode::document(), false), references);
}

/// Whether a field of that name holds secrets. `keys` (where a request carries its key) holds none.
pub(super) fn names_a_secret(field: &str) -> bool {
    let field = field.to_ascii_lowercase().replace('-', "_");
    field == "key" || SECRET_WORDS.iter().any(|word| field.contains(word))
}

fn mark_node(node: &Node, secrecy: &Secrecy, references: References) {
    match &node.kind {
        NodeKind::Scalar { text, .. } => node.secret.set(match secrecy {
            Secrecy::Open(grammar, published) => !grammar.takes_value() || (!published && has_credentials(text)),
            Secrecy::Secret => references == References::Hidden || reference(text).is_none(),
            Secrecy::Nothing => true,
        }),
        NodeKind::Sequence(items) => {
            let secrecy = match secrecy {
                Secrecy::Open(grammar, published) => Secrecy::Open(grammar.item(), *published),
                other => other.clone(),
            };
            items.iter().for_each(|item| mark_node(item, &secrecy, references));
        }
        NodeKind::Mapping(fields) => {
            for (key, value) in fields {
                let below = mark_name(key, value, secrecy);
                mark_node(value, &below, references);
            }
        }
        NodeKind::Refused => node.secret.set(true),
    }
}

/// Marks the name of a field or entry, and returns what is known of its value.
fn mark_name(key: &Node, value: &Node, secrecy: &Secrecy) -> Secrecy {
    let Some(text) = key.text() else {
        mark_node(key, &Secrecy::Nothing, References::Hidden);
        return Secrecy::Nothing;
    };
    let Secrecy::Open(grammar, published) = secrecy else {
        key.secret.set(!is_field(text));
        return Secrecy::Nothing;
    };
    match grammar.named(text) {
        NameKind::Field(grammar) if grammar.is_secret() => Secrecy::Secret,
        NameKind::Field(grammar) => Secrecy::Open(grammar, *published || text == "answers"),
        NameKind::Chosen(grammar) => {
            let is_secret = has_credentials(text) || (value.is_null() && text.contains(':'));
            key.secret.set(is_secret);
            match value.text().is_some() && names_a_secret(text) {
                true => Secrecy::Secret,
                false => Secrecy::Open(grammar, *published),
            }
        }
        NameKind::Unknown => {
            key.secret.set(!is_shown_unknown(text, value, grammar));
            Secrecy::Nothing
        }
    }
}

/// Whether to show the name of an unknown field: it is similar to a known one, or consists of letters and isn't a word that
/// stands alone. Anything else may be the secret itself.
fn is_shown_unknown(text: &str, value: &Node, grammar: &GrammarNode) -> bool {
    let letters = text.chars().all(|c| c.is_ascii_alphabetic() || matches!(c, '_' | '-'));
    let named = letters && (1..=NAME_CHARS_MAX).contains(&text.len()) && !value.is_null();
    // In `token:hunter2` YAML sees one word.
    named || (!text.contains(':') && nearest(text, grammar.fields()).is_some())
}

/// Whether a value, a single word in YAML, has a user's name and password before an `@`, or in a URL more than its host and path,
/// or a secret in a query.
pub(super) fn has_credentials(text: &str) -> bool {
    let user = text.rfind('@').is_some_and(|at| text[..at].contains(':'));
    let url = text
        .split_once("://")
        .is_some_and(|(_, rest)| rest.contains(['@', '?', '#']));
    user || url || secrets_of_query(text).next().is_some()
}

/// The text with `*` for everything in URLs but host and path. Its length in characters stays the same.
pub(super) fn without_credentials(text: &str) -> String {
    let ends_word = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
    let mut shown = String::with_capacity(text.len());
    for piece in text.split_inclusive(ends_word) {
        let word = piece.trim_end_matches(ends_word);
        let hidden: Vec<(usize, usize)> = user_of(word).into_iter().chain(secrets_of_query(word)).collect();
        let is_hidden = |at: usize| hidden.iter().any(|(from, to)| (*from..*to).contains(&at));
        shown.extend(piece.char_indices().map(|(at, c)| if is_hidden(at) { '*' } else { c }));
    }
    shown
}

/// Where in a word a user's name and password stand, in bytes.
fn user_of(word: &str) -> Option<(usize, usize)> {
    let at = word.rfind('@')?;
    match word[..at].find("://") {
        Some(scheme) => Some((scheme + "://".len(), at)),
        None => word[..at].contains(':').then_some((0, at)),
    }
}

/// Where in a text a query has the values of parameters that hold secrets, in bytes.
fn secrets_of_query(text: &str) -> impl Iterator<Item = (usize, usize)> {
    let query = text.find('?').map_or(text.len(), |at| at + 1);
    let mut from = query;
    text[query..].split('&').filter_map(move |parameter| {
        let begin = from;
        from += parameter.len() + 1;
        let (name, value) = parameter.split_once('=')?;
        let value_from = begin + name.len() + 1;
        (names_a_secret(name) && !value.is_empty()).then_some((value_from, value_from + value.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_as_host_and_path_alone() {
        for (text, shown) in [
            ("http://user:pass@host:80/a", "http://*********@host:80/a"),
            ("http://user@host", "http://****@host"),
            ("http://u:p@ss@host", "http://******@host"),
            ("user:pass@host", "*********@host"),
            ("see <http://u:p@h> and a@b.c", "see <http://***@h> and a@b.c"),
            (
                "/health?x=1&token=abc&y=2 every 5s",
                "/health?x=1&token=***&y=2 every 5s",
            ),
            ("/@me/{id}", "/@me/{id}"),
            ("{limit} of http://host/?page=2", "{limit} of http://host/?page=2"),
            ("é http://é:ß@h", "é http://***@h"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
        for text in ["http://u:p w@h", "u:p@h", "http://h?x", "http://h#x", "/h?api-key=1"] {
            assert!(has_credentials(text), "{text}");
        }
        for text in ["http://h:80/a", "/@me", "a@b.c", "[::1]:80", "/h?x=1", "127.0.0.1:80"] {
            assert!(!has_credentials(text), "{text}");
        }
    }
}
