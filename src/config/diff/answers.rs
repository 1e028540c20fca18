//! What would change of how refusals are told.
//!
//! Absent on purpose: what the usual answers are (`http::reply`).

use http::{HeaderName, HeaderValue};

use super::lists::matched;
use super::said::{About, Said, changed};
use super::words::{listed, or, value};
use crate::config::Answer;
use crate::policy::refusal::{Member, Reason};
use crate::template::Template;

pub(super) fn answers(old: &[(Reason, Answer)], new: &[(Reason, Answer)], said: &mut Said) {
    let answers = matched(old, new, |(reason, _)| reason.code());
    for (before, (reason, after)) in answers.now {
        let about = &mut said.about(format!("answer `{}`", reason.code()));
        match before {
            Some((_, before)) => answer(before, after, about),
            None => about.change(format!("added: {}", parts(after))),
        }
    }
    for (reason, _) in answers.removed {
        let about = &mut said.about(format!("answer `{}`", reason.code()));
        about.change("removed: told as usual");
    }
    if answers.reordered {
        said.about("answers").change("their order changed");
    }
}

/// What of an answer isn't the usual.
fn parts(answer: &Answer) -> String {
    let status = answer.status.map(|status| format!("status {status}"));
    let headers = answer.headers.iter().map(|(name, _)| format!("header {name}"));
    let body = answer.body.as_ref().map(|_| "body".to_owned());
    listed(status.into_iter().chain(headers).chain(body))
}

fn answer(old: &Answer, new: &Answer, about: &mut About<'_>) {
    let Answer { status, headers, body } = old;
    about.field("status", status, &new.status, or("usual", u16::to_string));
    self::headers(headers, &new.headers, about);
    self::body(body.as_ref(), new.body.as_ref(), about);
}

fn headers(old: &[(HeaderName, Template)], new: &[(HeaderName, Template)], about: &mut About<'_>) {
    let headers = matched(old, new, |(name, _)| name);
    for (before, (name, after)) in headers.now {
        let what = format!("header {name}");
        match before {
            Some((_, before)) => about.field(&what, before, after, written),
            None => about.change(changed(&what, "none", &written(after))),
        }
    }
    for (name, gone) in headers.removed {
        about.change(changed(&format!("header {name}"), &written(gone), "none"));
    }
    if headers.reordered {
        about.change("the order of its headers changed");
    }
}

fn body(old: Option<&(HeaderValue, Template)>, new: Option<&(HeaderValue, Template)>, about: &mut About<'_>) {
    match (old, new) {
        (None, None) => {}
        (None, Some((_, body))) => about.change(changed("body", "usual", &written(body))),
        (Some((_, body)), None) => about.change(changed("body", &written(body), "usual")),
        (Some((old_kind, old)), Some((new_kind, new))) => {
            about.field("content_type", old_kind, new_kind, value);
            // A body of another type is escaped otherwise, and is the same text all the same.
            if old_kind == new_kind || written(old) != written(new) {
                about.field("body", old, new, written);
            }
        }
    }
}

/// A template as the file has it.
fn written(template: &Template) -> String {
    template.source(&Member::ALL.map(|(_, name)| name))
}
