//! Errors of the whole file: several at once, text that is not YAML, unknown fields, too many entries, and what is never shown.

use std::fmt::Write as _;
use std::path::Path;

use tiergate::config::{Config, SHOWN_PROBLEMS_MAX};

use crate::{each, file, good, parse, said, snapshot};

#[test]
fn all_errors_are_reported_at_once() {
    let text = "\
listen: localhost:8080
admin: { listen: 127.0.0.1:9090 }
drain_timeout: 0s
queue: { length: 8, within_teir: fair }
tiers:
  free:  { priority: 0, concurency: 1 }
  \"$1\":  { priority: 7, concurrency: 1, quota: { limit: 100, rolling: 24 } }
  free:  { priority: 2, concurrency: 1 }
anonymous: fre
upstreams:
  search: { servers: [ { url: \"https://127.0.0.1:8081\", slots: 2 } ] }
routes:
  - { path: /search, upstream: serch, metered: yes }
accounts:
  - { name: bot, tier: \"$2\", key_sha256: my-own-key }
  - { name: bot, tier: free }
colour: blue
";
    let errors = parse(text).unwrap_err();
    assert_eq!(errors.count(), 16);
    snapshot("all_errors_are_reported_at_once", errors.to_string());
}

#[test]
fn files_that_are_not_mappings() {
    let files = [
        "",
        "\n# nothing\n",
        "null",
        "- a\n- b\n",
        "tiers",
        "\"\"",
        "{}",
        "? [a]\n: b\n",
    ];
    let said: Vec<String> = files
        .iter()
        .map(|text| format!("{}\n", parse(text).unwrap_err()))
        .collect();
    snapshot("files_that_are_not_mappings", said.join("\n"));
}

#[test]
fn a_missing_file_is_reported() {
    let errors = Config::load(Path::new("no/such/tiers.yaml")).unwrap_err();
    assert_eq!(errors.count(), 1);
    assert_eq!(errors.problems()[0].span, None);
    assert!(
        errors.to_string().starts_with("error: the file can't be read: "),
        "{errors}"
    );
}

#[test]
fn invalid_yaml() {
    snapshot(
        "invalid_yaml",
        each(&[
            "queue: { length: 8",
            "queue: \"8",
            "cors: { origins: [*] }",
            "\tqueue: 8",
            "queue: 8: 9",
            "data_dir: @home",
            "%YAML 1.2",
            "queue: { length: 8 }\n---\nqueue: 8",
        ]),
    );
}

#[test]
fn unsupported_yaml() {
    snapshot(
        "unsupported_yaml",
        each(&[
            "tiers: { free: &free { priority: 0, concurrency: 1 }, gold: *free }",
            "tiers: { free: { <<: { priority: 0, concurrency: 1 } } }",
            "data_dir: !env HOME",
            "data_dir: *nowhere",
        ]),
    );
}

#[test]
fn bytes_that_are_not_text() {
    let mut said = String::new();
    for bytes in [
        &b"listen: a\nadmin: \xff\xfe"[..],
        b"\xff\xfel\0",
        b"listen: a\r\n\0admin: b",
        b"listen: \x1b[31mred",
    ] {
        writeln!(said, "{}\n", Config::parse("tiers.yaml", bytes).unwrap_err()).unwrap();
    }
    snapshot("bytes_that_are_not_text", said);
}

#[test]
fn missing_sections() {
    snapshot("missing_sections", parse("cores: 2\n").unwrap_err().to_string());
}

#[test]
fn unknown_repeated_missing_and_mistyped_fields() {
    snapshot(
        "unknown_repeated_missing_and_mistyped_fields",
        each(&[
            "queue: { lenght: 8 }",
            "queue: { length: 8, length: 9 }",
            "queue: { within_tier: fifo }",
            "queue: 8",
            "queue: [8]",
            "queue:",
            "quotas: {}",
            "queue: { length: \"8\" }",
            "queue: { length: 08 }",
            "queue: { length: -1 }",
            "queue: { length: 65537 }",
            "queue: { length: many }",
            "queue: { length: [8] }",
            "queue: { length: }",
            "queue: { length: 8, within_tier: fare }",
            "queue: { length: 8, lifeline: 1 }",
            "data_dir: \"\"",
            "cores: 0",
        ]),
    );
}

/// Regression: beside an unknown field, the field that was meant was reported as missing.
#[test]
fn one_mistake_is_reported_once() {
    for (lines, told) in [
        (
            &["answers: { rate_limited: { code: 429 } }"][..],
            "unknown field `code`",
        ),
        (
            &["answers: { rate_limited: { content_type: text/plain, bdy: x } }"],
            "unknown field `bdy`; did you mean `body`?",
        ),
        (
            &["limits: [ { name: a, per: network, limit: 1, window: 1s, match: { hosts: [a] } } ]"],
            "unknown field `hosts`; did you mean `host`?",
        ),
        (
            &["limits: [ { name: a, per: network, limit: 1, window: 1s, match: { url: a } } ]"],
            "unknown field `url`",
        ),
        (
            &["tiers: { free: { priority: 0, concurrency: 1, quota: { limit: 1, roling: 24h } } }"],
            "unknown field `roling`; did you mean `rolling`?",
        ),
        (
            &["routes: [ { path: /a, upstream: search, metred: true, max_wait: 9s } ]"],
            "unknown field `metred`; did you mean `metered`?",
        ),
        (
            &["tiers: { \"u:p@h\": { priority: 0, concurrency: 1 } }"],
            "this can't be the name of a tier",
        ),
        (&["queue: { length:8 }"], "this is the name of no field"),
    ] {
        let errors = parse(&file(lines)).unwrap_err();
        let messages: Vec<&str> = errors
            .problems()
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(messages, [told], "{lines:?}");
    }
}

#[test]
fn too_many_entries() {
    let named = |count: usize, value: &str| -> String { (0..count).map(|n| format!("n{n}: {value}, ")).collect() };
    let server = |n| format!("{{ url: \"http://a{n}\", slots: 1 }}, ");
    let servers = |count| (0..count).map(server).collect::<String>();
    let upstream = format!("{{ servers: [ {} ] }}", server(0));
    let route = |n| format!("{{ path: /{n}, upstream: search }}, ");
    let files = |more: usize| {
        [
            format!(
                "tiers: {{ free: {{ priority: 0, concurrency: 1 }}, {} }}",
                named(255 + more, "{ priority: 0, concurrency: 1 }")
            ),
            format!("upstreams: {{ search: {upstream}, {} }}", named(63 + more, &upstream)),
            format!("upstreams: {{ search: {{ servers: [ {} ] }} }}", servers(256 + more)),
            format!("routes: [ {} ]", (0..256 + more).map(route).collect::<String>()),
            format!("trusted_proxies: [ {} ]", "10.0.0.1, ".repeat(64 + more)),
            format!(
                "keys: {{ headers: [ {} ] }}",
                (0..8 + more).map(|n| format!("x-{n}, ")).collect::<String>()
            ),
            format!("paths: {{ me: /{} }}", "m".repeat(255 + more)),
            format!(
                "tiers: {{ free: {{ priority: 0, concurrency: 1 }}, {}: {{ priority: 0, concurrency: 1 }} }}",
                "t".repeat(64 + more)
            ),
        ]
    };
    for fits in files(0) {
        good(&[&fits]);
    }
    snapshot("too_many_entries", each(&files(1).each_ref().map(String::as_str)));
}

#[test]
fn a_key_in_place_of_its_hash_is_never_shown() {
    const KEY: &str = "hunter2_0123456789abcdef";
    let files = [
        format!("accounts: [ {{ name: bot, tier: nope, key_sha256: {KEY} }} ]"),
        format!("accounts: [ {{ name: bot, tier: nope, key_sha256: [{KEY}, \"{KEY}\"] }} ]"),
        format!("accounts: [ {{ name: bot, tier: nope, key: {KEY} }} ]"),
        format!("accounts: [ {{ name: bot, tier: nope, key_sha256: {{ {KEY}: {KEY} }} }} ]"),
        format!("accounts: [ {{ name: bot, tier: nope, passphrase: {KEY} }} ]"),
        format!("acounts: [ {{ name: bot, tier: gold, key_sha256: {KEY} }} ]"),
        format!("accounts: [ {KEY} ]"),
        format!("accounts:\n  - name: bot\n    tier: gold\n    key_sha256: |\n      {KEY}\n      {KEY}"),
        format!("accounts: [ {{ name: bot, tier: gold, key_sha256: {KEY}: }} }}"),
        format!("accounts:\n  - {{ name: bot, tier: gold, key_sha256: *{KEY} }}"),
    ];
    for text in &files {
        let errors = parse(&file(&[text])).unwrap_err();
        assert!(!errors.to_string().contains("hunter2"), "{errors}");
        assert!(!format!("{errors:?}").contains("hunter2"), "{errors:?}");
    }
    snapshot(
        "a_key_in_place_of_its_hash_is_never_shown",
        each(&files.each_ref().map(String::as_str)),
    );
}

#[test]
fn a_hundred_errors_are_shown_and_the_rest_counted() {
    let letters = |number: usize| [number / 26, number % 26].map(|at| char::from(b"abcdefghijklmnopqrstuvwxyz"[at]));
    let name = |number| format!("unknown_{}", String::from_iter(letters(number)));
    let unknown: String = (0..250).map(|number| format!("{}: 1\n", name(number))).collect();
    let errors = parse(&format!("{}{unknown}", file(&[]))).unwrap_err();
    assert_eq!((errors.count(), errors.problems().len()), (250, SHOWN_PROBLEMS_MAX));
    let shown = errors.to_string();
    assert!(shown.contains(&name(99)) && !shown.contains(&name(100)), "{shown}");
    assert!(
        shown.contains("and 150 more\n") && shown.ends_with("tiers.yaml: 250 errors"),
        "{shown}"
    );
}

#[test]
fn quoted_values_are_short_and_printable() {
    let long = "x".repeat(100_000);
    let shown = said(&[
        &[&format!("queue: {{ {long}: 1 }}")],
        &["anonymous: \"a\\e[31m\\u202eb\""],
        &[&format!("anonymous: {long}")],
    ]);
    assert!(shown.len() < 3_000, "{}", shown.len());
    snapshot("quoted_values_are_short_and_printable", shown);
}
