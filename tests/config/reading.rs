//! Files without errors: defaults, and every setting as it is written.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tiergate::config::{Config, HistorySection, OnHangupSetting, Origins};
use tiergate::policy::rules::{Rules, TierId, UpstreamId, Window, Within};
use tiergate::policy::time::Span;

use crate::sections::HASHES;
use crate::{file, good, parse, secs};

#[test]
fn the_repositorys_file_is_the_reference_table() {
    let config = Config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tiers.yaml")).unwrap();
    // tier, daily quota, concurrency, priority: the table that trace.moe shows its sponsors.
    let table = [
        ("free", 100, 1, 0),
        ("$1", 100, 1, 2),
        ("$5", 500, 1, 2),
        ("$10", 1000, 1, 5),
        ("$20", 2000, 2, 5),
        ("$50", 5000, 3, 5),
        ("$100", 10000, 4, 6),
    ];
    assert_eq!(config.rules.tiers.len(), table.len());
    for (tier, (name, limit, concurrency, priority)) in config.rules.tiers.iter().zip(table) {
        assert_eq!(
            (&*tier.name, tier.concurrency, tier.priority.get()),
            (name, concurrency, priority)
        );
        let [quota] = tier.quotas.as_slice() else {
            panic!("{name} has one quota")
        };
        assert_eq!((&*quota.name, quota.limit), ("daily", limit), "{name}");
        let day = Window::Rolling(Span::from_secs(24 * 60 * 60));
        assert_eq!(config.rules.windows[quota.window], day, "{name}");
        assert_eq!(
            (tier.max_wait, tier.displacements_per_minute),
            (None, 10 * concurrency),
            "{name}"
        );
    }
    assert_eq!(*config.rules.tier(config.rules.anonymous).name, *"free");
    assert_eq!(config.rules.queue.length, 8);
    assert_eq!(config.rules.queue.lifeline, None);
    assert_eq!(config.keys.headers, ["x-api-key", "x-trace-key"]);
    assert_eq!((config.keys.bearer, config.keys.query.as_deref()), (true, Some("key")));
    let [search, image] = config.routes.as_slice() else {
        panic!("two routes")
    };
    assert_eq!(
        (search.pattern.as_str(), search.metered, search.max_body),
        ("/search", true, 25 << 20)
    );
    assert_eq!((image.pattern.as_str(), image.metered), ("/image/{*rest}", false));
    let [bot] = config.accounts.as_slice() else {
        panic!("one account")
    };
    assert_eq!(
        (bot.name.as_str(), bot.tier, bot.key_sha256.len()),
        ("listed-bot", TierId(6), 1)
    );
}

#[test]
fn omitted_settings_have_defaults() {
    let config = good(&[]);
    assert_eq!(config.data_dir, PathBuf::from("./data"));
    assert_eq!((config.drain_timeout, config.cores), (secs(30), None));
    assert_eq!(
        (config.history, config.clock_step_max),
        (HistorySection::default(), secs(300))
    );
    assert_eq!(
        (config.history.keep, config.history.max),
        (secs(30 * 86_400), 4_294_967_296)
    );
    assert_eq!(config.connections.max, 10_000);
    assert_eq!(
        (config.connections.head_timeout, config.connections.head_max),
        (secs(10), 64 << 10)
    );
    assert_eq!(
        (config.connections.headers_max, config.connections.unmetered_max),
        (100, 256)
    );
    assert_eq!(
        (config.rules.queue.within_tier, config.rules.queue.max_wait),
        (Within::Fifo, Span::from_secs(30))
    );
    assert_eq!(
        (config.keys.headers, config.keys.bearer, config.keys.query),
        (
            vec!["x-api-key".parse().unwrap(), "x-trace-key".parse().unwrap()],
            true,
            Some("key".to_owned())
        ),
        "as the shipped file shows it"
    );
    let keys = good(&["keys: {}"]).keys;
    assert_eq!(
        (keys.headers, keys.bearer, keys.query),
        (vec!["x-api-key".parse().unwrap()], true, None),
        "what `keys` leaves out"
    );
    assert_eq!(
        (config.trusted_proxies, config.cors, config.accounts),
        (vec![], None, vec![])
    );
    assert_eq!(config.paths.me.as_deref(), Some("/me"));
    let search = &config.upstreams[0];
    assert_eq!((search.connect_timeout, search.timeout), (secs(2), secs(60)));
    assert_eq!(
        (search.first_byte_timeout, search.idle_timeout, &search.health),
        (secs(60), secs(15), &None)
    );
    assert_eq!(slots(&config.rules), [2]);
    let route = &config.routes[0];
    assert_eq!(
        (&route.host, &route.methods, route.upstream),
        (&None, &None, UpstreamId(0))
    );
    assert_eq!(
        (route.max_body, route.max_wait, route.on_hangup),
        (1 << 20, None, OnHangupSetting::Finish)
    );
    assert_eq!(route.success, [200]);
}

/// A file that says something else than the default wherever it can.
fn every_setting() -> Config {
    good(&[
        "listen: \"[::]:80\"",
        "queue: { length: 0, within_tier: fair, max_wait: 1m30s, lifeline: 4 }",
        "tiers: { no: { priority: 0, concurrency: 3, max_wait: 5s, displacements_per_minute: 0 }, 1: { priority: 6, concurrency: 1 } }",
        "anonymous: no",
        "cores: 2",
        "data_dir: /var/lib/tiergate",
        "history: { keep: 3650d, max: 1TiB }",
        "clock_step_max: 1s",
        "connections: { max: 7, head_timeout: 500ms, head_max: 8KiB, headers_max: 16, unmetered_max: 1 }",
        "keys: { headers: [], bearer: false }",
        "trusted_proxies: [10.0.0.0/8, 192.0.2.7, \"2001:db8::/32\", \"::1\"]",
        "cors: { origins: [\"https://Example.org\", \"http://localhost:3000\"], max_age: 10m }",
        "paths: { me: off }",
        "upstreams: { b: { servers: [ { url: \"http://Worker\", slots: 1 }, { url: \"http://[::1]:8080\", slots: 9 } ], timeout: 5s, health: { path: \"/h?x=1\" } }, a: { servers: [ { url: \"http://10.0.0.1\", slots: 3 } ], first_byte_timeout: 1s } }",
        "routes: [ { host: API.example.org, path: /x, upstream: a, methods: [GET, POST], metered: true, success: [200, 206], max_wait: 2s, on_hangup: cancel, max_body: 0B }, { path: /x, upstream: b } ]",
        &format!(
            "accounts: [ {{ name: bot, tier: 1, key_sha256: [{}, {}] }} ]",
            HASHES[0],
            HASHES[1].to_uppercase()
        ),
    ])
}

#[test]
fn every_setting_is_read() {
    let config = every_setting();
    assert_eq!(config.listen, "[::]:80".parse::<SocketAddr>().unwrap());
    assert_eq!((config.rules.queue.length, config.rules.queue.lifeline), (0, Some(4)));
    assert_eq!(
        (config.rules.queue.within_tier, config.rules.queue.max_wait),
        (Within::Fair, Span::from_secs(90))
    );
    assert_eq!(*config.rules.tiers[TierId(0)].name, *"no", "a name stays a name");
    assert_eq!(
        (
            config.rules.tiers[TierId(0)].max_wait,
            config.rules.tiers[TierId(0)].displacements_per_minute
        ),
        (Some(Span::from_secs(5)), 0)
    );
    assert_eq!(config.cores, Some(2));
    assert_eq!(
        (config.history.keep, config.history.max),
        (secs(3_650 * 86_400), 1 << 40)
    );
    assert_eq!(config.clock_step_max, secs(1));
    assert_eq!(config.connections.head_timeout, Duration::from_millis(500));
    assert_eq!((config.keys.headers.len(), config.keys.bearer), (0, false));
    let networks: Vec<String> = config.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::1/128"]);
    let cors = config.cors.unwrap();
    let origins = ["https://example.org", "http://localhost:3000"].map(|origin| origin.parse().unwrap());
    assert_eq!(
        (cors.origins, cors.max_age),
        (Origins::List(origins.to_vec()), secs(600))
    );
    assert_eq!(config.paths.me, None);
    assert_eq!(slots(&config.rules), [1, 9]);
    let authorities: Vec<String> = config.upstreams[0]
        .servers
        .iter()
        .map(|server| server.authority())
        .collect();
    assert_eq!(authorities, ["worker:80", "[::1]:8080"]);
    assert_eq!(config.upstreams[0].first_byte_timeout, secs(5), "as timeout");
    assert_eq!(config.upstreams[0].health.as_ref().unwrap().every, secs(5));
    assert_eq!(config.upstreams[1].first_byte_timeout, secs(1));
    let route = &config.routes[0];
    assert_eq!(
        (route.host.as_deref(), route.upstream),
        (Some("api.example.org"), UpstreamId(1))
    );
    assert_eq!(route.methods, Some(vec![http::Method::GET, http::Method::POST]));
    assert_eq!(
        (route.max_body, route.max_wait, route.on_hangup),
        (0, Some(secs(2)), OnHangupSetting::Cancel)
    );
    assert_eq!(route.success, [200, 206]);
    assert_eq!(
        (config.accounts[0].tier, config.accounts[0].key_sha256[0][..2].to_vec()),
        (TierId(1), vec![0x2c, 0x26])
    );
}

#[test]
fn history_bounds_are_accepted() {
    let shortest = HistorySection {
        keep: secs(3_600),
        max: 64 << 20,
    };
    assert_eq!(good(&["history: { keep: 1h, max: 64MiB }"]).history, shortest);
    let longest = good(&["clock_step_max: 24h", "history: { keep: 3650d }"]);
    assert_eq!((longest.clock_step_max, longest.history.max), (secs(86_400), 4 << 30));
}

#[test]
fn any_origin_is_accepted() {
    assert_eq!(
        good(&["cors: { origins: [\"*\"] }"]).cors.unwrap().origins,
        Origins::Any
    );
}

#[test]
fn byte_order_mark_and_line_endings_change_nothing() {
    let text = file(&[]);
    let same = parse(&text).unwrap();
    assert_eq!(parse(&format!("\u{feff}{text}")).unwrap(), same);
    assert_eq!(parse(&text.replace('\n', "\r\n")).unwrap(), same);
    assert_eq!(parse(&format!("---\n{text}...\n")).unwrap(), same);
}

/// Of the first upstream's servers.
fn slots(rules: &Rules) -> Vec<u32> {
    let servers = rules.upstreams[UpstreamId(0)].servers.iter();
    servers.map(|server| server.slots).collect()
}
