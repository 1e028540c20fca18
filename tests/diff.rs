//! Differences between two configurations: reported if and only if something changes, in the words of the file.
//!
//! The files come from a table of edits: each knob is a setting and its values, the first being that of the base. A
//! test checks that the table covers every field: a new field fails it until it has a knob.

#[path = "diff/document.rs"]
mod document;
#[path = "diff/knobs.rs"]
mod knobs;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use proptest::prelude::*;
use tiergate::config::diff::{Diff, diff};
use tiergate::config::presets::PRESETS;
use tiergate::config::{Config, Environment};

use document::Document;
use knobs::{KNOBS, Knob, ORDERS, base};

fn parsed(document: &Document) -> Config {
    let text = document.to_string();
    Config::parse_in("tiers.yaml", text.as_bytes(), &Tokens).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// Every variable and every file contains a token.
struct Tokens;

impl Environment for Tokens {
    fn variable(&self, name: &str) -> Option<String> {
        Some(format!("a-token-of-{name}"))
    }

    fn file(&self, path: &Path) -> io::Result<String> {
        Ok(format!("a-token-of-{}", path.display()))
    }
}

/// The base with some knobs set to one of their values and some lists reordered.
fn turned(knobs: &[(&Knob, usize)], orders: &[(&str, usize)]) -> Config {
    let mut document = base();
    for (knob, choice) in knobs {
        document.set(knob.at, knob.choices[*choice].0);
    }
    for (at, by) in orders {
        document.rotate(at, *by);
    }
    parsed(&document)
}

fn lines(diff: &Diff) -> Vec<String> {
    diff.describe(&|_| None).iter().map(ToString::to_string).collect()
}

#[test]
fn one_changed_setting_is_one_difference() {
    for &knob in KNOBS.iter() {
        let count = knob.choices.len();
        for (from, to) in (0..count).flat_map(|from| (0..count).map(move |to| (from, to))) {
            let (old, new) = (turned(&[(knob, from)], &[]), turned(&[(knob, to)], &[]));
            let said = lines(&diff(&old, &new));
            let about = format!("{} from {from} to {to}: {said:#?}", knob.at);
            if from == to {
                assert_eq!(said, [""; 0], "{about}");
                continue;
            }
            assert_eq!(said.len(), knob.lines, "{about}");
            let said = said.join("\n");
            for shown in [knob.choices[from].1, knob.choices[to].1] {
                assert!(said.contains(shown), "{shown} is missing: {about}");
            }
            assert!(said.contains(knob.subject), "{} is missing: {about}", knob.subject);
            assert_eq!(said.contains("needs a restart: "), knob.restart, "{about}");
        }
    }
}

#[test]
fn a_changed_order_alone_is_reported() {
    for (at, said) in ORDERS {
        let (old, new) = (turned(&[], &[]), turned(&[], &[(at, 1)]));
        assert_ne!(old, new, "{at}");
        assert_eq!(lines(&diff(&old, &new)), [*said], "{at}");
    }
}

/// The values at each path of a configuration's fields; all items of a list share one path.
fn leaves(config: &Config) -> BTreeMap<String, Vec<String>> {
    let mut leaves: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut path: Vec<String> = Vec::new();
    for line in format!("{config:#?}").lines() {
        let (depth, line) = (
            (line.len() - line.trim_start().len()) / 4,
            line.trim().trim_end_matches(','),
        );
        path.truncate(depth);
        let field = line.split_once(": ").filter(|(name, _)| {
            name.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        });
        let (name, value) = field.unwrap_or(("", line));
        path.push(name.to_owned());
        if !value.ends_with(['(', '{', '[']) && !matches!(value, ")" | "}" | "]") {
            let named: Vec<&str> = path
                .iter()
                .map(String::as_str)
                .filter(|name| !name.is_empty())
                .collect();
            leaves.entry(named.join(".")).or_default().push(value.to_owned());
        }
    }
    leaves
}

#[test]
fn every_configuration_field_has_a_knob() {
    let (mut known, mut changed) = (BTreeSet::new(), BTreeSet::new());
    for &knob in KNOBS.iter() {
        let all: Vec<_> = (0..knob.choices.len())
            .map(|choice| leaves(&turned(&[(knob, choice)], &[])))
            .collect();
        for one in &all {
            known.extend(one.keys().cloned());
            let other = |path: &&String| all.iter().any(|other| other.get(*path) != one.get(*path));
            changed.extend(one.keys().filter(other).cloned());
        }
    }
    // It is read into `admin.token`.
    known.remove("admin.token_file");
    assert!(known.len() > 80, "these are not all fields: {known:#?}");
    let still: Vec<_> = known.difference(&changed).collect();
    assert!(still.is_empty(), "no knob covers these: {still:#?}");
}

/// Knobs with the value each is set to, and lists with how far each is rotated.
type Turns = (Vec<(&'static Knob, usize)>, Vec<(&'static str, usize)>);

/// A few of each.
fn turns() -> impl Strategy<Value = Turns> {
    let knob = (0..KNOBS.len(), 0..4_usize).prop_map(|(knob, choice)| {
        let knob = KNOBS[knob];
        (knob, choice % knob.choices.len())
    });
    let order = (0..ORDERS.len(), 0..3_usize).prop_map(|(order, by)| (ORDERS[order].0, by));
    (prop::collection::vec(knob, 0..8), prop::collection::vec(order, 0..2))
}

proptest! {
    #[test]
    fn nothing_is_reported_if_and_only_if_nothing_changed(
        (both, order) in turns(),
        (old, old_order) in turns(),
        (new, new_order) in turns(),
        alone in any::<bool>(),
    ) {
        let all = |more: Vec<_>, orders: Vec<_>| {
            let knobs = both.iter().copied().chain(more).collect::<Vec<_>>();
            let orders = order.iter().copied().chain(orders).collect::<Vec<_>>();
            turned(&knobs, &orders)
        };
        // With few knobs turned, both are sometimes equal.
        let (old, new) = if alone {
            (all(Vec::new(), Vec::new()), all(new.into_iter().take(1).collect(), Vec::new()))
        } else {
            (all(old, old_order), all(new, new_order))
        };
        let (there, back) = (diff(&old, &new), diff(&new, &old));
        prop_assert_eq!(there.is_empty(), old == new, "{}", there);
        prop_assert_eq!(back.is_empty(), there.is_empty());
        prop_assert!(diff(&old, &old.clone()).is_empty());
        for line in lines(&there) {
            prop_assert!(!line.chars().any(char::is_control) && line.chars().count() < 400, "{}", line);
        }
    }

    #[test]
    fn a_reload_applies_all_but_what_needs_a_restart((old, orders) in turns(), (new, new_orders) in turns()) {
        let (running, new) = (turned(&old, &orders), turned(&new, &new_orders));
        let applied = new.clone().applied_to(&running);
        let (all, left) = (diff(&running, &new), diff(&applied, &new));
        prop_assert!(left.differences().iter().all(|difference| difference.restart), "{}", left);
        prop_assert!(left.differences().iter().eq(all.needs_restart()), "{}", left);
        prop_assert_eq!(all.needs_restart().next().is_none(), applied == new);
        let done = diff(&running, &applied);
        prop_assert!(done.needs_restart().next().is_none(), "{}", done);
        prop_assert_eq!(done.differences().len() + left.differences().len(), all.differences().len());
        prop_assert_eq!(new.clone().applied_to(&new), new);
    }
}

#[test]
fn key_hashes_are_never_shown() {
    let knob = |at: &str| *KNOBS.iter().find(|knob| knob.at == at).expect("a knob");
    let (old, new) = (turned(&[], &[]), turned(&[(knob("/accounts/0/key_sha256"), 1)], &[]));
    let said = diff(&old, &new).to_string();
    assert_eq!(said, "account `acme`: 1 key added\naccount `acme`: 1 key removed\n");
}

#[test]
fn a_token_file_is_shown_by_its_path() {
    let mut document = base();
    document.set("/admin/token_file", r#""/run/token""#);
    assert_eq!(
        diff(&parsed(&base()), &parsed(&document)).to_string(),
        "admin: token admin.token in data_dir → /run/token\n"
    );
}

#[test]
fn a_duplicate_network_can_be_listed_once() {
    let with = |networks: &str| {
        let mut document = base();
        document.set("/blocked_networks", networks);
        parsed(&document)
    };
    let (twice, once) = (with(r#"["192.0.2.0/24", "192.0.2.0/24"]"#), with(r#"["192.0.2.0/24"]"#));
    let fewer = "blocked_networks: 192.0.2.0/24 removed once, and listed still\n";
    assert_eq!(diff(&twice, &once).to_string(), fewer);
    assert_eq!(
        diff(&once, &twice).to_string(),
        "blocked_networks: 192.0.2.0/24 added once more\n"
    );
}

#[test]
fn shifted_ids_are_not_reported_as_differences() {
    // A tier before all others shifts the ids of all tiers, and so every reference to one.
    let with = |text: &str| Config::parse("tiers.yaml", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    let before = include_str!("../tiers.yaml");
    let after = before.replace(
        "tiers:\n",
        "tiers:\n  first:  { priority: 1, concurrency: 1, quota: { limit: 7, rolling: 7d } }\n",
    );
    assert_eq!(
        diff(&with(before), &with(&after)).to_string(),
        "tier `first`: added: priority 1, concurrency 1, weekly quota 7 (rolling 7d)\n"
    );
}

#[test]
fn equivalent_spellings_are_no_difference() {
    let all: [&[(&str, &str, &str)]; 10] = [
        &[("/queue/max_wait", r#""60s""#, r#""1m""#)],
        &[("/history/max", r#""1GiB""#, r#""1024MiB""#)],
        &[("/tiers/gold/displacements_per_minute", "", "40")],
        &[
            ("/tiers/gold/quota", r#"{"limit": 10, "rolling": "24h"}"#, ""),
            ("/tiers/gold/quotas", "", r#"{"daily": {"rolling": "1d", "limit": 10}}"#),
        ],
        &[("/tiers/$5/quotas/monthly/zone", "", r#""UTC""#)],
        &[("/limits/0/match/path", r#""/a/*""#, r#""/a/{*rest}""#)],
        &[("/answers/rate_limited/content_type", "", r#""application/json""#)],
        &[("/upstreams/web/first_byte_timeout", "", r#""50s""#)],
        &[(
            "/upstreams/search/servers/0/url",
            r#""http://worker""#,
            r#""HTTP://Worker:80""#,
        )],
        &[("/routes/0/host", r#""example.org""#, r#""Example.ORG""#)],
    ];
    for edits in all {
        let [old, new] = [true, false].map(|is_old| {
            let mut document = base();
            edits
                .iter()
                .for_each(|(at, old, new)| document.set(at, if is_old { old } else { new }));
            parsed(&document)
        });
        assert_eq!(diff(&old, &new).to_string(), "", "{edits:?}");
        assert_eq!(old, new, "{edits:?}");
    }
    // The order of fields in a section does not matter.
    let mut document = base();
    ["", "/queue", "/connections", "/limits/0", "/routes/0"]
        .iter()
        .for_each(|at| document.rotate(at, 1));
    assert_eq!(diff(&parsed(&base()), &parsed(&document)).to_string(), "");
}

#[test]
fn long_files_are_compared_quickly() {
    let networks = |third: u8| {
        let all: Vec<String> = (0..16_000_u32)
            .map(|n| format!("\"10.{third}.{}.{}\"", n / 256, n % 256))
            .collect();
        let mut document = base();
        document.set("/blocked_networks", &format!("[{}]", all.join(",")));
        parsed(&document)
    };
    assert_eq!(diff(&networks(0), &networks(1)).differences().len(), 32_000);
}

/// The repository's tiers.yaml with each first text replaced by the second.
fn edited(edits: &[(&str, &str)]) -> String {
    edits
        .iter()
        .fold(include_str!("../tiers.yaml").to_owned(), |text, (old, new)| {
            assert!(text.contains(old), "{old} is not in tiers.yaml");
            text.replace(old, new)
        })
}

#[test]
fn a_sponsor_edit_reads_in_the_operators_words() {
    let old = edited(&[]);
    let new = edited(&[
        ("listen: 127.0.0.1:8080", "listen: 0.0.0.0:80\ncores: 4"),
        (
            "queue: { length: 8, within_tier: fifo",
            "queue: { length: 16, within_tier: fair",
        ),
        (
            "priority: 0, concurrency: 1, quota: { limit: 100",
            "priority: 0, concurrency: 1, quota: { limit: 50",
        ),
        (
            "concurrency: 1, quota: { limit: 500",
            "concurrency: 2, quota: { limit: 800",
        ),
        ("\"$10\":  { priority: 5", "\"$15\":  { priority: 4"),
        (
            "concurrency: 3, quota",
            "concurrency: 3, limits: { http: 300 }, max_wait: 10s, quota",
        ),
        (
            "limit: 100, window: 60s, kind: fixed",
            "limit: 120, window: 60s, kind: sliding, penalty: 5m",
        ),
        ("blocked_networks: []", "blocked_networks: [192.0.2.0/24]"),
        (
            "slots: 2 }",
            "slots: 3 }\n      - { url: \"http://127.0.0.1:8082\", slots: 4 }",
        ),
        ("timeout: 60s\n", "timeout: 90s\n"),
        ("max_body: 25MiB", "max_body: 50MiB, cost: 2"),
        ("name: listed-bot, tier: \"$100\"", "name: listed-bot, tier: \"$50\""),
    ]);
    let config = |text: &str| Config::parse("tiers.yaml", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    let accounts = |tier: &str| Some(tier.trim_start_matches('$').len()).filter(|_| tier != "free");
    let lines: Vec<String> = diff(&config(&old), &config(&new))
        .describe(&accounts)
        .iter()
        .map(ToString::to_string)
        .collect();
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!("a_sponsor_edit", lines.join("\n")) });
}

#[test]
fn the_presets_against_each_other() {
    let mut said = String::new();
    for pair in PRESETS.windows(2) {
        let (old, new) = (pair[0].config().expect("right"), pair[1].config().expect("right"));
        said.push_str(&format!(
            "# {} → {}\n{}\n",
            pair[0].name,
            pair[1].name,
            diff(&old, &new)
        ));
    }
    insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!("presets", said) });
}
