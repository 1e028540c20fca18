//! How errors and warnings are reported together: their order, their number, their colours.

use tiergate::config::{Ink, Inks, Nothing, SHOWN_PROBLEMS_MAX, Severity, check};

use crate::{checked, file, shown, snapshot};

#[test]
fn warnings_and_errors_are_in_line_order() {
    let checked = checked(&[
        "queue: { length: 2, max_wait: 30s }",
        "tiers:\n  free: { priority: 0, concurrency: 1 }\n  \"$5\": { priority: 2, concurency: 4 }\n  \"$10\": { priority: 1, concurrency: 4, max_wait: 40s }\n  \"$20\": { priority: 0, concurrency: 4 }",
        "limits: [ { name: http, per: network, limit: 1, window: 60s, match: { path: /x } } ]",
        "routes:\n  - { path: /other, upstream: serch }\n  - { path: /search, upstream: search, metered: true, max_wait: 45s }",
    ]);
    assert_eq!(checked.config, None);
    let lines: Vec<u32> = checked
        .diagnostics
        .problems()
        .iter()
        .filter_map(|problem| problem.span.as_ref().map(|span| span.line))
        .collect();
    assert!(lines.is_sorted(), "{lines:?}");
    snapshot("check_beside_errors", shown(&checked));
}

#[test]
fn a_hundred_warnings_are_shown_beside_a_hundred_errors() {
    let many: String = (0..250).map(|n| format!("unknown_{n}: \"${{A}}\"\n")).collect();
    let checked = check("tiers.yaml", format!("{}{many}", file(&[])).as_bytes(), &Nothing);
    let diagnostics = &checked.diagnostics;
    assert_eq!((diagnostics.errors(), diagnostics.warnings()), (250, 250));
    let of = |severity| {
        diagnostics
            .problems()
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    };
    assert_eq!(
        (of(Severity::Error), of(Severity::Warning)),
        (SHOWN_PROBLEMS_MAX, SHOWN_PROBLEMS_MAX)
    );
    assert!(shown(&checked).ends_with("and 300 more\n\ntiers.yaml: 250 errors, 250 warnings"));
}

#[test]
fn colours_surround_words_and_arrows_only() {
    let checked = checked(&["queue: { length: 1, max_wait: 0s }"]);
    let inks = Inks {
        error: Ink("<e>", "</e>"),
        warning: Ink("<w>", "</w>"),
        message: Ink("<b>", "</b>"),
        margin: Ink("<m>", "</m>"),
    };
    let inked = checked.diagnostics.shown(inks).to_string();
    snapshot("check_inks", &inked);
    let mut plain = inked;
    for mark in ["<e>", "</e>", "<w>", "</w>", "<b>", "</b>", "<m>", "</m>"] {
        plain = plain.replace(mark, "");
    }
    assert_eq!(plain, shown(&checked));
}
