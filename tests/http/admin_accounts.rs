//! Accounts and keys, managed over the admin listener.

use serde_json::{Value, json};

use tiergate::policy::time::UnixTime;

use crate::support::operator::rows;
use crate::support::{Client, Mirror, Proxy, limited, seven_tiers};

pub async fn open(mirror: &Mirror) -> Proxy {
    Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""))
}

/// `GET /me` with that key: the account and tier, or the reason for the refusal.
pub async fn me(proxy: &Proxy, key: &str) -> String {
    let mut client = Client::connect(proxy.address).await;
    let answer = client.ask("GET", "/me", &format!("x-api-key: {key}\r\n")).await;
    let said = answer.json();
    let text = |of: &str| said[of].as_str().unwrap_or_default().to_owned();
    if answer.status() == 200 {
        format!("{} {}", text("id"), text("tier"))
    } else {
        text("reason")
    }
}

pub async fn add(proxy: &Proxy, name: &str) -> Value {
    let body = json!({ "name": name, "tier": "$20" }).to_string();
    proxy.told(201, "POST /accounts", &body).await
}

pub async fn mint(proxy: &Proxy, name: &str, body: &str) -> (String, String) {
    let key = proxy.told(201, format!("POST /accounts/{name}/keys"), body).await;
    let text = |of: &str| key[of].as_str().expect("text").to_owned();
    (text("key"), text("id"))
}

/// Requests that need the operator's token.
const GUARDED: [(&str, &str); 18] = [
    ("GET", "/queue"),
    ("GET", "/accounts"),
    ("POST", "/accounts"),
    ("GET", "/accounts/acme"),
    ("PATCH", "/accounts/acme"),
    ("DELETE", "/accounts/acme"),
    ("GET", "/accounts/acme/keys"),
    ("POST", "/accounts/acme/keys"),
    ("POST", "/accounts/import"),
    ("GET", "/accounts/export"),
    ("POST", "/keys/0123456789ab/rotate"),
    ("DELETE", "/keys/0123456789ab"),
    ("GET", "/networks"),
    ("GET", "/networks/192.0.2.1"),
    ("PATCH", "/networks/192.0.2.1"),
    ("DELETE", "/networks/192.0.2.1"),
    ("GET", "/nothing"),
    ("PUT", "/accounts"),
];

#[tokio::test]
async fn without_a_token_only_monitoring_pages_are_served() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    add(&proxy, "acme").await;
    let token = &proxy.token;
    let shown = [
        String::new(),
        "authorization: Bearer\r\n".to_owned(),
        format!("authorization: Basic {token}\r\n"),
        format!("authorization: Bearer {}\r\n", &token[1..]),
        format!("authorization: Bearer {token}0\r\n"),
        format!(
            "authorization: Bearer {}\r\n",
            token.to_uppercase().replace(|c: char| c.is_ascii_digit(), "x")
        ),
        format!("x-api-key: {token}\r\n"),
    ];
    let mut client = Client::operator(proxy.admin).await;
    for header in &shown {
        for (method, path) in GUARDED {
            let answer = client.ask(method, path, header).await;
            assert_eq!(answer.status(), 401, "{method} {path} {header}");
            answer.assert_refused(401, "unauthorized");
            assert_eq!(answer.get("www-authenticate"), Some("Bearer"));
            assert!(!answer.text().contains(token.as_str()));
        }
        for path in ["/metrics", "/healthz", "/readyz"] {
            assert_eq!(client.ask("GET", path, header).await.status(), 200);
        }
    }
    assert_eq!(
        proxy.operator("GET", "/accounts/acme", "").await.status(),
        200,
        "it was not removed"
    );
    proxy.refuses("GET /nothing", "", (404, "not_found"), "").await;
    proxy
        .refuses("PUT /accounts", "", (405, "method_not_allowed"), "")
        .await;
}

#[tokio::test]
async fn accounts_are_created_shown_changed_and_removed() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    let body = json!({
        "name": "acme-bot", "email": "bot@acme.example", "tier": "$20", "concurrency": 6, "quotas": { "daily": 5000 },
        "until": "2027-01-01", "max_users": 10000, "note": "a friend",
    });
    let made = proxy.told(201, "POST /accounts", &body).await;
    let expected = json!({
        "id": made["id"], "name": "acme-bot", "email": "bot@acme.example", "tier": "$20", "concurrency": 6,
        "quotas": { "daily": 5000 }, "limits": {}, "until": "2027-01-01T00:00:00Z", "blocked": false, "max_users": 10000, "note": "a friend",
        "source": null, "keys": 0, "created": made["created"], "origin": "stored", "blocked_by_rule": [],
    });
    assert_eq!(made, expected);
    let mut shown = proxy.told(200, "GET /accounts/acme-bot", "").await;
    let more = shown.as_object_mut().expect("an object");
    assert_eq!(
        ["last_used", "jobs"].map(|name| more.remove(name)),
        [Some(Value::Null), Some(json!([]))]
    );
    let usage = more.remove("usage").expect("its quotas");
    assert_eq!((&usage[0]["limit"], &usage[0]["used"]), (&json!(5000), &json!(0)));
    assert_eq!(shown, expected);
    assert_eq!(
        proxy.metric(r#"tiergate_accounts{tier="$20"}"#).await,
        2.0,
        "a20 is listed"
    );
    let change = r#"{ "tier": "$5", "note": null, "until": null, "blocked": true, "quotas": { "daily": null } }"#;
    let changed = proxy.told(200, "PATCH /accounts/acme-bot", change).await;
    let mut expected = expected;
    for (field, value) in [
        ("tier", json!("$5")),
        ("note", Value::Null),
        ("until", Value::Null),
        ("blocked", json!(true)),
        ("quotas", json!({})),
    ] {
        expected[field] = value;
    }
    assert_eq!(changed, expected);
    assert_eq!(proxy.metric(r#"tiergate_accounts{tier="$20"}"#).await, 1.0);
    assert_eq!(
        proxy.told(200, "DELETE /accounts/acme-bot", "").await["name"],
        "acme-bot"
    );
    proxy
        .refuses("GET /accounts/acme-bot", "", (404, "unknown_account"), "")
        .await;
    let again = add(&proxy, "acme-bot").await;
    assert_ne!(again["id"], expected["id"], "it is a new account");
}

#[tokio::test]
async fn a_page_says_how_many_accounts_match() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    let all = proxy.told(200, "GET /accounts?limit=1", "").await["total"].clone();
    for name in ["some-1", "some-2", "some-3"] {
        add(&proxy, name).await;
    }
    let total = async |query: &str| {
        let page = proxy.told(200, &format!("GET /accounts?{query}"), "").await;
        (page["total"].clone(), page["accounts"].as_array().map(Vec::len))
    };
    let three_more = json!(all.as_u64().expect("a number") + 3);
    assert_eq!(total("limit=1").await, (three_more.clone(), Some(1)));
    assert_eq!(total("limit=1&sort=used").await, (three_more, Some(1)));
    assert_eq!(total("limit=2&search=SOME-").await, (json!(3), Some(2)));
    assert_eq!(total("limit=2&search=some-&sort=used").await, (json!(3), Some(2)));
    assert_eq!(total("search=nothing-like-it").await, (json!(0), Some(0)));
    // Later pages aren't counted again.
    assert_eq!(total("search=some-&after=some-1").await, (Value::Null, Some(2)));
}

/// A request, its body, the status and reason of the answer, and words that the answer contains.
const MISTAKES: &str = r#"
    POST /accounts | { "name": "acme", "tier": "$20" } | 409 | name_taken | already exists
    POST /accounts | { "name": "a20", "tier": "$20" } | 409 | name_taken | already exists
    POST /accounts | { "name": "b", "tier": "$2" } | 400 | bad_request | there are free, $1, $5, $10
    POST /accounts | { "name": "b b", "tier": "$20" } | 400 | bad_request | visible ASCII
    POST /accounts | { "name": "b", "tier": "$20", "teir": 1 } | 400 | bad_request | unknown field `teir`
    POST /accounts | { "name": "b" } | 400 | bad_request | the field `tier` is missing: the name of a tier
    POST /accounts | name: b | 400 | bad_request | not JSON: see line 1, column 2
    POST /accounts | { "name": "b", "tier": "$20", "quotas": { "hourly": 1 } } | 400 | bad_request | it has daily
    POST /accounts | { "name": "b", "tier": "$20", "until": "soon" } | 400 | bad_request | 2027-01-01
    POST /accounts | { "name": "b", "tier": "$20", "concurrency": 0 } | 400 | bad_request | 1 to 10000
    POST /accounts | { "name": "b", "tier": "$20", "max_users": 100001 } | 400 | bad_request | 1 to 100000
    POST /accounts | { "name": "b", "tier": "$20", "email": "b" } | 400 | bad_request | an @
    PATCH /accounts/nobody | {} | 404 | unknown_account | no such account
    PATCH /accounts/a20 | {} | 409 | listed | tiers.yaml
    PATCH /accounts/acme | { "name": "b" } | 400 | bad_request | unknown field `name`
    DELETE /accounts/a20 |  | 409 | listed | tiers.yaml
    POST /accounts/a20/keys |  | 409 | listed | tiers.yaml
    POST /accounts/acme/keys | { "expires": "0d" } | 400 | bad_request | longer than zero
    POST /accounts/acme/keys | { "expires": "2020-01-01" } | 400 | bad_request | in the past
    POST /keys/0123456789ab/rotate |  | 404 | unknown_key | no such key
    DELETE /keys/nonsense |  | 404 | unknown_key | no such key
    GET /accounts?limit=0 |  | 400 | bad_request | 1 to 1000
    GET /accounts?page=2 |  | 400 | bad_request | `after`, `limit`
"#;

#[tokio::test]
async fn invalid_requests_are_explained() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    add(&proxy, "acme").await;
    for [what, body, status, reason, words] in rows(MISTAKES) {
        let status = status.parse().expect("a status");
        proxy.refuses(what, body, (status, reason), words).await;
    }
    let long = json!({ "name": "b", "tier": "$20", "note": "x".repeat(20_000) }).to_string();
    proxy
        .refuses("POST /accounts", &long, (413, "body_too_large"), "")
        .await;
}

/// A request, its body, and words that the answer contains. What the client sent is `hunter2`, which no answer repeats.
const WRONG_TYPES: &str = r#"
    POST /accounts | { "name": "b", "tier": "$20", "concurrency": "hunter2" } | a whole number, or null
    POST /accounts | { "name": "b", "tier": "$20", "concurrency": -1 } | a whole number, or null
    POST /accounts | { "name": "b", "tier": "$20", "blocked": "hunter2" } | true or false
    POST /accounts | { "name": "b", "tier": "$20", "quotas": { "daily": "hunter2" } } | an object of whole numbers
    POST /accounts | { "name": "b", "tier": "$20", "limits": { "http": "hunter2" } } | { \"limit\": 5000
    POST /accounts | { "name": "b", "tier": "$20", "email": 1, "email": 2 } | the field `email` must be text
    POST /accounts | { "name": "b", "tier": "$20", "note": "a", "note": "b" } | a field is given twice
    POST /accounts | { "name": 1, "tier": "$20" } | `name` must be text
    POST /accounts | ["hunter2"] | not a JSON object with fields of name, tier
    PATCH /accounts/acme | { "until": 5 } | a time as text
    PATCH /accounts/acme | { "concurrency": "hunter2" } | a whole number, or null
    POST /accounts/acme/keys | { "expires": 5 } | a length of time or a time
    POST /keys/0123456789ab/rotate | { "overlap": 5 } | a length of time as text
"#;

/// The JSON crate's own messages mentioned `u32` and `struct NewLine`, and repeated values.
#[tokio::test]
async fn type_errors_say_what_the_field_expects() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    add(&proxy, "acme").await;
    for [what, body, words] in rows(WRONG_TYPES) {
        let (method, path) = what.split_once(' ').expect("a method and a path");
        let answer = proxy.operator(method, path, body).await;
        answer.assert_refused(400, "bad_request");
        let told = answer.text();
        assert!(told.contains(words), "{body}: {told}");
        let foreign = ["u32", "u64", "struct", "invalid type", "hunter2"];
        assert!(!foreign.iter().any(|word| told.contains(word)), "{body}: {told}");
    }
}

#[tokio::test]
async fn account_lists_are_paged() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    for name in ["b/b", "zoo", "a&b=c", "export"] {
        add(&proxy, name).await;
    }
    let (mut after, mut names) = (String::new(), Vec::new());
    loop {
        let page = proxy
            .told(200, format!("GET /accounts?limit=3&after={after}"), "")
            .await;
        let accounts = page["accounts"].as_array().expect("a list").clone();
        assert!(accounts.len() <= 3);
        names.extend(
            accounts
                .iter()
                .map(|account| account["name"].as_str().expect("a name").to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => after = next.replace('&', "%26").replace('=', "%3d"),
            None => break,
        }
    }
    let expected = ["a&b=c", "a1", "a10", "a100", "a20", "a5", "a50", "b/b", "export", "zoo"];
    assert_eq!(names, expected);
    for path in ["/accounts/b%2Fb", "/accounts/%65xport"] {
        assert_eq!(proxy.operator("GET", path, "").await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_key_works_until_it_is_rotated_or_removed() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    add(&proxy, "acme").await;
    let (key, id) = mint(&proxy, "acme", r#"{ "label": "bot", "expires": "90d" }"#).await;
    assert!(key.starts_with("tg_") && key.len() == 39, "a key of ours");
    assert_eq!(me(&proxy, &key).await, "acme $20");
    let mut client = Client::connect(proxy.address).await;
    let seen = client
        .ask("GET", "/search", &format!("x-api-key: {key}\r\n"))
        .await
        .mirrored()
        .await;
    assert_eq!(
        (seen.get("x-tiergate-account"), seen.get("x-tiergate-tier")),
        (Some("acme"), Some("$20"))
    );
    let answer = proxy.operator("GET", "/accounts/acme/keys", "").await;
    let line = &answer.json()["keys"][0];
    assert_eq!(
        (&line["id"], &line["label"], &line["expired"]),
        (&json!(id), &json!("bot"), &json!(false))
    );
    assert!(!answer.text().contains(&key), "shown once");
    let rotated = proxy
        .told(201, format!("POST /keys/{id}/rotate"), r#"{ "overlap": "7d" }"#)
        .await;
    let fresh = rotated["key"].as_str().expect("a key").to_owned();
    assert_eq!(rotated["old"]["id"], json!(id));
    for key in [&key, &fresh] {
        assert_eq!(me(&proxy, key).await, "acme $20", "both work meanwhile");
    }
    proxy.operator("DELETE", &format!("/keys/{id}"), "").await;
    assert_eq!(
        [me(&proxy, &key).await, me(&proxy, &fresh).await],
        ["invalid_key", "acme $20"]
    );
    let id = rotated["id"].as_str().expect("an id");
    proxy
        .told(201, format!("POST /keys/{id}/rotate"), r#"{ "overlap": "0s" }"#)
        .await;
    assert_eq!(me(&proxy, &fresh).await, "invalid_key", "no overlap");
    let (other, _) = mint(&proxy, "acme", "").await;
    proxy.operator("DELETE", "/accounts/acme", "").await;
    add(&proxy, "acme").await;
    assert_eq!(
        me(&proxy, &other).await,
        "invalid_key",
        "a new account does not inherit the keys of an old one of its name"
    );
}

#[tokio::test]
async fn accounts_and_keys_survive_a_restart() {
    let mirror = Mirror::start().await;
    let yaml = seven_tiers(8, &[(mirror.address, 2)], "");
    let proxy = Proxy::start(&yaml);
    let id = add(&proxy, "acme").await["id"].clone();
    let (key, _) = mint(&proxy, "acme", "").await;
    let token = proxy.token.clone();
    let proxy = Proxy::start_in(proxy.into_folder(), &yaml);
    assert_eq!(proxy.token, token);
    assert_eq!(me(&proxy, &key).await, "acme $20");
    assert_eq!(proxy.told(200, "GET /accounts/acme", "").await["id"], id);
    let gone = yaml.replace("\"$20\"", "\"$25\"");
    let proxy = Proxy::start_in(proxy.into_folder(), &gone);
    assert_eq!(me(&proxy, &key).await, "acme free", "its tier is gone");
    assert_eq!(proxy.metric(r#"tiergate_accounts{tier="none"}"#).await, 1.0);
}

fn limited_proxy(mirror: &Mirror) -> Proxy {
    let noon = UnixTime::from_secs(1_800_000_000);
    Proxy::start_changed(noon, &seven_tiers(8, &[(mirror.address, 2)], ""), limited).0
}

#[tokio::test]
async fn an_account_can_have_its_own_request_limits() {
    let mirror = Mirror::start().await;
    let proxy = limited_proxy(&mirror);
    let limits = json!({ "http": 300, "hourly": { "limit": 5000, "lifts": "network" } });
    let body = json!({ "name": "acme", "tier": "$20", "limits": limits });
    let made = proxy.told(201, "POST /accounts", &body).await;
    assert_eq!(made["limits"], limits);
    let change = r#"{ "limits": { "http": { "limit": 400 }, "hourly": null, "gone": null } }"#;
    let changed = proxy.told(200, "PATCH /accounts/acme", change).await;
    assert_eq!(changed["limits"], json!({ "http": 400 }));
    let again = json!({ "limits": limits }).to_string();
    proxy.told(200, "PATCH /accounts/acme", &again).await;
    let unchanged = proxy.told(200, "PATCH /accounts/acme", "{}").await;
    assert_eq!(unchanged["limits"], limits);
    let export = proxy.operator("GET", "/accounts/export", "").await.text();
    let other = limited_proxy(&mirror);
    let kind = "application/x-ndjson";
    other.imports(kind, &export).await;
    assert_eq!(other.told(200, "GET /accounts/acme", "").await["limits"], limits);
    for (limits, words) in [
        (
            r#"{ "htpp": 300 }"#,
            "there is no such request limit, only http, hourly",
        ),
        (r#"{ "total": 300 }"#, "the limit total counts everybody together"),
        (r#"{ "http": 1000000001 }"#, "0 to 1000000000"),
        (r#"{ "http": -1 }"#, "such as 300, or {"),
        (r#"{ "http": { "limit": 1, "lifts": "all" } }"#, "300, or {"),
        (r#"{ "http": { "limit": 1, "lfits": "network" } }"#, "300, or {"),
    ] {
        let answer = proxy
            .operator("PATCH", "/accounts/acme", &format!("{{ \"limits\": {limits} }}"))
            .await;
        answer.assert_refused(400, "bad_request");
        assert!(answer.text().contains(words), "{limits}: {}", answer.text());
        let line = format!("{{ \"name\": \"b\", \"tier\": \"$20\", \"limits\": {limits} }}\n");
        let answer = proxy.operator_with("POST", "/accounts/import", kind, &line).await;
        answer.assert_refused(400, "bad_lines");
    }
    let none = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let answer = none.operator("POST", "/accounts", &body.to_string()).await;
    answer.assert_refused(400, "bad_request");
    assert!(
        answer.text().contains("tiers.yaml has no request limits"),
        "{}",
        answer.text()
    );
}
