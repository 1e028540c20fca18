//! Tests that the schema accepts what is read. `tests/schema.rs` checks the committed file.

use std::collections::BTreeSet;
use std::rc::Rc;

use serde_json::Value;

use super::text;
use crate::config::error::Report;
use crate::config::presets::PRESETS;
use crate::config::yaml::{self, Node, NodeKind};
use crate::config::{answers, limits, quotas, tiers};

fn schema() -> Value {
    serde_json::from_str(&text()).expect("a schema is JSON")
}

/// A document as an editor sees it: plain scalars have the type that they look like (YAML 1.2).
fn as_json(node: &Node) -> Value {
    match &node.kind {
        NodeKind::Scalar { text, quoted: false } => match text.as_str() {
            "" | "~" | "null" => Value::Null,
            "true" => true.into(),
            "false" => false.into(),
            text => text.parse::<i64>().map_or_else(|_| text.into(), Value::from),
        },
        NodeKind::Scalar { text, .. } => text.as_str().into(),
        NodeKind::Sequence(items) => items.iter().map(|item| as_json(item)).collect(),
        NodeKind::Mapping(fields) => {
            let field = |(key, value): &(Rc<Node>, Rc<Node>)| (key.text().expect("a name").to_owned(), as_json(value));
            Value::Object(fields.iter().map(field).collect())
        }
        NodeKind::Refused => panic!("the document has what YAML files here have not"),
    }
}

/// What the schema has against that document, each with the place.
fn against(document: &str) -> Vec<String> {
    let root = yaml::parse(document, &mut Report::default());
    let root = root
        .unwrap_or_else(|broken| panic!("{}", broken.1))
        .expect("a document");
    let validator = jsonschema::validator_for(&schema()).expect("a schema");
    let document = as_json(&root);
    let told = validator
        .iter_errors(&document)
        .map(|error| format!("{} at {}", error, error.instance_path()));
    told.collect()
}

fn repository_file() -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tiers.yaml");
    std::fs::read_to_string(path).expect("the repository's file")
}

#[test]
fn what_comes_with_the_program_is_as_the_schema_says() {
    assert!(jsonschema::meta::is_valid(&schema()), "draft 7 knows every word of it");
    assert_eq!(against(&repository_file()), [""; 0]);
    for preset in PRESETS {
        assert_eq!(against(preset.text), [""; 0], "{}", preset.name);
    }
}

#[test]
fn everything_that_can_be_written_is_as_the_schema_says() {
    let document = r#"
listen: "[::]:80"
admin: { listen: 127.0.0.1:9090, token: "${DOOR_TOKEN}" }
readyz: { upstreams: any }
durability: relaxed
commit_every: 20ms
history: { keep: 3650d, max: 64MiB }
clock_step_max: 24h
cores: 2
connections: { max: 7, head_timeout: 500ms, send_timeout: 1m30s, head_max: 8KiB, headers_max: 16, unmetered_max: 1 }
bodies: { memory: 1MiB, memory_each: 0B, spool: 1TiB, timeout: 1s, rate_min: 0B/s, upload_max: 366d }
queue: { length: 0, within_tier: fair, max_wait: 1m30s, lifeline: 4 }
tiers:
  no: { priority: 0, concurrency: 3, max_wait: 5s, displacements_per_minute: 0, limits: { http: 5, b: { limit: 6, lifts: network } } }
  1: { priority: 6, concurrency: 1, quotas: { d: { limit: 1, calendar: day, zone: Europe/Berlin, enforce: false } } }
anonymous: 1
keys: { headers: [], bearer: false, query: key }
trusted_proxies: [10.0.0.0/8, "::1"]
forwarded_header: x-forwarded-for
limits:
  - { name: http, per: network, limit: 0, window: 1s, kind: fixed, align: clock, headers: on_refusal_reset, enforce: false }
  - name: b
    per: [account, network]
    limit: 10
    window: 1h
    kind: sliding
    penalty: 1m
    degraded: 5
    disclosed: false
    match: { host: a.example, path: "/upload/*", methods: [POST] }
    v6_prefix: 56
    block_after: { refusals: 10, within: 1m, for: 1h }
answers: { rate_limited: { status: 410, headers: { x-retry: "{retry_after}" }, content_type: text/plain, body: gone } }
cors: { origins: ["*"], max_age: 10m }
paths: { me: off, stats: /own/stats }
upstreams: { b: { servers: [{ url: "http://a", slots: 1 }], connect_timeout: 1s, health: { path: /h, every: 1s } } }
routes: [{ host: a, path: /x, methods: [GET], upstream: b, metered: true, max_body: 0B, max_wait: 2s, success: [200, 206], cost: 0, on_hangup: cancel }]
accounts: [{ name: bot, tier: 1, key_sha256: ["${BOT_KEYS}", 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae] }]
"#;
    assert_eq!(against(document), [""; 0]);
}

#[test]
fn what_is_mistyped_is_seen() {
    let file = repository_file();
    for (right, wrong) in [
        ("drain_timeout: 30s", "drain_timeut: 30s"),
        ("drain_timeout: 30s", "drain_timeout: 30"),
        ("drain_timeout: 30s", "drain_timeout:"),
        ("drain_timeout: 30s", "history: { keep: 30 }"),
        ("drain_timeout: 30s", "history: { max: 4G }"),
        ("within_tier: fifo", "within_tier: fare"),
        ("lifeline: off", "lifeline: 1"),
        ("concurrency: 1", "concurency: 1"),
        ("priority: 6", "priority: 7"),
        (
            "limit: 500, rolling: 24h }",
            "limit: 500, rolling: 24h, calendar: day }",
        ),
        ("limit: 500, rolling: 24h }", "limit: 500, rolling: 24h, zone: UTC }"),
        ("limit: 500, rolling: 24h", "limit: 500"),
        ("name: http, per: network", "name: http, per: neighbour"),
        ("kind: fixed }", "kind: fixed, enforced: false }"),
        ("slots: 2", "slots: 0"),
        ("http://127.0.0.1:8081", "https://127.0.0.1:8081"),
        ("metered: true", "metered: yes"),
        ("max_body: 25MiB", "max_body: 25"),
        ("listen: 127.0.0.1:8080", "listen: localhost:8080"),
        (
            "{ listen: 127.0.0.1:9090 }",
            "{ listen: 127.0.0.1:9090, token: a-token-in-plain-text }",
        ),
        (
            "{ listen: 127.0.0.1:9090 }",
            "{ listen: 127.0.0.1:9090, token: \"${A}\", token_file: /a }",
        ),
        ("key_sha256: c815", "key_sha256: x815"),
        ("paths: { me: /me,", "paths: { me: me,"),
        ("\nanonymous: free\n", "\n"),
    ] {
        assert!(file.contains(right), "{right}");
        let told = against(&file.replacen(right, wrong, 1));
        assert!(!told.is_empty(), "{wrong}");
    }
}

/// Answers what fields a struct is read with.
struct Probe<'f>(&'f mut Vec<(&'static str, &'static [&'static str])>);

impl<'de> serde::Deserializer<'de> for Probe<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: serde::de::Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.push((name, fields));
        Err(serde::de::Error::custom("only the names were asked for"))
    }

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
        Err(serde::de::Error::custom("this is no struct"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Both come from one struct, by two derives, and an editor must not offer what `tiergate check` refuses.
#[test]
fn the_fields_are_those_that_are_read() {
    fn read<T: serde::de::DeserializeOwned>(readers: &mut Vec<(&'static str, &'static [&'static str])>) {
        assert!(T::deserialize(Probe(readers)).is_err());
    }
    let mut readers = Vec::new();
    read::<crate::config::Config>(&mut readers);
    read::<crate::config::AdminSection>(&mut readers);
    read::<crate::config::ConnectionsSection>(&mut readers);
    read::<crate::config::BodiesSection>(&mut readers);
    read::<crate::config::ReadyzSection>(&mut readers);
    read::<crate::config::HistorySection>(&mut readers);
    read::<tiers::QueueSection>(&mut readers);
    read::<tiers::TierSection>(&mut readers);
    read::<quotas::QuotaSection>(&mut readers);
    read::<limits::TierLimitSection>(&mut readers);
    read::<crate::config::KeysSection>(&mut readers);
    read::<limits::LimitSection>(&mut readers);
    read::<limits::MatchSection>(&mut readers);
    read::<limits::BlockAfterSection>(&mut readers);
    read::<answers::Written>(&mut readers);
    read::<crate::config::Cors>(&mut readers);
    read::<crate::config::Paths>(&mut readers);
    read::<crate::config::UpstreamSection>(&mut readers);
    read::<crate::config::ServerConfig>(&mut readers);
    read::<crate::config::HealthSection>(&mut readers);
    read::<crate::config::RouteSection>(&mut readers);
    read::<crate::config::AccountSection>(&mut readers);
    read::<crate::config::AccessLogSection>(&mut readers);
    assert_eq!(readers.len(), 23);
    let schema = schema();
    let described = |name: &str| match name {
        "Config" => schema["properties"].clone(),
        name => schema["definitions"][name]["properties"].clone(),
    };
    for (name, known) in &readers {
        let fields: BTreeSet<String> = described(name)
            .as_object()
            .into_iter()
            .flat_map(|all| all.keys().cloned())
            .collect();
        let read: BTreeSet<String> = known.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(fields, read, "{name}");
    }
    let sections = schema["definitions"].as_object().expect("sections").keys();
    for section in sections {
        assert!(
            readers.iter().any(|(name, _)| name == section),
            "{section} has no reader here"
        );
    }
}

#[test]
fn a_field_that_must_be_there_has_advice() {
    let sections = super::described()["definitions"].as_object().expect("sections").keys();
    for section in sections.map(String::as_str).chain(["Config"]) {
        for (field, advice) in super::required(section) {
            assert!(!advice.is_empty(), "{section}.{field}");
        }
    }
    assert!(
        !text().contains("x-add") && !text().contains("x-secret") && !text().contains("x-kind"),
        "they are for the reader alone"
    );
}

#[test]
fn every_field_has_a_description() {
    fn look(schema: &Value, at: &str) {
        let properties = schema["properties"].as_object();
        for (name, field) in properties.into_iter().flatten() {
            let described = field["description"]
                .as_str()
                .is_some_and(|text| !text.is_empty() && !text.contains('\n'));
            assert!(described, "{at}.{name} has no description");
        }
        let parts = schema.as_object().into_iter().flatten();
        for (name, part) in parts.filter(|(_, part)| part.is_object()) {
            look(part, &format!("{at}.{name}"));
        }
    }
    look(&schema(), "");
}
