//! `${NAME}` and `~` where nobody fills them in.

use crate::config::prelude::*;

/// Warns of each text of the document that has a variable in it and stands where none is filled in.
pub(super) fn add(root: &Node, report: &mut Report) {
    let Kind::Mapping(sections) = &root.kind else { return };
    for (key, section) in sections {
        look(key, report);
        match key.text() {
            Some("answers") => {}
            Some("data_dir") => {
                look(section, report);
                look_for_home(section, report);
            }
            Some("admin") => fields_but(section, &["token"], report),
            Some("accounts") => section
                .items()
                .iter()
                .for_each(|account| fields_but(account, &["key_sha256"], report)),
            _ => look(section, report),
        }
    }
}

/// Looks at all fields but those, in which variables are filled in.
fn fields_but(node: &Node, filled: &[&str], report: &mut Report) {
    let Kind::Mapping(fields) = &node.kind else {
        return look(node, report);
    };
    for (key, value) in fields {
        look(key, report);
        if !key.text().is_some_and(|name| filled.contains(&name)) {
            look(value, report);
        }
    }
}

fn look(node: &Node, report: &mut Report) {
    match &node.kind {
        Kind::Scalar { text, .. } if has_variable(text) => {
            let advice = "only `admin.token` and `key_sha256` take a variable of the environment";
            report.warn(
                node.place,
                "`${…}` stands for itself here: nothing is filled in",
                advice,
            );
        }
        Kind::Scalar { .. } | Kind::Refused => {}
        Kind::Sequence(items) => items.iter().for_each(|item| look(item, report)),
        Kind::Mapping(fields) => fields.iter().for_each(|(key, value)| {
            look(key, report);
            look(value, report);
        }),
    }
}

/// Warns of a path that a shell would begin in a home folder. Here it is a relative one.
fn look_for_home(path: &Node, report: &mut Report) {
    if path.text().is_some_and(|text| text.starts_with('~')) && !path.is_null() {
        let advice = "write the whole path of the folder";
        report.warn(path.place, "`~` stands for itself here, not for a home folder", advice);
    }
}

/// Whether there is something like `${NAME}` in that text.
fn has_variable(text: &str) -> bool {
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        rest = &rest[at + 2..];
        let name = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
            .count();
        // What some shells allow after a name counts too.
        if name > 0 && rest[name..].starts_with(['}', ':', '-', '?', '+']) {
            return true;
        }
    }
    false
}
