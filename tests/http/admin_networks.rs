//! Settings of networks, managed over the admin listener.

use serde_json::{Value, json};
use tiergate::clock::ClockControl;
use tiergate::policy::time::{Span, UnixTime};

use crate::support::operator::rows;
use crate::support::{Mirror, Proxy, limited, seven_tiers};

/// 2027-01-15T08:00:00Z.
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

async fn open() -> (Proxy, &'static ClockControl) {
    let mirror = Mirror::start().await;
    Proxy::start_changed(NOW, &seven_tiers(8, &[(mirror.address, 2)], ""), limited)
}

/// The time without the seconds.
fn to_the_minute(time: &Value) -> String {
    time.as_str().expect("a time").chars().take(16).collect()
}

async fn set(proxy: &Proxy, network: &str, body: &str) -> Value {
    proxy.told(200, format!("PATCH /networks/{network}"), body).await
}

async fn names(proxy: &Proxy, query: &str) -> (Vec<String>, Value) {
    let page = proxy.told(200, format!("GET /networks{query}"), "").await;
    let networks = page["networks"].as_array().expect("a list");
    let name = |network: &Value| network["network"].as_str().expect("text").to_owned();
    (networks.iter().map(name).collect(), page["next"].clone())
}

#[tokio::test]
async fn network_settings_are_created_shown_changed_and_removed() {
    let (proxy, _) = open().await;
    let body =
        r#"{ "limits": { "http": 300, "hourly": 0 }, "note": "a school", "block": { "for": "1d", "why": "scrapes" } }"#;
    let said = set(&proxy, "192.0.2.7%2F24", body).await;
    let block = said["block"].clone();
    let expected = json!({
        "network": "192.0.2.0/24", "limits": { "http": 300, "hourly": 0 }, "note": "a school",
        "block": { "since": block["since"], "until": block["until"], "why": "scrapes" }, "listed": false,
        "blocked_by": [{ "network": "192.0.2.0/24", "origin": "stored" }], "blocked_by_rule": [],
    });
    assert_eq!(said, expected);
    assert_eq!(to_the_minute(&block["since"]), "2027-01-15T08:00");
    assert_eq!(to_the_minute(&block["until"]), "2027-01-16T08:00");
    for same in ["192.0.2.0%2f24", "::ffff:192.0.2.0%2F120"] {
        let shown = proxy.told(200, format!("GET /networks/{same}"), "").await;
        assert_eq!(shown, expected, "{same}");
    }
    let changed = set(
        &proxy,
        "192.0.2.0%2F24",
        r#"{ "limits": { "hourly": null, "gone": null } }"#,
    )
    .await;
    assert_eq!(changed["limits"], json!({ "http": 300 }));
    assert_eq!((&changed["note"], &changed["block"]), (&expected["note"], &block));
    let until = set(&proxy, "192.0.2.0%2F24", r#"{ "block": { "until": "2027-02-01" } }"#).await;
    assert_eq!(until["block"]["until"], "2027-02-01T00:00:00Z");
    assert_eq!(until["block"]["why"], Value::Null, "it is another block");
    let free = set(&proxy, "192.0.2.0%2F24", r#"{ "block": null, "note": null }"#).await;
    assert_eq!((&free["block"], &free["note"]), (&Value::Null, &Value::Null));
    assert_eq!(free["blocked_by"], json!([]));
    let gone = proxy.told(200, "DELETE /networks/192.0.2.0%2F24", "").await;
    assert_eq!(gone["limits"], json!({ "http": 300 }));
    proxy
        .refuses("GET /networks/192.0.2.0%2F24", "", (404, "unknown_network"), "")
        .await;
    proxy
        .refuses("DELETE /networks/192.0.2.0%2F24", "", (404, "unknown_network"), "")
        .await;
}

#[tokio::test]
async fn an_address_alone_means_the_network_it_is_counted_by() {
    let (proxy, _) = open().await;
    for (address, network) in [
        ("192.0.2.7", "192.0.2.7/32"),
        ("::ffff:192.0.2.7", "192.0.2.7/32"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:3::4%2F128", "2001:db8:1:2:3::4/128"),
        ("2001:DB8::%2F33", "2001:db8::/33"),
    ] {
        let said = set(&proxy, address, r#"{ "note": "x" }"#).await;
        assert_eq!(said["network"], network, "{address}");
    }
    for wrong in [
        "localhost",
        "192.0.2",
        "192.0.2.0%2F33",
        "10%2F8",
        "192.0.2.1:80",
        "%20",
        "[::1]",
    ] {
        for method in ["GET", "PATCH", "DELETE"] {
            let answer = proxy.operator(method, &format!("/networks/{wrong}"), "").await;
            answer.assert_refused(400, "bad_request");
            assert!(answer.text().contains("192.0.2.0/24"), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn networks_are_paged_and_include_the_declared_ones() {
    let (proxy, _) = open().await;
    for network in ["2001:db8::", "10.0.0.0%2F8", "198.51.100.7"] {
        set(&proxy, network, r#"{ "note": "x" }"#).await;
    }
    let first = names(&proxy, "?limit=2").await;
    assert_eq!(
        first,
        (
            ["10.0.0.0/8", "198.51.100.7/32"].map(str::to_owned).into(),
            json!("198.51.100.7/32")
        )
    );
    let rest = names(&proxy, "?after=198.51.100.7%2f32").await;
    assert_eq!(
        rest,
        (
            ["203.0.113.0/24", "2001:db8::/64"].map(str::to_owned).into(),
            Value::Null
        )
    );
    let listed = proxy.told(200, "GET /networks/203.0.113.0%2F24", "").await;
    let by = json!([{ "network": "203.0.113.0/24", "origin": "listed" }]);
    assert_eq!(
        (&listed["listed"], &listed["block"], &listed["blocked_by"]),
        (&json!(true), &Value::Null, &by)
    );
    for (method, body) in [("PATCH", r#"{ "block": null }"#), ("DELETE", "")] {
        let answer = proxy.operator(method, "/networks/203.0.113.0%2F24", body).await;
        answer.assert_refused(409, "listed");
        assert!(
            answer.text().contains("take it out of `blocked_networks`"),
            "{}",
            answer.text()
        );
    }
    let inside = set(&proxy, "203.0.113.9", r#"{ "block": null }"#).await;
    assert_eq!(inside["blocked_by"], by, "networks within it are still blocked");
    let shown = proxy.told(200, "GET /networks/203.0.113.9", "").await;
    assert_eq!(
        shown["blocked_by"], by,
        "it has no settings of its own, yet it is blocked"
    );
    let answer = proxy.operator("GET", "/networks/10.1.2.3", "").await;
    answer.assert_refused(404, "unknown_network");
    assert!(answer.text().contains("it lies in 10.0.0.0/8"), "{}", answer.text());
}

/// The body of a change, and words that the answer contains.
const MISTAKES: &str = r#"
    { "limits": { "htpp": 1 } } | there is no such request limit, only http, hourly
    { "limits": { "total": 1 } } | the limit total counts everybody together
    { "limits": { "http": 1000000001 } } | 0 to 1000000000
    { "limits": { "http": { "limit": 1, "lifts": "network" } } } | the field `limits` must be an object of whole numbers or null
    { "block": { "for": "0s" } } | longer than zero
    { "block": { "for": "2028-01-01" } } | such as 90d
    { "block": { "until": "2027-01-15" } } | in the past
    { "block": { "until": "1d" } } | such as 2027-01-01
    { "block": { "for": "1d", "until": "2028-01-01" } } | not both
    { "block": true } | the field `block` must be an object with texts
    { "blocked": true } | unknown field `blocked`; there are limits, note, block
"#;

#[tokio::test]
async fn invalid_changes_are_explained_and_change_nothing() {
    let (proxy, _) = open().await;
    let long = format!(r#"{{ "note": "{}" }}"#, "x".repeat(1_025));
    let why = format!(r#"{{ "block": {{ "why": "{}" }} }}"#, "x".repeat(1_025));
    let mistakes = rows(MISTAKES).map(|[body, words]| (body, words));
    for (body, words) in mistakes.chain([(&*long, "1024 bytes"), (&*why, "1024 bytes")]) {
        proxy
            .refuses("PATCH /networks/192.0.2.1", body, (400, "bad_request"), words)
            .await;
    }
    for query in ["?limit=0", "?limit=1001", "?after=soon", "?page=2"] {
        let answer = proxy.operator("GET", &format!("/networks{query}"), "").await;
        answer.assert_refused(400, "bad_request");
    }
    proxy
        .refuses("PUT /networks/192.0.2.1", "{}", (405, "method_not_allowed"), "")
        .await;
    assert_eq!(names(&proxy, "").await.0, ["203.0.113.0/24"]);
}

#[tokio::test]
async fn expired_blocks_are_not_shown() {
    let (proxy, clock_control) = open().await;
    set(&proxy, "192.0.2.1", r#"{ "block": { "for": "1h" } }"#).await;
    set(&proxy, "192.0.2.2", r#"{ "block": { "for": "1h" }, "note": "x" }"#).await;
    clock_control.advance(Span::from_secs(3_600));
    assert_eq!(names(&proxy, "").await.0, ["192.0.2.2/32", "203.0.113.0/24"]);
    proxy
        .refuses("GET /networks/192.0.2.1", "", (404, "unknown_network"), "")
        .await;
    let other = proxy.told(200, "GET /networks/192.0.2.2", "").await;
    assert_eq!((&other["block"], &other["blocked_by"]), (&Value::Null, &json!([])));
}

/// A typing mistake used to block everyone, the operator included.
#[tokio::test]
async fn a_very_wide_block_needs_confirmation() {
    let (proxy, _) = open().await;
    let wide = [
        "0.0.0.0%2F0",
        "64.0.0.0%2F7",
        "::%2F0",
        "2000::%2F15",
        "::ffff:0.0.0.0%2F96",
    ];
    for network in wide {
        let path = format!("/networks/{network}");
        let answer = proxy.operator("PATCH", &path, r#"{ "block": { "for": "1h" } }"#).await;
        let said = answer.told(409);
        assert_eq!(said["reason"], "wide_network", "{network}");
        let error = said["error"].as_str().expect("words");
        assert!(error.contains("send \"confirm\": true"), "{error}");
        proxy.operator("GET", &path, "").await.told(404);
        let confirmed = r#"{ "block": { "for": "1h" }, "confirm": true }"#;
        proxy.operator("PATCH", &path, confirmed).await.told(200);
        // Unblocking and notes need no confirmation.
        proxy
            .operator("PATCH", &path, r#"{ "block": null, "note": "no" }"#)
            .await
            .told(200);
        proxy.operator("DELETE", &path, "").await.told(200);
    }
    for network in ["10.0.0.0%2F8", "2001::%2F16", "192.0.2.7"] {
        set(&proxy, network, r#"{ "block": {} }"#).await;
    }
}
