//! Custom refusals: another status, additional headers, a custom body.

use http::{HeaderName, HeaderValue};
use serde_json::Value as Json;

use super::prelude::*;
use crate::policy::refusal::{Member, Reason};
use crate::template::{BYTES_MAX, Language, PLACES_MAX, Template, Unfit, Value};

/// The number of reasons.
pub(super) const REASONS_MAX: usize = Reason::ALL.len();
/// Headers of one answer, at most.
const HEADERS_MAX: usize = 16;
/// The longest name of a header or type of a body, in characters.
const NAME_CHARS_MAX: usize = 128;
/// The type of a body, unless it says otherwise.
const JSON: &str = "application/json";
/// Headers that only tiergate or the connection sets.
const RESERVED: [&str; 16] = [
    "cache-control",
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "proxy-connection",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
];
/// Headers that the section `cors` sets.
const CORS: &str = "access-control-";

/// A custom answer to one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Status, 400 to 599.
    pub status: Option<u16>,
    /// Additional headers, at most 16.
    pub headers: Vec<(HeaderName, Template)>,
    /// Body and content type. Its placeholders are those of [`Member::ALL`].
    pub body: Option<(HeaderValue, Template)>,
}

/// A custom answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Answer")]
#[schemars(extend("minProperties" = 1, "dependencies" = { "content_type": ["body"] }))]
pub(super) struct Written {
    /// HTTP status.
    #[serde(default, with = "Maybe::<Whole<u16, 400, 599>>")]
    status: Option<u16>,
    /// Additional headers. Names in braces are replaced, such as {retry_after}.
    #[serde(default, with = "Maybe::<Headers>")]
    headers: Option<Vec<(HeaderName, Template)>>,
    /// Content type of the body.
    #[serde(default = "json", with = "As::<ContentType>")]
    content_type: String,
    /// Body. Names in braces are replaced, such as {limit}, {remaining}, {retry_after}, {error}.
    #[serde(default, with = "Maybe::<BodyText>")]
    body: Option<String>,
}

fn json() -> String {
    JSON.to_owned()
}

/// A template in the file.
fn source(template: &Template) -> String {
    template.source(&Member::ALL.map(|(_, name)| name))
}

impl Item for Written {
    const NOUN: &'static str = "reason";

    fn called(name: &str) -> String {
        format!("the answer to {}", quoted(name))
    }
}

/// The reasons, for the schema.
pub(super) fn reasons() -> Json {
    json!({ "enum": Reason::ALL.map(Reason::code) })
}

/// Checks the answers. Returns the valid ones.
pub(super) fn checked(
    answers: &[(String, Written)],
    node: Option<&Node>,
    report: &mut Report,
) -> Vec<(Reason, Answer)> {
    let mut read = Vec::new();
    for entry in entries(answers, node) {
        let name = entry.name;
        let reason = Reason::ALL.into_iter().find(|reason| reason.code() == name);
        if reason.is_none() {
            let meant = did_you_mean(name, Reason::ALL.iter().map(|reason| reason.code()), report);
            let message = format!("no refusal has the reason {}{meant}", quoted(name));
            let reasons = Reason::ALL.map(Reason::code).join(", ");
            report.add(entry.at, message, format!("reasons: {reasons}"));
        }
        read.extend(reason.zip(answer(&entry, report)));
    }
    read
}

fn answer(entry: &Entry<'_, Written>, report: &mut Report) -> Option<Answer> {
    let mut part = entry.part(report);
    if part.value("content_type").is_some() && !part.is_meant("body") {
        let advice = "add `body`, or leave it out";
        part.add("content_type", "`content_type` is of a body, and there is none", advice);
    }
    if part.is_empty() {
        let message = format!("{} is the usual one", Written::called(entry.name));
        part.add_at(entry.at, message, "add `status`, `headers` or `body`, or leave it out");
    }
    let is_kind = part.sound(&["content_type"]);
    let Written {
        status,
        headers,
        content_type,
        body: written,
    } = entry.value;
    let written = written.as_ref().zip(entry.node.value("body")).filter(|_| is_kind);
    let body = written.and_then(|(written, node)| body(node, written, content_type, report));
    Some(Answer {
        status: *status,
        headers: headers.clone().unwrap_or_default(),
        body: HeaderValue::from_str(content_type).ok().zip(body),
    })
}

/// Headers by their names, with values that are filled in.
struct Headers;

impl Scalar for Headers {
    type Value = Vec<(HeaderName, Template)>;

    fn read(node: &Node, report: &mut Report) -> Option<Self::Value> {
        let mut headers: Self::Value = Vec::new();
        for (key, value) in named(node, "header", HEADERS_MAX, report)? {
            let name = header_name(&key, &headers, report);
            let Some(written) = text(&value, "a header's value", report) else {
                continue;
            };
            if !written.chars().all(|c| matches!(c, ' '..='~')) {
                report.add(value.place, "a header's value is visible ASCII", "take out what isn't");
                continue;
            }
            let template = compiled(&value, written, Language::Header, report);
            headers.extend(name.zip(template));
        }
        Some(headers)
    }

    fn stand_in() -> Self::Value {
        Vec::new()
    }

    fn written(headers: &Self::Value) -> Json {
        let header = |(name, value): &(HeaderName, Template)| json!({ "name": name.as_str(), "value": source(value) });
        headers.iter().map(header).collect()
    }

    fn schema() -> Json {
        let value = json!({
            "description": "A header's value: a text, or a number.",
            "anyOf": [{ "type": "string", "minLength": 1 }, { "type": "integer" }, { "type": "boolean" }],
        });
        json!({ "type": "object", "additionalProperties": value, "minProperties": 1, "maxProperties": HEADERS_MAX })
    }
}

/// A header's name, unless another of them has it.
fn header_name(key: &Node, others: &[(HeaderName, Template)], report: &mut Report) -> Option<HeaderName> {
    let name = key.text()?;
    let Some(known) = name.parse::<HeaderName>().ok().filter(|_| name.len() <= NAME_CHARS_MAX) else {
        let message = format!("{} can't be the name of a header", quoted(name));
        report.add(key.place, message, "use letters, digits and -");
        return None;
    };
    if let Some(advice) = elsewhere(known.as_str()) {
        report.add(key.place, format!("`{known}` can't be set here"), advice);
    } else if others.iter().any(|(other, _)| *other == known) {
        report.add(key.place, format!("`{known}` is named twice"), "keep one of them");
    }
    Some(known)
}

/// The type of a body.
struct ContentType;

impl Parsed for ContentType {
    type Value = String;
    const WHAT: &'static str = "the type of a body";
    const CALLED: &'static str = "text";
    const EXAMPLE: &'static str = JSON;
    const PATTERN: &'static str = "^[^/]+/";

    fn parse(written: &str, node: &Node) -> Result<String, Wrong> {
        let is_kind =
            written.len() <= NAME_CHARS_MAX && written.split_once('/').is_some_and(|(kind, _)| !kind.is_empty());
        if is_kind && HeaderValue::from_str(written).is_ok() {
            return Ok(written.to_owned());
        }
        wrong(
            format!("{} is not a content type", shown(node)),
            "write one such as application/json or text/html; charset=utf-8",
        )
    }
}

/// The text of a body, which is judged once its type is known.
struct BodyText;

impl Parsed for BodyText {
    type Value = String;
    const WHAT: &'static str = "a body";
    const CALLED: &'static str = "text";
    const EXAMPLE: &'static str = "{error}";

    fn parse(written: &str, _: &Node) -> Result<String, Wrong> {
        Ok(written.to_owned())
    }
}

/// Advice, if that header can't be set.
fn elsewhere(name: &str) -> Option<&'static str> {
    match name {
        "content-type" => Some("write `content_type` beside `headers`"),
        cors if cors.starts_with(CORS) => Some("leave it out: the section `cors` is for that"),
        "content-encoding" => Some("leave it out: the body is sent as it is"),
        reserved if RESERVED.contains(&reserved) => Some("leave it out: tiergate sets it"),
        _ => None,
    }
}

/// The body that is written there, which is of that type.
fn body(node: &Node, written: &str, kind: &str, report: &mut Report) -> Option<Template> {
    let language = language(kind);
    let template = compiled(node, written, language, report)?;
    let tried = [
        ("with text filled in", Value::Text("it's \"so\" \\ {limit}\n")),
        ("with numbers filled in", Value::Number(7)),
        ("with nothing to fill in", Value::Missing),
    ];
    for (how, value) in tried.into_iter().filter(|_| language == Language::Json) {
        let mut out = String::new();
        template.render(&mut out, |_| value);
        let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&out) else {
            continue;
        };
        let (message, advice) = match written.trim_start().starts_with(['{', '[']) {
            false => (
                "the body is not JSON".to_owned(),
                "write `content_type: text/plain` beside it, or JSON",
            ),
            true => (
                format!("the body is not JSON {how}: {}", without_place(&error)),
                "a placeholder is a value on its own, and part of a string within quotes",
            ),
        };
        report.add(node.place, message, advice);
        return None;
    }
    Some(template)
}

/// The parser's message, without its line and column, which refer to the filled-in text.
fn without_place(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    told.strip_suffix(&place).unwrap_or(&told).to_owned()
}

/// The language of a body with that content type, which decides how placeholders are escaped. Every type with `json` in its name
/// is JSON: `text/json`, `application/problem+json`, `x-ndjson` (then the body is one line). Plain text needs no escapes.
fn language(kind: &str) -> Language {
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = kind.split_once('/').map_or("", |(_, subtype)| subtype);
    match subtype {
        json if json.contains("json") => Language::Json,
        "html" | "xml" => Language::Html,
        xml if xml.ends_with("+xml") => Language::Html,
        _ => Language::Plain,
    }
}

fn compiled(node: &Node, written: &str, language: Language, report: &mut Report) -> Option<Template> {
    let names = Member::ALL.map(|(_, name)| name);
    let compiled = Template::compile(written, language, &names).map_err(|why| match why {
        Unfit::TooLong => (format!("this is longer than {} KiB", BYTES_MAX >> 10), String::new()),
        Unfit::TooManyPlaces => {
            let message = format!("this has more than {PLACES_MAX} places to fill in");
            (message, String::new())
        }
        Unfit::NoPlace(name) => {
            let meant = did_you_mean(&name, names, report);
            let message = format!("{} is not a placeholder{meant}", quoted(&format!("{{{name}}}")));
            (message, format!("places: {}", names.join(", ")))
        }
    });
    compiled
        .map_err(|(message, advice)| report.add(node.place, message, advice))
        .ok()
}
