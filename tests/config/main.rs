//! tiers.yaml: valid files are read; all errors are reported at once, each with its line and what to do.
//!
//! The messages are the snapshots in `tests/snapshots`, one file a subject.

mod errors;
mod reading;
mod section_errors;
#[path = "../support/sections.rs"]
mod sections;

use std::fmt::Write as _;
use std::time::Duration;

use tiergate::config::{Config, ConfigErrors};

/// The shortest valid file, one section per line.
const LEAST: [(&str, &str); 7] = [
    ("listen", "listen: 127.0.0.1:8080"),
    ("admin", "admin: { listen: 127.0.0.1:9090 }"),
    ("queue", "queue: { length: 8 }"),
    (
        "tiers",
        "tiers: { free: { priority: 0, concurrency: 1 }, gold: { priority: 6, concurrency: 4 } }",
    ),
    ("anonymous", "anonymous: free"),
    (
        "upstreams",
        "upstreams: { search: { servers: [ { url: \"http://127.0.0.1:8081\", slots: 2 } ] } }",
    ),
    (
        "routes",
        "routes: [ { path: /search, upstream: search, metered: true } ]",
    ),
];

/// The shortest file, in which the given lines take the place of the section of the same name, or are added.
fn file(lines: &[&str]) -> String {
    sections::with(&LEAST, lines)
}

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse("tiers.yaml", text.as_bytes())
}

#[track_caller]
fn good(lines: &[&str]) -> Config {
    parse(&file(lines)).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The errors of each file, one after the other.
#[track_caller]
fn said(files: &[&[&str]]) -> String {
    let mut said = String::new();
    for lines in files {
        match parse(&file(lines)) {
            Ok(_) => panic!("this was taken: {lines:?}"),
            Err(errors) => writeln!(said, "{errors}\n").unwrap(),
        }
    }
    said
}

/// The errors of one section, for each way to write it.
#[track_caller]
fn each(lines: &[&str]) -> String {
    said(&sections::alone(lines))
}

/// Compares with the file of that name in `tests/snapshots`.
#[track_caller]
fn snapshot(name: &str, said: impl AsRef<str>) {
    insta::with_settings!({ omit_expression => true, snapshot_path => "../snapshots" }, {
        insta::assert_snapshot!(name, said.as_ref())
    });
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
