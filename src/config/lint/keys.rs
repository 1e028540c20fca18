//! Key locations that are not read although the rest of `keys` suggests that clients use them. A sponsor's key there is ignored,
//! and its caller counts as anonymous.
//!
//! Clients of trace.moe and shotit send `x-trace-key`, `x-api-key` or `?key=`: a file that reads one of the first and the last
//! gets a warning about the other. A field that is written counts as intended.

use std::rc::Rc;

use crate::config::prelude::*;

pub(super) fn add(root: &Node, report: &mut Report) {
    let Some((at, keys)) = root
        .field("keys")
        .filter(|(_, keys)| matches!(keys.kind, NodeKind::Mapping(_)))
    else {
        return;
    };
    let mut unread = |place: &str, advice| {
        let message = format!("a key in `{place}` is not read here: its caller passes for one without a key");
        report.warn(at.place, message, advice);
    };
    let headers = keys.value("headers").map(Node::items);
    if headers.is_none() {
        let advice = "name the headers that clients use, such as `headers: [x-api-key, x-trace-key]`";
        unread("x-trace-key", advice);
    }
    let is_traced = |header: &Rc<Node>| header.text() == Some("x-trace-key");
    if keys.value("query").is_none() && headers.is_none_or(|headers| headers.iter().any(is_traced)) {
        let advice = "add `query: key`, or leave `keys` out to read all the usual places";
        unread("?key=", advice);
    }
}
