//! A file and its problems, in the form for programs and operators.

use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::error::{ConfigErrors, Diagnostic, Diagnostics, Report};
use super::secret::{self, References, without_credentials};
use super::yaml::{self, Node, NodeKind};

/// The replacement for secrets.
const HIDDEN: &str = "***";

/// Problems for programs, each `{ "file", "line", "column", "end_line", "end_column", "severity", "message", "advice" }`.
/// What is about the file as a whole has no line.
fn problems(name: &str, problems: &[Diagnostic]) -> Value {
    let shown = |problem: &Diagnostic| {
        let span = problem.span.as_ref();
        json!({
            "file": name,
            "line": span.map(|span| span.line),
            "column": span.map(|span| span.column),
            "end_line": span.map(|span| span.end_line),
            "end_column": span.map(|span| span.end_column),
            "severity": problem.severity.word(),
            "message": problem.message,
            "advice": problem.advice,
        })
    };
    problems.iter().map(shown).collect()
}

impl Diagnostics {
    /// `{ "file", "errors", "warnings", "problems" }`: two numbers, and the problems.
    pub fn to_json(&self) -> Value {
        json!({
            "file": self.name(),
            "errors": self.errors(),
            "warnings": self.warnings(),
            "problems": problems(self.name(), self.problems()),
        })
    }
}

impl ConfigErrors {
    /// The same with errors only, and with `shown`: the text for people, with the lines.
    pub fn to_json(&self) -> Value {
        let mut json = self.0.to_json();
        json["shown"] = self.to_string().into();
        json
    }
}

/// The content of an accepted file as JSON without comments: only what is written, without defaults. `null` for bytes that are no
/// document.
pub fn document(bytes: &[u8]) -> Value {
    let root = yaml::text_of(bytes)
        .ok()
        .and_then(|text| yaml::parse(text, &mut Report::default()).ok());
    root.flatten().map_or(Value::Null, |root| {
        secret::mark(&root, References::Hidden);
        value(&root)
    })
}

fn value(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Refused => Value::Null,
        NodeKind::Scalar { .. } if node.secret.get() && !node.is_null() => HIDDEN.into(),
        NodeKind::Scalar { text, quoted: true } => without_credentials(text).into(),
        NodeKind::Scalar { text, quoted: false } => plain(node, text),
        NodeKind::Sequence(items) => items.iter().map(|item| value(item)).collect(),
        NodeKind::Mapping(fields) => {
            let name = |key: &Node| match key.text() {
                Some(name) if !key.secret.get() => name.to_owned(),
                _ => HIDDEN.to_owned(),
            };
            let shown = |(key, of): &(Rc<Node>, Rc<Node>)| (name(key), value(of));
            Value::Object(fields.iter().map(shown).collect::<Map<_, _>>())
        }
    }
}

fn plain(node: &Node, text: &str) -> Value {
    match text {
        _ if node.is_null() => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        text => text
            .parse::<u64>()
            .map_or_else(|_| without_credentials(text).into(), Value::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_shown_without_comments_and_secrets() {
        let text = "# nobody's business\nlisten: 127.0.0.1:80\nadmin: { listen: x, token: \"${TOKEN}\", token_file: ./secret }\n\
                    keys: { headers: [x-api-key], query: key }\ncores: 4\nratelimit_fields: false\ndata_dir: \"4\"\ncors: ~\n\
                    accounts:\n  - { name: a, tier: \"$5\", key_sha256: [aa, \"${KEYS}\"] }\n";
        let shown = json!({
            "listen": "127.0.0.1:80",
            "admin": { "listen": "x", "token": HIDDEN, "token_file": HIDDEN },
            "keys": { "headers": ["x-api-key"], "query": "key" },
            "cores": 4,
            "ratelimit_fields": false,
            "data_dir": "4",
            "cors": null,
            "accounts": [{ "name": "a", "tier": "$5", "key_sha256": [HIDDEN, HIDDEN] }],
        });
        assert_eq!(document(text.as_bytes()), shown);
        assert_eq!(document(b"\xff"), Value::Null);
        assert_eq!(document(b""), Value::Null);
    }
}
