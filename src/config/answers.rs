//! How refusals are told where it isn't the usual way: another status, further headers, a body of the operator's own.
//!
//! Absent on purpose: which refusals there are (`policy::refusal`) and their usual answers (`http::reply`).

use std::ops::RangeInclusive;

use http::{HeaderName, HeaderValue};

use super::error::Report;
use super::excerpt::quoted;
use super::read::{Entry, Fields, entries, shown};
use super::suggest::did_you_mean;
use super::value::{small_integer, text};
use super::yaml::{Node, Place};
use crate::policy::refusal::{Member, Reason};
use crate::template::{BYTES_MAX, Language, PLACES_MAX, Template, Unfit, Value};

/// Statuses that a refusal may have.
pub(super) const STATUSES: RangeInclusive<u32> = 400..=599;
/// Headers of one answer, at most.
pub(super) const HEADERS_MAX: usize = 16;
/// The longest name of a header or type of a body, in characters.
const NAME_CHARS_MAX: usize = 128;
/// The type of a body, unless it says otherwise.
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Headers that are the door's or the connection's alone.
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
/// Headers that the section `cors` says.
const CORS: &str = "access-control-";

pub(super) const KNOWN: [&str; 4] = ["status", "headers", "content_type", "body"];

/// What an answer to one reason has instead of the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its status, 400 to 599.
    pub status: Option<u16>,
    /// Headers that it bears beside the usual ones, at most 16.
    pub headers: Vec<(HeaderName, Template)>,
    /// Its body, and of what type that is. Its places are those of [`Member::ALL`].
    pub body: Option<(HeaderValue, Template)>,
}

/// `answers: { reason: { … }, … }`.
pub(super) fn read(node: &Node, report: &mut Report) -> Option<Vec<(Reason, Answer)>> {
    let mut answers = Vec::new();
    for Entry { name, at, value } in entries(node, "reason", Reason::ALL.len(), report)? {
        let reason = Reason::ALL.into_iter().find(|reason| reason.code() == name);
        if reason.is_none() {
            let meant = did_you_mean(name, Reason::ALL.iter().map(|reason| reason.code()), report);
            let message = format!("no refusal has the reason {}{meant}", quoted(name));
            let reasons = Reason::ALL.map(Reason::code).join(", ");
            report.add(at, message, format!("reasons: {reasons}"));
        }
        let answer = answer(value, name, at, report);
        answers.extend(reason.zip(answer));
    }
    Some(answers)
}

fn answer(node: &Node, name: &str, at: Place, report: &mut Report) -> Option<Answer> {
    let what = format!("the answer to {}", quoted(name));
    let fields = Fields::of(node, what.as_str(), at, &KNOWN, report)?;
    let status = fields.maybe("status", report, |node, report| small_integer(node, STATUSES, report));
    let headers = fields.maybe("headers", report, headers);
    let kind = match fields.get("content_type") {
        Some(node) => kind(node, report),
        None => Some(JSON),
    };
    let body = fields.maybe("body", report, |node, report| body(node, kind.as_ref()?, report));
    if let (Some(kind), false) = (fields.get("content_type"), fields.is_meant("body")) {
        report.add(
            kind.place,
            "`content_type` is of a body, and there is none",
            "add `body`, or leave it out",
        );
    }
    if fields.is_empty() {
        let advice = "add `status`, `headers` or `body`, or leave it out";
        report.add(at, format!("{what} is the usual one"), advice);
    }
    Some(Answer {
        status: status.and_then(|status| u16::try_from(status).ok()),
        headers: headers.unwrap_or_default(),
        body: kind.zip(body),
    })
}

fn headers(node: &Node, report: &mut Report) -> Option<Vec<(HeaderName, Template)>> {
    let mut headers = Vec::new();
    for Entry { name, at, value } in entries(node, "header", HEADERS_MAX, report)? {
        let known = name.parse::<HeaderName>().ok().filter(|_| name.len() <= NAME_CHARS_MAX);
        match &known {
            None => report.add(
                at,
                format!("{} can't be the name of a header", quoted(name)),
                "use letters, digits and -",
            ),
            Some(known) => {
                if let Some(advice) = elsewhere(known.as_str()) {
                    report.add(at, format!("`{known}` can't be set here"), advice);
                } else if headers.iter().any(|(other, _)| other == known) {
                    report.add(at, format!("`{known}` is named twice"), "keep one of them");
                }
            }
        }
        let written = text(value, "a header's value", report)?;
        if !written.chars().all(|c| matches!(c, ' '..='~')) {
            report.add(value.place, "a header's value is visible ASCII", "take out what isn't");
            continue;
        }
        let template = compiled(value, written, Language::Header, report);
        headers.extend(known.zip(template));
    }
    Some(headers)
}

/// What to do instead, if that header can't be set.
fn elsewhere(name: &str) -> Option<&'static str> {
    match name {
        "content-type" => Some("write `content_type` beside `headers`"),
        cors if cors.starts_with(CORS) => Some("leave it out: the section `cors` is for that"),
        "content-encoding" => Some("leave it out: the body is sent as it is"),
        reserved if RESERVED.contains(&reserved) => Some("leave it out: the door sets it"),
        _ => None,
    }
}

/// The type of a body.
fn kind(node: &Node, report: &mut Report) -> Option<HeaderValue> {
    let written = text(node, "the type of a body", report)?;
    let is_kind = written.len() <= NAME_CHARS_MAX && written.split_once('/').is_some_and(|(kind, _)| !kind.is_empty());
    let value = HeaderValue::from_str(written).ok().filter(|_| is_kind);
    if value.is_none() {
        let advice = "write one such as application/json or text/html; charset=utf-8";
        report.add(node.place, format!("{} is no type of a body", shown(node)), advice);
    }
    value
}

fn body(node: &Node, kind: &HeaderValue, report: &mut Report) -> Option<Template> {
    let written = text(node, "a body", report)?;
    let language = language(kind);
    let template = compiled(node, written, language, report)?;
    if language == Language::Json {
        let nasty = |_| Value::Text("it's \"so\" \\ {limit}\n");
        let number = |_| Value::Number(7);
        let tried: [(&str, &dyn Fn(usize) -> Value<'static>); 3] = [
            ("with text filled in", &nasty),
            ("with numbers filled in", &number),
            ("with nothing to fill in", &|_| Value::Missing),
        ];
        for (how, value) in tried {
            let mut out = String::new();
            template.render(&mut out, value);
            if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&out) {
                let is_text = !written.trim_start().starts_with(['{', '[']);
                let (message, advice) = match is_text {
                    true => (
                        "the body is not JSON".to_owned(),
                        "write `content_type: text/plain` beside it, or JSON",
                    ),
                    false => (
                        format!("the body is not JSON {how}: {}", without_place(&error)),
                        "a place is a value where it stands alone, and a part of a string within quotes",
                    ),
                };
                report.add(node.place, message, advice);
                return None;
            }
        }
    }
    Some(template)
}

/// What is wrong, without its line and column: they are of what was filled in, which nobody has written.
fn without_place(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    told.strip_suffix(&place).unwrap_or(&told).to_owned()
}

/// In what a body of that type is written. Whatever calls itself JSON is: `text/json`, `application/problem+json`, `x-ndjson`,
/// of which the body is then one line. For plain text, what is filled in would be escaped for nothing.
fn language(kind: &HeaderValue) -> Language {
    let kind = kind.to_str().unwrap_or_default();
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
    match Template::compile(written, language, &names) {
        Ok(template) => Some(template),
        Err(why) => {
            let (message, advice) = match why {
                Unfit::TooLong => (format!("this is longer than {} KiB", BYTES_MAX >> 10), String::new()),
                Unfit::TooManyPlaces => (
                    format!("this has more than {PLACES_MAX} places to fill in"),
                    String::new(),
                ),
                Unfit::NoPlace(name) => {
                    let meant = did_you_mean(&name, names, report);
                    let message = format!("{} is no place to fill in{meant}", quoted(&format!("{{{name}}}")));
                    (message, format!("places: {}", names.join(", ")))
                }
            };
            report.add(node.place, message, advice);
            None
        }
    }
}
