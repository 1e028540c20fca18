//! What the proxy reports about quotas: `/me`, the metrics, and the `RateLimit` fields.

use serde_json::{Map, Value, json};
use sfv::{BareItem, ListEntry, Parser};

use crate::support::{Answer, Client, Head, Proxy, metric_sum, soon};

/// The header line for this key; empty for an empty key.
pub fn with_key(key: &str) -> String {
    match key {
        "" => String::new(),
        key => format!("x-api-key: {key}\r\n"),
    }
}

/// One search with this key on a connection of its own.
pub async fn search(proxy: &Proxy, key: &str) -> Answer {
    ask(proxy, "/search", &with_key(key)).await
}

/// One `GET` with these header lines on a connection of its own.
pub async fn ask(proxy: &Proxy, path: &str, headers: &str) -> Answer {
    Client::connect(proxy.address).await.ask("GET", path, headers).await
}

/// `/me` of the caller with this key.
pub async fn me(proxy: &Proxy, key: &str) -> Value {
    let answer = ask(proxy, "/me", &with_key(key)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

/// Units of its first quota that the caller with this key has used, and those that its jobs hold.
pub async fn taken(proxy: &Proxy, key: &str) -> (u64, u64) {
    let me = me(proxy, key).await;
    let of = |name: &str| me["quotas"][0][name].as_u64().expect("a number");
    let (used, held, limit) = (of("used"), of("held"), of("limit"));
    assert!(used + held <= limit, "overspent: {me}");
    assert_eq!(of("remaining"), limit - used - held, "{me}");
    (used, held)
}

/// Units that callers of this tier were charged.
pub async fn debits(proxy: &Proxy, tier: &str) -> f64 {
    proxy
        .metric(&format!(r#"tiergate_quota_debits_total{{tier="{tier}"}}"#))
        .await
}

/// Units that callers of this tier got back from jobs with this outcome; from all outcomes if it is empty.
pub async fn releases(proxy: &Proxy, tier: &str, outcome: &str) -> f64 {
    let outcome = match outcome {
        "" => String::new(),
        outcome => format!(r#",outcome="{outcome}""#),
    };
    let labels = format!(r#"tier="{tier}"{outcome}"#);
    metric_sum(proxy.admin, "tiergate_quota_releases_total", &labels).await
}

/// Waits until no job is left and the tier's jobs, of one unit each, have ended with so many debits and releases; then
/// checks that metrics and `/me` agree. The tier has one caller, whose key is its name.
pub async fn assert_settled(proxy: &Proxy, tier: &str, debited: u32, released: &[(&str, u32)]) {
    let given_back: u32 = released.iter().map(|(_, units)| units).sum();
    proxy.jobs_until(0, 0).await;
    let all = f64::from(debited + given_back);
    soon(&format!("{all} units debited or released"), async {
        while debits(proxy, tier).await + releases(proxy, tier, "").await < all {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(debits(proxy, tier).await, f64::from(debited), "debits of {tier}");
    for (outcome, units) in released {
        assert_eq!(
            releases(proxy, tier, outcome).await,
            f64::from(*units),
            "releases of {tier} as {outcome}"
        );
    }
    assert_eq!(releases(proxy, tier, "").await, f64::from(given_back));
    assert_eq!(taken(proxy, tier).await, (u64::from(debited), 0), "{tier}");
}

/// A `RateLimit` or `RateLimit-Policy` field parsed by RFC 9651: each name with its parameters. `null` if it is
/// missing.
pub fn field(head: &Head, name: &str) -> Value {
    let lines = head.all(name);
    if lines.is_empty() {
        return Value::Null;
    }
    let text = lines.join(", ");
    let list: sfv::List = Parser::new(&text)
        .parse()
        .unwrap_or_else(|error| panic!("{name}: {text}: {error}"));
    let mut members = Map::new();
    for entry in list {
        let ListEntry::Item(item) = entry else {
            panic!("{name}: {text}: there is a list in it");
        };
        let BareItem::String(of) = item.bare_item else {
            panic!("{name}: {text}: its members are strings");
        };
        let parameters = item
            .params
            .into_iter()
            .map(|(key, value)| (key.as_str().to_owned(), value_of(&value)))
            .collect();
        let twice = members.insert(of.as_str().to_owned(), Value::Object(parameters));
        assert!(twice.is_none(), "{name}: {text}: {} is in it twice", of.as_str());
    }
    Value::Object(members)
}

fn value_of(parameter: &BareItem) -> Value {
    match parameter {
        BareItem::Integer(number) => {
            let number = i64::from(*number);
            assert!(number >= 0, "{number} is negative");
            json!(number)
        }
        BareItem::String(text) => json!(text.as_str()),
        other => panic!("{other:?} is not a parameter of these fields"),
    }
}
