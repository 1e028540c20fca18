//! Any bytes as tiers.yaml give a configuration or errors, and warnings, never a panic, in bounded time and memory.

#![allow(
    clippy::disallowed_methods,
    reason = "a guard against hanging, far above what anything takes"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use tiergate::config::{Config, FILE_BYTES_MAX, Inks, Nothing, check};

/// Any bytes are judged within this, on a busy machine and without optimisation.
const PATIENCE: Duration = Duration::from_secs(20);

fn repository_file() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tiers.yaml")).unwrap()
}

/// The bytes are refused, quickly; the first thing that is said.
#[track_caller]
fn refused_quickly(bytes: &[u8]) -> String {
    let begin = Instant::now();
    let errors = Config::parse("tiers.yaml", bytes).unwrap_err();
    let shown = errors.to_string();
    assert!(begin.elapsed() < PATIENCE, "took {:?}", begin.elapsed());
    assert!(shown.len() < 64 << 10, "{}", shown.len());
    errors.problems()[0].message.clone()
}

#[test]
fn bombs_are_refused_quickly() {
    let mut laughs = String::from("a0: &a0 [lol, lol]\n");
    for level in 1..30 {
        writeln!(
            laughs,
            "a{level}: &a{level} [{}]",
            vec![format!("*a{}", level - 1); 9].join(", ")
        )
        .unwrap();
    }
    assert_eq!(refused_quickly(laughs.as_bytes()), "this is the name of no field");
    assert_eq!(
        refused_quickly("[".repeat(500_000).as_bytes()),
        "this is nested more than 32 deep"
    );
    assert_eq!(
        refused_quickly("- ".repeat(500_000).as_bytes()),
        "this is nested more than 32 deep"
    );
    assert_eq!(
        refused_quickly("{a: ".repeat(200_000).as_bytes()),
        "this is nested more than 32 deep"
    );
    let many = format!("[{}]", "a,".repeat(500_000));
    assert_eq!(
        refused_quickly(many.as_bytes()),
        "there are more than 100000 values up to here"
    );
    let too_long = vec![b'#'; FILE_BYTES_MAX + 1];
    assert_eq!(refused_quickly(&too_long), "the file is longer than 1024 KiB");
}

#[test]
fn a_whole_file_of_one_sign_is_judged_quickly() {
    for sign in [
        "a", "\"", "'", "\n", " ", "\t", ":", "-", "? ", "&a ", "*a ", "!a ", "|", "> ", "%", "#\n", "\\", "{", "]",
        "\r", "- a\n", "a: ", "a: a\n", "- - ", "é", "\u{feff}", "&a\n", "\"\\\n", "a\n\n",
    ] {
        let text = sign.repeat(FILE_BYTES_MAX / sign.len());
        let begin = Instant::now();
        let errors = Config::parse("tiers.yaml", text.as_bytes()).unwrap_err();
        assert!(errors.to_string().len() < 64 << 10);
        assert!(begin.elapsed() < PATIENCE, "{sign:?} took {:?}", begin.elapsed());
    }
}

#[test]
fn as_many_mistakes_as_fit_are_reported_quickly() {
    // Each account names a tier that is like all of the many there are, and is none.
    let mut text = String::from("tiers:\n");
    for number in 0..250 {
        writeln!(
            text,
            "  tier_of_a_long_name_{number}: {{ priority: 0, concurrency: 1 }}"
        )
        .unwrap();
    }
    text.push_str("accounts:\n");
    let account = "  - { name: a b, tier: tier_of_a_lung_nome_x, key_sha256: 0123456789012345678901234567 }\n";
    text.push_str(&account.repeat((FILE_BYTES_MAX - text.len()) / account.len()));
    assert_eq!(refused_quickly(text.as_bytes()), "the file lacks `listen`");

    // All on one line, each with a secret; and the names that there are fill half of the file.
    let mut text = String::from("tiers:\n");
    for number in 0..12 {
        writeln!(text, "  ? tier_{number}{}\n  : {{}}", "x".repeat(40_000)).unwrap();
    }
    writeln!(
        text,
        "accounts: [{}]",
        "{ tier: tear_1, key_sha256: s },".repeat(15_000)
    )
    .unwrap();
    assert_eq!(refused_quickly(text.as_bytes()), "the file lacks `listen`");

    // Routes that are all the same.
    let route = format!("  - {{ path: /{}, upstream: a }}\n", "x".repeat(1000));
    let text = format!("upstreams: {{ a: {{}} }}\nroutes:\n{}", route.repeat(256));
    assert_eq!(refused_quickly(text.as_bytes()), "the file lacks `listen`");
}

/// As many tiers, quotas, own limits, routes and variables as there may be, each of which has something to be warned of.
#[test]
fn as_many_warnings_as_there_can_be_are_given_quickly() {
    let mut text = String::from("tiers:\n");
    let quotas: String = (1..=8)
        .map(|n| format!("q{n}: {{ limit: 999999999999, rolling: {n}h }}, "))
        .collect();
    for number in 0..255 {
        let own: String = (0..32).map(|limit| format!("l{limit}: {}, ", 999 - number)).collect();
        writeln!(
            text,
            "  ${number}: {{ priority: 0, concurrency: 9, max_wait: 1h, quotas: {{ {quotas} }}, limits: {{ {own} }} }}"
        )
        .unwrap();
    }
    text.push_str("queue: { length: 1 }\nanonymous: $7\nlimits:\n");
    for number in 0..32 {
        writeln!(
            text,
            "  - {{ name: l{number}, per: account, limit: 9, window: 1s, match: {{ path: /x{number} }} }}"
        )
        .unwrap();
    }
    text.push_str("upstreams: { a: { servers: [ { url: \"http://a\", slots: 1 } ], timeout: 1s } }\nroutes:\n");
    for number in 0..256 {
        writeln!(
            text,
            "  - {{ path: /{number}, upstream: a, metered: true, max_wait: 1h }}"
        )
        .unwrap();
    }
    let variable = "\"${A}\", ";
    text.push_str("data_dir: [");
    text.push_str(&variable.repeat(50_000));
    text.push_str("]\n");
    let begin = Instant::now();
    let checked = check("tiers.yaml", text.as_bytes(), &Nothing);
    let shown = checked.diagnostics.shown(Inks::default()).to_string();
    assert!(begin.elapsed() < PATIENCE, "took {:?}", begin.elapsed());
    assert!(
        checked.diagnostics.warnings() > 1_000,
        "{}",
        checked.diagnostics.summary()
    );
    assert!(shown.len() < 128 << 10, "{}", shown.len());
}

/// A file, and edits to it: each takes away some bytes somewhere and puts others there.
fn edited() -> impl Strategy<Value = Vec<u8>> {
    let signs = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        "[-:,{}\\[\\]\"'&*!|>%#?@` \t\r\n~<$]{1,4}".prop_map(String::into_bytes),
        "[0-9]{1,30}(ms|s|h|d|MiB|B)?".prop_map(String::into_bytes),
        "\\PC{0,4}".prop_map(String::into_bytes),
    ];
    let edit = (any::<prop::sample::Index>(), 0_usize..6, signs);
    prop::collection::vec(edit, 1..8).prop_map(|edits| {
        let mut bytes = repository_file().into_bytes();
        for (at, taken, put) in edits {
            let from = at.index(bytes.len() + 1);
            let to = (from + taken).min(bytes.len());
            bytes.splice(from..to, put);
        }
        bytes
    })
}

/// Either a configuration, or errors; and warnings beside them. All can be shown, and their arrows stand under their lines.
fn judge(bytes: &[u8]) {
    let checked = check("tiers.yaml", bytes, &Nothing);
    let diagnostics = &checked.diagnostics;
    assert_eq!(checked.config.is_some(), diagnostics.errors() == 0);
    assert!(diagnostics.errors() + diagnostics.warnings() >= diagnostics.problems().len());
    let shown = diagnostics.shown(Inks::default()).to_string();
    assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "{shown}");
    for span in diagnostics
        .problems()
        .iter()
        .filter_map(|problem| problem.span.as_ref())
    {
        let length = span.excerpt.text.chars().count();
        assert!(span.excerpt.start <= length && span.excerpt.width >= 1, "{span:?}");
        assert!(span.excerpt.start + span.excerpt.width <= length + 1, "{span:?}");
        assert!(
            (span.line, span.column) < (span.end_line, span.end_column) || checked.config.is_none(),
            "{span:?}"
        );
    }
    // Who reads it without warnings, and with what it names, sees the same errors and maybe more.
    match Config::parse("tiers.yaml", bytes) {
        Ok(config) => assert_eq!(checked.config, Some(config)),
        Err(errors) => assert!(errors.count() >= diagnostics.errors().max(1)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_a_configuration_or_errors(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        judge(&bytes);
    }

    #[test]
    fn any_text_gives_a_configuration_or_errors(text in "(\\PC|[-:,{}\\[\\]\"'&*!|>%#?@` \t\r\n~<a0]){0,200}") {
        judge(text.as_bytes());
    }

    #[test]
    fn an_edited_file_gives_a_configuration_or_errors(bytes in edited()) {
        judge(&bytes);
    }
}
