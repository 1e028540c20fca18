//! No secret that somebody wrote into tiers.yaml is echoed: not by `check`, not in JSON, not by `diff`, not by `GET /config` and
//! not in the errors that a log tells.
//!
//! The story: lines were shown as they stood, with what was known to be a secret hidden. So a comment showed its token, a URL its
//! password, a misspelt field its value, and a file that was no YAML whatever was short. Here one secret is put into every place of
//! a file that says everything, in every way that somebody might, and the file is broken in every way at the very line.

use std::fmt::Write as _;
use std::sync::LazyLock;

use serde_json::{Value, json};
use tiergate::config::diff::{DiffLine, diff};
use tiergate::config::{Config, Inks, Nothing, check, document};

/// Short, and without a sign that would betray it.
const SECRET: &str = "hunter2";

/// What the file without a secret says.
static USUAL: LazyLock<Config> = LazyLock::new(|| Config::parse("tiers.yaml", base().to_string().as_bytes()).unwrap());

/// A file that says everything.
fn base() -> Value {
    serde_json::from_str(include_str!("diff/base.json")).unwrap()
}

/// All that is told of those bytes to anybody.
fn told(bytes: &[u8]) -> String {
    let (mut told, config) = told_of_file(bytes);
    if let Some(config) = config {
        for diff in [diff(&USUAL, &config), diff(&config, &USUAL)] {
            writeln!(told, "{diff}\n{}", DiffLine::to_json(&diff.describe(&|_| None))).unwrap();
        }
    }
    told
}

/// The same without what it would change, and what the file says, if nothing is wrong in it.
fn told_of_file(bytes: &[u8]) -> (String, Option<Config>) {
    let checked = check("tiers.yaml", bytes, &Nothing);
    let diagnostics = &checked.diagnostics;
    let mut told = format!(
        "{}\n{diagnostics:?}\n{}\n{}\n",
        diagnostics.shown(Inks::default()),
        diagnostics.to_json(),
        document(bytes)
    );
    let config = checked.into_result();
    if let Err(errors) = &config {
        writeln!(told, "{errors}\n{errors:?}\n{}", errors.to_json()).unwrap();
    }
    (told, config.ok())
}

/// The secret, which that file holds, is not told, nor a half of it.
#[track_caller]
fn kept(file: &str) {
    assert!(file.contains(SECRET), "{file}");
    kept_bytes(file.as_bytes());
}

#[track_caller]
fn kept_bytes(bytes: &[u8]) {
    let told = told(bytes);
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    assert!(
        !told.contains("hunt") && !told.contains("ter2"),
        "{told}\n\n{}",
        shown()
    );
}

/// The document in both ways to write it: a section a line, and a value a line.
fn written(document: &Value) -> [String; 2] {
    let Value::Object(sections) = document else {
        panic!("it has sections")
    };
    let lines = sections
        .iter()
        .map(|(name, section)| format!("{name}: {section}\n"))
        .collect();
    [lines, block(document, 0)]
}

/// In block style, a value a line.
fn block(value: &Value, depth: usize) -> String {
    let indent = "  ".repeat(depth);
    let below = |value: &Value| match value {
        Value::Object(fields) if !fields.is_empty() => format!("\n{}", block(value, depth + 1)),
        Value::Array(items) if !items.is_empty() => format!("\n{}", block(value, depth + 1)),
        value => format!(" {value}\n"),
    };
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| format!("{indent}{}:{}", Value::from(name.as_str()), below(value)))
            .collect(),
        Value::Array(items) => items.iter().map(|item| format!("{indent}-{}", below(item))).collect(),
        value => format!("{indent}{value}\n"),
    }
}

/// The place of each value of the document, of mappings and lists too, as JSON pointers.
fn places(value: &Value, at: &str, places: &mut Vec<String>) {
    places.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                self::places(value, &format!("{at}/{name}"), places);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                self::places(item, &format!("{at}/{number}"), places);
            }
        }
        _ => {}
    }
}

fn all_places() -> Vec<String> {
    let mut all = Vec::new();
    places(&base(), "", &mut all);
    all
}

/// The document in which something else stands at that place.
fn with(at: &str, value: Value) -> Value {
    let mut document = base();
    *document.pointer_mut(at).unwrap() = value;
    document
}

/// The document in which the mapping at that place has one more field; `None` if it is no mapping.
fn and(at: &str, name: &str, value: &Value) -> Option<Value> {
    let mut document = base();
    let fields = document.pointer_mut(at)?.as_object_mut()?;
    fields.insert(name.to_owned(), value.clone());
    Some(document)
}

#[test]
fn where_a_secret_is_asked_for() {
    let hashlike = format!("{SECRET:0>64}");
    for at in [
        "/admin/token",
        "/admin/token_file",
        "/accounts/0/key_sha256",
        "/accounts/1/key_sha256/0",
    ] {
        let (holder, name) = at.rsplit_once('/').unwrap();
        for value in [
            json!(SECRET),
            json!(format!("{SECRET} {SECRET}")),
            json!(hashlike.replace("hunter2", "a1b2c3d")),
            json!(format!("${{{SECRET}}}")),
            json!(format!("x${{A}}{SECRET}")),
            json!([SECRET, [SECRET]]),
            json!({ SECRET: SECRET }),
            json!({ "token": { "name": SECRET } }),
        ] {
            let mut document = base();
            match document.pointer_mut(holder).unwrap() {
                Value::Object(fields) => drop(fields.insert(name.to_owned(), value)),
                Value::Array(items) => items[0] = value,
                _ => panic!("{holder} holds nothing"),
            }
            for text in written(&document) {
                kept_bytes(text.as_bytes());
                assert!(!told(text.as_bytes()).contains("a1b2c3d"), "{text}");
            }
        }
    }
}

#[test]
fn under_a_field_that_is_not_known() {
    for at in all_places() {
        let names = ["tokn", "adminn", "acounts", "key_sha", "colour", "url", "token", "name"];
        for (number, name) in names.into_iter().enumerate() {
            for value in [
                json!(SECRET),
                json!([SECRET]),
                json!({ "token": SECRET, "name": SECRET, SECRET: "a" }),
                json!([{ "key_sha": SECRET, "b": [[SECRET]] }]),
            ] {
                // A name where names are the operator's is none that isn't known, and one that is known is judged as what it is.
                let open =
                    ["/tiers/$5/quotas", "/tiers/$5/limits"].contains(&at.as_str()) || at.starts_with("/answers");
                let known = base().pointer(&at).is_some_and(|mapping| mapping.get(name).is_some());
                if open || known || (name == "token" && at == "/admin") {
                    continue;
                }
                // Below `upstreams` and the like it is an entry, of which fields that are known have their values.
                let entry = ["/tiers", "/upstreams"].contains(&at.as_str());
                let value = if entry && value.is_object() {
                    json!(SECRET)
                } else {
                    value
                };
                let Some(document) = and(&at, name, &value) else {
                    continue;
                };
                kept(&written(&document)[number % 2]);
            }
        }
    }
}

#[test]
fn where_something_else_belongs() {
    for at in all_places() {
        let was = base().pointer(&at).unwrap().clone();
        // The name of a field that isn't known is told: it is most likely mistyped.
        for value in [
            json!({ "colour": SECRET }),
            json!([[{ "a": SECRET }]]),
            json!({ "tokn": [SECRET] }),
        ] {
            // Names are the operator's there.
            if at.starts_with("/answers")
                || ["/tiers", "/upstreams", "/tiers/$5/quotas", "/tiers/$5/limits"].contains(&at.as_str())
            {
                continue;
            }
            let document = with(&at, value);
            kept(&document.to_string());
            kept(&block(&document, 0));
        }
        // A single value, where only mappings belong.
        let of_mappings = was.as_array().is_some_and(|items| items.iter().all(Value::is_object));
        if was.is_object() || of_mappings {
            for value in [json!(SECRET), json!([SECRET])] {
                let document = if at.is_empty() { value } else { with(&at, value) };
                kept(&document.to_string());
                kept(&block(&document, 0));
            }
        }
    }
}

#[test]
fn beside_the_host_in_a_url() {
    for at in all_places() {
        let was = base().pointer(&at).unwrap().clone();
        if was.is_object() || was.is_array() {
            continue;
        }
        let urls = [
            "http://u:hunter2@host:80",
            "http://hunter2@host",
            "HTTPS://u:hunter2@host/a?b",
            "http://u:hun/ter2hunter2@host",
            "http://u:p@hunter2@host",
            "u:hunter2@host",
            "hunter2:hunter2@host",
            "a b http://u:hunter2@host c",
            "/h?token=hunter2",
            "/h?a=b&api_key=hunter2&c=d",
            "http://host/?key=hunter2#a",
            "5hunter2:x@y",
        ];
        for (number, url) in urls.into_iter().enumerate() {
            kept(&written(&with(&at, json!(url)))[number % 2]);
        }
        // What all callers are told has words of which only URLs are special.
        if !at.starts_with("/answers") {
            for url in [
                "http://u:hunter2 or so@host",
                "http://host?hunter2",
                "http://host#hunter2",
                "u:hunter2 \"@host",
            ] {
                let text = block(&with(&at, json!(url)), 0);
                let (told, _) = told_of_file(text.as_bytes());
                assert!(!told.contains("hunt"), "{told}\n\n{text}");
            }
        }
    }
    // As a name.
    for at in [
        "/tiers",
        "/upstreams",
        "/tiers/$5/quotas",
        "/tiers/$5/limits",
        "/answers",
        "/answers/blocked/headers",
        "",
    ] {
        for name in ["http://u:hunter2@host", "u:hunter2 b@host"] {
            for value in [json!(1), json!("{}"), json!({}), Value::Null] {
                for text in written(&and(at, name, &value).unwrap()) {
                    kept(&text);
                }
            }
        }
        // Without a space after its colon it is one word.
        for text in written(&and(at, "token:hunter2", &Value::Null).unwrap()) {
            kept(&text);
        }
    }
}

#[test]
fn in_a_comment_of_any_line() {
    let mistakes = [
        "/queue/length",
        "/tiers/$5/max_wait",
        "/limits/0/per",
        "/routes/0/metered",
        "/accounts/1/tier",
    ];
    let documents = [&mistakes[..], &[]]
        .concat()
        .into_iter()
        .map(|at| with(at, json!("5x")));
    for document in documents.chain([base()]) {
        for text in written(&document) {
            for comment in [
                "# token: hunter2",
                "#hunter2",
                "# - hunter2: \"hunter2\" # hunter2",
                "#!hunter2 &hunter2 *hunter2",
            ] {
                let after: String = text.lines().map(|line| format!("{line} {comment}\n")).collect();
                let before: String = text.lines().map(|line| format!("{comment}\n{line}\n")).collect();
                kept(&after);
                kept(&before);
            }
        }
    }
}

/// Ways in which a line stops a file from being one, or holds what may stand nowhere; `@` is the line.
const BREAKS: [&str; 26] = [
    "@]",
    "@}",
    "@ \"",
    "\"@",
    "'@",
    "[@",
    "{@",
    "\t@",
    "@: x: y",
    "%@",
    "@ @ `x",
    "&a @",
    "*a\n@",
    "!a @",
    "- @",
    "@\n---\n@",
    "@\n...\n@\n---\na: b",
    "@\n\u{1}",
    "\u{1}@",
    "<<: { a: b }\n@",
    "? @",
    "@\n  : b",
    "@: |\n",
    "@ >\n x",
    "x\n@",
    "@\n[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

/// Lines on which somebody may have left a secret.
const LINES: [&str; 24] = [
    "token: hunter2",
    "token:hunter2",
    "token=hunter2",
    "  token: \"hunter2\"",
    "admin: { listen: 127.0.0.1:9090, token: hunter2 }",
    "admin: { listen: 127.0.0.1:9090, token:hunter2 }",
    "admin: { listen: 127.0.0.1:9090, hunter2 }",
    "admin: { listen: 127.0.0.1:9090, secret_token_hunter2 }",
    "secret-hunter2",
    "accounts:\n  - { name: bot, tier: free, key_sha256: hunter2 }",
    "accounts:\n  - name: bot\n    key_sha256:\n    - hunter2",
    "accounts:\n  - name: bot\n    key_sha256:\n      hunter2",
    "accounts: [ hunter2 ]",
    "key_sha256: |\n    hunter2\n    hunter2: hunter2",
    "key_sha256: >-\n    hunter2\n    hunter2",
    "key_sha256: \"a\n    hunter2\n    hunter2\"",
    "token: 'a\n    hunter2",
    "upstreams: { a: { servers: [ { url: http://u:hunter2@host, slots: 1 } ] } }",
    "url: http://u:hunter2@host",
    "tokn: hunter2 # hunter2",
    "key_hunter2: x",
    "hunter2: x",
    "listen: &hunter2 127.0.0.1:80",
    "listen: !hunter2 127.0.0.1:80",
];

#[test]
fn on_a_line_that_breaks_the_file() {
    let [sections, block] = written(&base());
    for (number, line) in LINES.iter().enumerate() {
        for broken in BREAKS {
            let broken = broken.replace('@', line);
            kept(&broken);
            for text in [&sections, &block] {
                kept(&format!("{text}{broken}\n"));
                kept(&format!("{broken}\n{text}"));
                let (before, after) = text.split_at(text.match_indices('\n').nth(number).unwrap().0 + 1);
                kept(&format!("{before}{broken}\n{after}"));
            }
        }
    }
}

#[test]
fn beside_bytes_that_are_no_text() {
    for line in LINES {
        for bytes in [&b"\xff"[..], b"\xff\n", b"\n\xc3(", b"\0", b"\x1b[31m"] {
            kept_bytes(&[line.as_bytes(), bytes].concat());
            kept_bytes(&[bytes, line.as_bytes()].concat());
        }
    }
}

#[test]
fn what_is_no_secret_is_shown_all_the_same() {
    let told = |text: &str| told(text.as_bytes());
    let mistyped = told("queue: { lenght: 8, length: nine, max_wait: 30sec }\n");
    for part in [
        "unknown field `lenght`; did you mean `length`?",
        "not `nine`",
        "length: nine",
        "`30sec`",
    ] {
        assert!(mistyped.contains(part), "{part} in {mistyped}");
    }
    let broken = told("queue: { length: 8\ntiers: { free: 8 }\n");
    assert!(
        broken.contains("tiers: { ****: * }") || broken.contains("queue: { length: *"),
        "{broken}"
    );
}
