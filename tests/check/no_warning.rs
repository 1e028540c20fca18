//! What is no warning, and what the files that come with tiergate say.

use std::path::Path;

use tiergate::config::presets::PRESETS;
use tiergate::config::{Nothing, check};
use tiergate::policy::refusal::Reason;

use crate::{checked, shown, wise};

#[test]
fn shipped_files_have_no_warnings() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tiers.yaml");
    let own = std::fs::read(path).unwrap();
    let presets = PRESETS.iter().map(|preset| preset.text.as_bytes());
    for bytes in presets.chain([own.as_slice()]) {
        let checked = check("tiers.yaml", bytes, &Nothing);
        assert_eq!(checked.diagnostics.problems(), [], "{}", shown(&checked));
        assert_eq!(checked.diagnostics.summary(), "fine");
    }
}

/// Regression: presets had bodies for two reasons each, and their clients could not read the other errors.
#[test]
fn each_preset_shapes_every_refusal() {
    for preset in PRESETS {
        let config = preset.config().expect("it is right");
        // The usual answer has the form of their documents: { "error": … }.
        if ["trace-moe", "shotit"].contains(&preset.name) {
            assert_eq!(config.answers, [], "{}", preset.name);
            continue;
        }
        for reason in Reason::ALL {
            let answer = config.answers.iter().find(|(other, _)| *other == reason);
            let has_body = answer.is_some_and(|(_, answer)| answer.body.is_some());
            assert!(has_body, "{}: {} has no shape", preset.name, reason.code());
        }
    }
}

/// Regression: without `keys`, `x-api-key` alone was read, and no warning told of keys in places that are not read.
#[test]
fn keys_in_unread_places_are_warned_about() {
    for (keys, places) in [
        ("keys: { headers: [x-trace-key, x-api-key] }", &["`?key=`"][..]),
        ("keys: { bearer: false }", &["`x-trace-key`", "`?key=`"]),
        ("keys: { query: key }", &["`x-trace-key`"]),
    ] {
        let checked = checked(&[keys]);
        let told: Vec<&str> = checked
            .diagnostics
            .problems()
            .iter()
            .map(|problem| problem.message.as_str())
            .collect();
        assert_eq!(told.len(), places.len(), "{keys}: {told:?}");
        for (told, place) in told.iter().zip(places) {
            assert!(
                told.contains(place) && told.contains("is not read here"),
                "{keys}: {told}"
            );
        }
    }
    wise(&[]);
    wise(&["keys: { headers: [x-api-key], bearer: false }"]);
    wise(&["keys: { headers: [x-trace-key], query: key }"]);
}

#[test]
fn sensible_files_have_no_warnings() {
    wise(&[]);
    // Gaps between priorities, tiers that nobody listed has, prices that are none.
    wise(&[
        "tiers: { free: { priority: 1, concurrency: 1 }, \"$5\": { priority: 5, concurrency: 1 }, \"$VIP\": { priority: 0, concurrency: 1 } }",
    ]);
    // A queue without places; one as long as the highest concurrency.
    wise(&["queue: { length: 0 }"]);
    wise(&["queue: { length: 2 }"]);
    // The same for the same price, and the same for more.
    wise(&[
        "tiers: { free: { priority: 0, concurrency: 1 }, \"$5\": { priority: 2, concurrency: 1 }, \"$5.00\": { priority: 3, concurrency: 1 }, \"$9\": { priority: 3, concurrency: 1 } }",
    ]);
    // Quotas in different windows are not compared.
    wise(&[
        "tiers: { free: { priority: 0, concurrency: 1, quota: { limit: 9, rolling: 1h } }, \"$5\": { priority: 2, concurrency: 1, quota: { limit: 90, rolling: 24h } } }",
    ]);
    // Waits that say the same twice, and one that is as long as a search may take.
    wise(&[
        "queue: { length: 8, max_wait: 60s }",
        "tiers: { free: { priority: 0, concurrency: 1, max_wait: 60s } }",
        "routes: [ { path: /search, upstream: search, metered: true, max_wait: 60s } ]",
    ]);
    // Tiers without prices may share a priority.
    wise(&["tiers: { free: { priority: 0, concurrency: 1 }, user: { priority: 0, concurrency: 2 } }"]);
    // A route by methods of which each is limited, and HEAD with GET.
    wise(&[
        "limits: [ { name: a, per: network, limit: 1, window: 1s, match: { methods: [GET] } }, { name: b, per: network, limit: 1, window: 1s, match: { path: /search, host: b } }, { name: c, per: network, limit: 1, window: 1s, match: { path: \"/Search\", methods: [POST] } } ]",
        "routes: [ { path: /search, upstream: search, metered: true, methods: [HEAD, GET, POST] } ]",
    ]);
    // Dollars in a body are money, and the name of a place is filled in.
    wise(&["answers: { rate_limited: { content_type: text/plain, body: \"that costs ${limit}\" } }"]);
    wise(&["data_dir: \"a$b/${}/{c}\""]);
    wise(&["data_dir: ./a~"]);
}
