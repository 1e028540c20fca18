//! `${NAME}` and `~` where they are not expanded.

use crate::config::grammar::{self, GrammarNode};
use crate::config::prelude::*;

/// Warns of variables in texts where none is expanded.
pub(super) fn add(root: &Node, report: &mut Report) {
    look(root, &GrammarNode::document(), report);
    if let Some(folder) = root.value("data_dir") {
        look_for_home(folder, report);
    }
}

fn look(node: &Node, grammar: &GrammarNode, report: &mut Report) {
    match &node.kind {
        NodeKind::Scalar { text, .. } if has_variable(text) && !grammar.takes_variable() => {
            let advice = "only `admin.token` and `key_sha256` take a variable of the environment";
            let message = "`${…}` stands for itself here: nothing is filled in";
            report.warn(node.place, message, advice);
        }
        NodeKind::Scalar { .. } | NodeKind::Refused => {}
        NodeKind::Sequence(items) => items.iter().for_each(|item| look(item, &grammar.item(), report)),
        NodeKind::Mapping(fields) => fields.iter().for_each(|(key, value)| {
            look(key, &GrammarNode::nowhere(), report);
            match grammar.named(key.text().unwrap_or_default()) {
                // Templates have placeholders of their own.
                grammar::NameKind::Field(_) if key.text() == Some("answers") => {}
                grammar::NameKind::Field(grammar) | grammar::NameKind::Chosen(grammar) => look(value, &grammar, report),
                grammar::NameKind::Unknown => look(value, &GrammarNode::nowhere(), report),
            }
        }),
    }
}

/// Warns of paths that start with `~`, which is not expanded: here they are relative paths.
fn look_for_home(path: &Node, report: &mut Report) {
    if path.text().is_some_and(|text| text.starts_with('~')) && !path.is_null() {
        let advice = "write the whole path of the folder";
        report.warn(path.place, "`~` stands for itself here, not for a home folder", advice);
    }
}

/// Whether the text has something like `${NAME}`.
fn has_variable(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        rest = &rest[at + 2..];
        let name = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            .count();
        // Shell modifiers after the name count too.
        if name > 0 && rest[name..].starts_with(['}', ':', '-', '?', '+']) {
            return true;
        }
    }
    false
}
