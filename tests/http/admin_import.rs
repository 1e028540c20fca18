//! Imports and exports of accounts over the admin listener, and the audit log.

use serde_json::json;

use tiergate::policy::time::UnixTime;
use tiergate::store::{DATABASE_FILE, audit, open_read_only};

use crate::admin_accounts::{add, me, mint, open};
use crate::support::{Client, Mirror, Proxy, seven_tiers};

const CSV: &str = "name,email,tier,key\r\nacme,bot@acme.example,$20,old-key-of-acme\r\n\"b,b\",,$5,\"with\"\"quote\"\r\nacme,bot@acme.example,$20,second-key\r\n";

#[tokio::test]
async fn accounts_are_imported_with_their_keys() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    let done = proxy.imports("text/csv", CSV).await;
    assert_eq!((&done["added"], &done["keys_added"]), (&json!(2), &json!(3)));
    for (key, who) in [
        ("old-key-of-acme", "bot@acme.example $20"),
        ("second-key", "bot@acme.example $20"),
        ("with\"quote", "b,b $5"),
    ] {
        assert_eq!(me(&proxy, key).await, who);
    }
    let lines =
        "{\"name\":\"c\",\"tier\":\"$100\",\"key\":\"kc\"}\n\n{\"name\":\"d\",\"tier\":\"$1\",\"blocked\":true}";
    let kind = "application/x-ndjson; charset=utf-8";
    let done = proxy.imports(kind, lines).await;
    assert_eq!((&done["added"], &done["keys_added"]), (&json!(2), &json!(1)));
    assert_eq!(me(&proxy, "kc").await, "c $100");
    let export = proxy.operator("GET", "/accounts/export", "").await.text();
    assert_eq!(
        export.lines().count(),
        4,
        "those of tiers.yaml are not stored: {export}"
    );
    for key in ["old-key", "second-key", "quote", "kc"] {
        assert!(!export.contains(key));
    }
    let other = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let done = other.imports(kind, &export).await;
    assert_eq!(
        (&done["added"], &done["keys_added"]),
        (&json!(4), &json!(0)),
        "an export is an import"
    );
    assert_eq!(other.operator("GET", "/accounts/export", "").await.text(), export);
}

#[tokio::test]
async fn import_errors_are_all_listed_and_show_no_key() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    let csv = "tier,name,key\n$20,fine,secret-1\nsecret-2,swapped,$20\n$20,a20,secret-3\n$20,none,\n$20,short\n$20,twice,secret-1\n$20,listed,key-20\n\
               $20,two words,secret-4\n$20,ours,tg_000000000000000000000000000000000000\n";
    let answer = proxy.operator_with("POST", "/accounts/import", "text/csv", csv).await;
    answer.assert_refused(400, "bad_lines");
    let said = answer.json();
    let lines: Vec<_> = said["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| line["line"].clone())
        .collect();
    assert_eq!(lines, [3, 4, 6, 7, 8, 9, 10], "{}", answer.text());
    let jsonl = "{\"name\":\"fine\",\"tier\":\"$20\",\"key\":\"secret-1\"}\n{\"name\":\"a\",\"tier\":\"$20\",\"key\":5550123}\nsecret-2\n\
                 {\"name\":\"b\",\"tier\":\"$20\",\"secret-3\":\"x\"}\n{\"name\":\"c\",\"tier\":\"$20\",\"concurrency\":\"secret-4\"}\n";
    let other = proxy
        .operator_with("POST", "/accounts/import", "application/x-ndjson", jsonl)
        .await;
    other.assert_refused(400, "bad_lines");
    let lines: Vec<_> = other.json()["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| line["line"].clone())
        .collect();
    assert_eq!(lines, [2, 3, 4, 5], "{}", other.text());
    let heads = ["name,tier,secret-1\n", "name,key\n", "name,tier,tier\n", "\n"];
    let mut texts = vec![answer.text(), other.text()];
    for head in heads {
        let answer = proxy.operator_with("POST", "/accounts/import", "text/csv", head).await;
        answer.assert_refused(400, "bad_request");
        texts.push(answer.text());
    }
    let answer = proxy.operator("POST", "/accounts/import", csv).await;
    answer.assert_refused(400, "bad_request");
    texts.push(answer.text());
    for text in texts {
        assert!(
            !text.contains("secret") && !text.contains("555") && !text.contains("tg_"),
            "{text}"
        );
    }
    assert_eq!(
        proxy.operator("GET", "/accounts/export", "").await.text(),
        "",
        "nothing was imported"
    );
}

/// Imports used to create accounts and do nothing else.
#[tokio::test]
async fn an_import_updates_stored_accounts() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    let csv = async |query: &str, text: &str| {
        let path = format!("/accounts/import?{query}");
        proxy.operator_with("POST", &path, "text/csv", text).await
    };
    let first = "name,tier,email,key\nacme,$20,bot@acme.example,k1\nbeta,$5,,k2\n";
    let made = csv("update=1&source=sponsors", first).await.told(201);
    assert_eq!((&made["added"], &made["keys_added"]), (&json!(2), &json!(2)));
    let quota = r#"{ "quotas": { "daily": 7 }, "note": "a friend" }"#;
    proxy.told(200, "PATCH /accounts/acme", quota).await;
    let second = "name,tier,key\nacme,$50,k1\nacme,$50,k3\ngamma,$1,\n";
    let dry = csv("update=1&source=sponsors&remove_missing=1&dry_run=1", second).await;
    let dry = dry.told(200);
    let changes = json!([
        { "name": "acme", "change": "updated", "tier": "$50", "keys_added": 1, "fields": { "tier": ["$20", "$50"] } },
        { "name": "gamma", "change": "added", "tier": "$1", "keys_added": 0, "fields": {} },
        { "name": "beta", "change": "removed", "tier": "$5", "keys_added": 0, "fields": {} },
    ]);
    let expected = json!({
        "dry_run": true, "added": 1, "updated": 1, "unchanged": 0, "removed": 1, "keys_added": 1, "needs_yes": true,
        "changes": changes,
    });
    assert_eq!(dry, expected);
    assert_eq!(me(&proxy, "k2").await, "beta $5", "nothing was changed");
    let refused = csv("update=1&source=sponsors&remove_missing=1", second).await;
    refused.assert_refused(409, "too_many_removed");
    let done = csv("update=1&source=sponsors&remove_missing=1&yes=1", second).await;
    let done = done.told(201);
    assert_eq!((&done["changes"], &done["needs_yes"]), (&changes, &json!(false)));
    assert_eq!(me(&proxy, "k3").await, "bot@acme.example $50");
    assert_eq!(me(&proxy, "k2").await, "invalid_key");
    let acme = proxy.told(200, "GET /accounts/acme", "").await;
    let kept = ["quotas", "note", "email", "source"].map(|field| acme[field].clone());
    let expected = [
        json!({ "daily": 7 }),
        json!("a friend"),
        json!("bot@acme.example"),
        json!("sponsors"),
    ];
    assert_eq!(kept, expected, "fields that a file leaves out stay");
    // An account keeps only the overrides that the line names.
    let line = r#"{ "name": "acme", "quotas": {}, "email": null }"#;
    let kind = "application/x-ndjson";
    let done = proxy
        .operator_with("POST", "/accounts/import?update=1", kind, line)
        .await;
    let fields = &done.told(201)["changes"][0]["fields"];
    assert_eq!(
        *fields,
        json!({ "quotas": [{ "daily": 7 }, {}], "email": ["bot@acme.example", null] })
    );
}

#[tokio::test]
async fn forbidden_imports_are_explained() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    let lines = async |query: &str, text: &str| {
        let path = format!("/accounts/import?{query}");
        let answer = proxy.operator_with("POST", &path, "application/x-ndjson", text).await;
        answer.assert_refused(400, if text.is_empty() { "bad_request" } else { "bad_lines" });
        answer.text()
    };
    for (query, words) in [
        ("remove_missing=1&update=1", "needs `update=1` and `source=NAME`"),
        ("update=yes", "`update` must be 1 or 0"),
        ("upsert=1", "the query may only have"),
        ("source=two%20words", "a source is 1 to 64 visible ASCII characters"),
    ] {
        let text = lines(query, "").await;
        assert!(text.contains(words), "{query}: {text}");
    }
    for (line, words) in [
        (r#"{ "name": "a20", "tier": "$5" }"#, "change it there"),
        (r#"{ "name": "new" }"#, "a new one needs a tier"),
        (r#"{ "tier": "$5" }"#, "it lacks `name`"),
        (
            r#"{ "name": "n", "tier": "$5", "key_sha256": ["abc"] }"#,
            "not 64 hexadecimal digits",
        ),
        (
            r#"{ "name": "n", "tier": "$5", "key_sha256": "abc" }"#,
            "is not a list of hashes",
        ),
        (
            r#"{ "name": "n", "tier": "$5", "source": "two words" }"#,
            "a source is 1 to 64",
        ),
        (
            r#"{ "name": "n", "tier": "$5", "until": "hunter2" }"#,
            r#"its `until` must be a time as text, such as \"2027-01-01\""#,
        ),
        (
            r#"{ "name": "n", "tier": "$5", "hunter2": 1 }"#,
            "a field other than name, tier, email, concurrency, quotas, limits, until, blocked, max_users, note, source, key",
        ),
    ] {
        let text = lines("update=1", line).await;
        assert!(text.contains(words) && !text.contains("hunter2"), "{line}: {text}");
    }
}

/// Exports used to leave keys out, so accounts that moved to another server needed new ones.
#[tokio::test]
async fn exported_keys_work_on_another_server() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    add(&proxy, "acme").await;
    let (key, _) = mint(&proxy, "acme", r#"{ "label": "bot", "expires": "90d" }"#).await;
    let (other_key, _) = mint(&proxy, "acme", "{}").await;
    let export = proxy.operator("GET", "/accounts/export?keys=1", "").await.text();
    assert!(
        !export.contains(&key) && export.contains(r#""label":"bot""#),
        "{export}"
    );
    let other = Proxy::start(&seven_tiers(8, &[(mirror.address, 2)], ""));
    let kind = "application/x-ndjson";
    let done = other.imports(kind, &export).await;
    assert_eq!((&done["added"], &done["keys_added"]), (&json!(1), &json!(2)));
    for key in [&key, &other_key] {
        assert_eq!(me(&other, key).await, "acme $20");
    }
    assert_eq!(
        other.operator("GET", "/accounts/export?keys=1", "").await.text(),
        export
    );
    let again = other
        .operator_with("POST", "/accounts/import?update=1", kind, &export)
        .await;
    assert_eq!(again.told(201)["unchanged"], 1);
    let bare = proxy.operator("GET", "/accounts/export", "").await.text();
    assert!(!bare.contains("key_sha256"), "{bare}");
    proxy
        .refuses("GET /accounts/export?keys=2", "", (400, "bad_request"), "")
        .await;
}

#[tokio::test]
async fn the_audit_log_names_the_operator() {
    let mirror = Mirror::start().await;
    let proxy = open(&mirror).await;
    let ask = async |name: &str, operator: &str| {
        let body = json!({ "name": name, "tier": "$20" }).to_string();
        let mut client = Client::operator(proxy.admin).await;
        let headers = format!(
            "authorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n{operator}",
            proxy.token,
            body.len()
        );
        client.request("POST", "/accounts", &headers).await;
        client.send(&body).await;
        client.answer_to("POST").await
    };
    ask("one", "x-tiergate-operator: alice\r\n").await.told(201);
    ask("two", "").await.told(201);
    let refused = ask("three", "x-tiergate-operator: two words\r\n").await;
    refused.assert_refused(400, "bad_request");
    let connection = open_read_only(&proxy.folder().join(DATABASE_FILE)).expect("a database");
    let log = audit::read(&connection, UnixTime::from_millis(0), 9).expect("its log");
    let told: Vec<_> = log
        .iter()
        .map(|row| format!("{} {} {}", row.who, row.action, row.subject))
        .collect();
    let expected = [
        "127.0.0.1 account_add two",
        "alice@127.0.0.1 account_add one",
        "tiers.yaml list_change accounts",
    ];
    assert_eq!(told, expected);
}
