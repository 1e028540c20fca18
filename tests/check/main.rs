//! What `tiergate check` finds: all warnings beside all errors, each with its line and what to do.
//!
//! The messages are the snapshots in `tests/snapshots`, one file a subject.

mod environment;
mod no_warning;
mod report;
#[path = "../support/sections.rs"]
mod sections;
mod tier_warnings;
mod warnings;

use std::fmt::Write as _;

use tiergate::config::{Checked, Inks, Nothing, check};

/// A file without warnings, one section per line.
const WISE: [(&str, &str); 8] = [
    ("listen", "listen: 127.0.0.1:8080"),
    ("admin", "admin: { listen: 127.0.0.1:9090 }"),
    ("queue", "queue: { length: 8 }"),
    (
        "tiers",
        "tiers: { free: { priority: 0, concurrency: 1 }, \"$5\": { priority: 2, concurrency: 2 } }",
    ),
    ("anonymous", "anonymous: free"),
    (
        "limits",
        "limits: [ { name: http, per: network, limit: 100, window: 60s } ]",
    ),
    (
        "upstreams",
        "upstreams: { search: { servers: [ { url: \"http://127.0.0.1:8081\", slots: 2 } ] } }",
    ),
    (
        "routes",
        "routes: [ { path: /search, upstream: search, metered: true } ]",
    ),
];

/// That file, in which the given lines take the place of the section of the same name, or are added.
fn file(lines: &[&str]) -> String {
    sections::with(&WISE, lines)
}

fn checked(lines: &[&str]) -> Checked {
    check("tiers.yaml", file(lines).as_bytes(), &Nothing)
}

fn shown(checked: &Checked) -> String {
    checked.diagnostics.shown(Inks::default()).to_string()
}

/// The file has neither errors nor warnings.
#[track_caller]
fn wise(lines: &[&str]) {
    let checked = checked(lines);
    assert_eq!(checked.diagnostics.problems(), [], "{}", shown(&checked));
    assert!(checked.config.is_some());
}

/// The warnings of each file; none has errors.
#[track_caller]
fn warned(files: &[&[&str]]) -> String {
    let mut said = String::new();
    for lines in files {
        let checked = checked(lines);
        let diagnostics = &checked.diagnostics;
        assert!(
            diagnostics.errors() == 0 && diagnostics.warnings() > 0,
            "{lines:?}: {}",
            shown(&checked)
        );
        assert!(checked.config.is_some());
        writeln!(said, "{}\n", shown(&checked)).unwrap();
    }
    said
}

/// The same for files that differ by one section.
#[track_caller]
fn each(lines: &[&str]) -> String {
    warned(&sections::alone(lines))
}

/// Compares with the file of that name in `tests/snapshots`.
#[track_caller]
fn snapshot(name: &str, said: impl AsRef<str>) {
    insta::with_settings!({ omit_expression => true, snapshot_path => "../snapshots" }, {
        insta::assert_snapshot!(name, said.as_ref())
    });
}
