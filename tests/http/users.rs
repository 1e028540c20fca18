//! Delegating accounts (rules §5.9): one key used for many people, each of whom is a caller; and accounts with
//! overrides.

use serde_json::json;
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::account::Until;
use tiergate::store::{AccountSpec, AccountStore};

use super::accounting::{ask, debits, field, me, releases, with_key};
use crate::support::fast::FastServer;
use crate::support::folder::Folder;
use crate::support::{Answer, Client, Mirror, Plan, Proxy, UpstreamServer, database, hash};

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);
const HOUR: Span = Span::from_secs(3_600);

/// A key of each account, by the account's name.
struct Keys(Vec<(String, String)>);

impl Keys {
    fn of(&self, account: &str) -> &str {
        let found = self.0.iter().find(|(name, _)| name == account);
        &found.expect("it was added").1
    }
}

/// A data folder with these accounts.
fn stored(accounts: Vec<AccountSpec>) -> (Folder, Keys) {
    let folder = Folder::new();
    let database = database::open_at(folder.path(), NOON);
    let store = AccountStore::open(database, &[], Vec::new(), NOON).expect("a new store");
    let mut keys = Vec::new();
    for account in accounts {
        let name = account.name.clone();
        store.add(account, NOON).expect("the name is free");
        let minted = store.mint(&name, String::new(), None, NOON).expect("room");
        keys.push((name, minted.secret.reveal().to_owned()));
    }
    (folder, Keys(keys))
}

/// A delegating account of the highest tier.
fn bot(name: &str) -> AccountSpec {
    AccountSpec {
        name: name.to_owned(),
        tier: "high".to_owned(),
        max_users: Some(100),
        ..AccountSpec::default()
    }
}

/// The anonymous tier has two units and one search at once, the high tier twenty and eight.
fn yaml(server: std::net::SocketAddr, slots: u32, queue_length: u32) -> String {
    let plan = Plan {
        queue_length,
        ..Plan::default()
    };
    plan.without_upstreams()
        .anonymous("low")
        .tier("low", "priority: 0, concurrency: 1, quota: { limit: 2, rolling: 24h }")
        .tier(
            "high",
            "priority: 6, concurrency: 8, quota: { limit: 20, rolling: 24h }",
        )
        .upstream("search", &[(server, slots)], ", timeout: 20s")
        .search_and_images(", max_body: 25MiB")
        .more(plan.more)
        .text()
}

async fn search(proxy: &Proxy, key: &str, query: &str, headers: &str) -> Answer {
    ask(
        proxy,
        &format!("/search{query}"),
        &format!("{}{headers}", with_key(key)),
    )
    .await
}

/// A search that keeps running: its connection.
async fn stay(proxy: &Proxy, key: &str, uid: &str) -> Client {
    let mut client = Client::connect(proxy.address).await;
    client
        .request("GET", &format!("/search?uid={uid}"), &with_key(key))
        .await;
    client
}

/// Units used and held, as `/me` shows them.
async fn taken(proxy: &Proxy, key: &str, query: &str) -> (u64, u64) {
    let answer = ask(proxy, &format!("/me{query}"), &with_key(key)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let quota = &answer.json()["quotas"][0];
    let of = |name: &str| quota[name].as_u64().expect("a number");
    (of("used"), of("held"))
}

#[tokio::test]
async fn users_count_for_themselves_and_their_account() {
    let server = FastServer::start();
    let (folder, keys) = stored(vec![bot("bot"), bot("other")]);
    let proxy = Proxy::start_in(folder, &yaml(server.address, 4, 8));
    let (bot, other) = (keys.of("bot"), keys.of("other"));
    // One user, whichever way it is named.
    assert_eq!(search(&proxy, bot, "?uid=al%20ice", "").await.status(), 200);
    assert_eq!(
        search(&proxy, bot, "", "x-tiergate-user: al ice\r\n").await.status(),
        200
    );
    let refused = search(&proxy, bot, "?x=1&u%69d=al+ice", "X-Tiergate-User:  al ice \r\n").await;
    refused.assert_refused(402, "quota_depleted");
    let json = refused.json();
    assert_eq!((&json["limit"], &json["tier"]), (&2.into(), &"low".into()));
    assert_eq!(field(&refused.head, "ratelimit")["daily"]["r"], 0);
    // Other users of this account, of another one, and anonymous callers have their own.
    for (key, query) in [(bot, "?uid=bob"), (other, "?uid=al%20ice"), ("", "")] {
        for _ in 0..2 {
            assert_eq!(search(&proxy, key, query, "").await.status(), 200, "{query}");
        }
        search(&proxy, key, query, "")
            .await
            .assert_refused(402, "quota_depleted");
    }
    // The account has its own quota besides.
    assert_eq!(search(&proxy, bot, "", "").await.status(), 200);
    assert_eq!(taken(&proxy, bot, "").await, (5, 0));
    assert_eq!(taken(&proxy, bot, "?uid=bob").await, (2, 0));
    assert_eq!(taken(&proxy, bot, "?uid=new").await, (0, 0));
    assert_eq!(taken(&proxy, other, "").await, (2, 0));
    // A failure is given back to both.
    assert_eq!(search(&proxy, bot, "?uid=carol&status=404", "").await.status(), 404);
    assert_eq!(
        (taken(&proxy, bot, "?uid=carol").await, taken(&proxy, bot, "").await),
        ((0, 0), (5, 0))
    );
    // Each is counted once, under the terms with which it was admitted.
    assert_eq!(debits(&proxy, "low").await, 8.0);
    assert_eq!(debits(&proxy, "high").await, 1.0);
    assert_eq!(releases(&proxy, "low", "failed").await, 1.0);
    assert_eq!(releases(&proxy, "high", "").await, 0.0);
}

#[tokio::test]
async fn a_user_has_all_terms_of_the_anonymous_tier() {
    let (folder, keys) = stored(vec![AccountSpec {
        email: Some("bot@example.org".to_owned()),
        concurrency: Some(3),
        quotas: [("daily".into(), 7)].into(),
        ..bot("bot")
    }]);
    let bot = keys.of("bot");
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start_in(folder, &yaml(server.address, 1, 2));
    // The account has its overrides, its users none of them.
    let me = ask(&proxy, "/me", &with_key(bot)).await.json();
    let account = json!(["bot@example.org", "high", 6, 3, 7]);
    assert_eq!(
        json!([me["id"], me["tier"], me["priority"], me["concurrency"], me["quota"]]),
        account
    );
    let me = ask(&proxy, "/me?uid=alice", &with_key(bot)).await.json();
    assert_eq!(
        json!([me["tier"], me["priority"], me["concurrency"], me["quota"]]),
        json!(["low", 0, 1, 2])
    );
    // One search at once.
    let mut running = stay(&proxy, bot, "alice").await;
    let mut arrived = server.request().await;
    assert_eq!(arrived.head.line, "GET /search?uid=alice HTTP/1.1");
    let refused = search(&proxy, bot, "?uid=alice", "").await;
    refused.assert_refused(402, "concurrency_exceeded");
    assert_eq!(
        (&refused.json()["limit"], &refused.json()["used"]),
        (&1.into(), &1.into())
    );
    let policy = json!({ "daily": { "q": 2, "w": 86_400 }, "concurrency": { "q": 1, "qu": "concurrent-requests" } });
    assert_eq!(field(&refused.head, "ratelimit-policy"), policy);
    // The lowest priority: a paying caller takes its queue place.
    let mut bob = stay(&proxy, bot, "bob").await;
    proxy.jobs_until(1, 1).await;
    let mut carol = stay(&proxy, bot, "carol").await;
    proxy.jobs_until(2, 1).await;
    assert_eq!(taken(&proxy, bot, "").await, (0, 3));
    let me = ask(&proxy, "/me", &with_key(bot)).await.json();
    assert_eq!((&me["running"], &me["waiting"]), (&1.into(), &2.into()));
    let mut sponsor = Client::connect(proxy.address).await;
    sponsor.search("p2").await;
    carol.answer().await.assert_refused(503, "displaced");
    assert_eq!(taken(&proxy, bot, "?uid=carol").await, (0, 0));
    assert_eq!(taken(&proxy, bot, "").await, (0, 2));
    arrived.answer_with("200 OK", "connection: close\r\n", "{}").await;
    assert_eq!(running.answer().await.status(), 200);
    for (client, priority) in [(&mut sponsor, "2"), (&mut bob, "0")] {
        arrived = server.request().await;
        assert_eq!(arrived.head.get("x-tiergate-priority"), Some(priority));
        arrived.answer_with("200 OK", "connection: close\r\n", "{}").await;
        assert_eq!(client.answer().await.status(), 200);
    }
    assert_eq!(taken(&proxy, bot, "").await, (2, 0));
}

#[tokio::test]
async fn the_accounts_own_terms_bind_its_users_together() {
    let (folder, keys) = stored(vec![AccountSpec {
        concurrency: Some(3),
        quotas: [("daily".into(), 5)].into(),
        ..bot("bot")
    }]);
    let bot = keys.of("bot");
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start_in(folder, &yaml(server.address, 8, 8));
    let mut clients = Vec::new();
    let mut arrived = Vec::new();
    for uid in ["a", "b", "c"] {
        clients.push(stay(&proxy, bot, uid).await);
        arrived.push(server.request().await);
    }
    for query in ["?uid=d", ""] {
        let refused = search(&proxy, bot, query, "").await;
        refused.assert_refused(402, "concurrency_exceeded");
        assert_eq!(
            (&refused.json()["limit"], &refused.json()["used"]),
            (&3.into(), &3.into())
        );
    }
    assert_eq!(taken(&proxy, bot, "?uid=d").await, (0, 0), "a refusal takes nothing");
    for (mut arrived, mut client) in arrived.into_iter().zip(clients) {
        arrived.answer_with("200 OK", "connection: close\r\n", "{}").await;
        assert_eq!(client.answer().await.status(), 200);
    }
    // Two of the account's units are left, held by two searches.
    let mut clients = [stay(&proxy, bot, "d").await, stay(&proxy, bot, "e").await];
    let mut arrived = [server.request().await, server.request().await];
    assert_eq!(taken(&proxy, bot, "").await, (3, 2));
    let refused = search(&proxy, bot, "?uid=f", "").await;
    refused.assert_refused(402, "quota_depleted");
    assert_eq!(
        (&refused.json()["limit"], &refused.json()["used"]),
        (&5.into(), &5.into())
    );
    assert_eq!(taken(&proxy, bot, "?uid=f").await, (0, 0));
    // A hangup gives nothing back, as the server finishes; a failure gives back both.
    arrived[0].answer_with("500 Oh", "connection: close\r\n", "{}").await;
    arrived[1].answer_with("200 OK", "connection: close\r\n", "{}").await;
    let mut statuses = [clients[0].answer().await.status(), clients[1].answer().await.status()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 500]);
    assert_eq!(taken(&proxy, bot, "").await, (4, 0));
    let mut last = stay(&proxy, bot, "f").await;
    let mut arrived = server.request().await;
    arrived.answer_with("200 OK", "connection: close\r\n", "{}").await;
    assert_eq!(last.answer().await.status(), 200);
    search(&proxy, bot, "?uid=g", "")
        .await
        .assert_refused(402, "quota_depleted");
    search(&proxy, bot, "", "").await.assert_refused(402, "quota_depleted");
}

#[tokio::test]
async fn the_number_of_users_is_limited() {
    let server = FastServer::start();
    let (folder, keys) = stored(vec![AccountSpec {
        max_users: Some(2),
        ..bot("bot")
    }]);
    let bot = keys.of("bot");
    let (proxy, clock_control) = Proxy::start_in_at(folder, NOON, &yaml(server.address, 4, 8));
    for uid in ["a", "b"] {
        assert_eq!(search(&proxy, bot, &format!("?uid={uid}"), "").await.status(), 200);
    }
    let refused = search(&proxy, bot, "?uid=c", "").await;
    refused.assert_refused(402, "too_many_users");
    assert_eq!(
        (&refused.json()["name"], &refused.json()["limit"]),
        (&"users".into(), &2.into())
    );
    // Known users and the account itself are still admitted; `/me` alone makes no user.
    assert_eq!(taken(&proxy, bot, "?uid=d").await, (0, 0));
    for query in ["?uid=a", ""] {
        assert_eq!(search(&proxy, bot, query, "").await.status(), 200, "{query}");
    }
    assert_eq!(taken(&proxy, bot, "").await, (4, 0));
    // Users without a debit in the window no longer count.
    clock_control.advance(HOUR.saturating_mul(25));
    for uid in ["c", "d"] {
        assert_eq!(search(&proxy, bot, &format!("?uid={uid}"), "").await.status(), 200);
    }
    search(&proxy, bot, "?uid=a", "")
        .await
        .assert_refused(402, "too_many_users");
}

/// Users refused for another reason do not count toward `max_users`.
#[tokio::test]
async fn refused_users_do_not_count_toward_max_users() {
    let server = UpstreamServer::start().await;
    let (folder, keys) = stored(vec![AccountSpec {
        max_users: Some(2),
        ..bot("bot")
    }]);
    let bot = keys.of("bot");
    let proxy = Proxy::start_in(folder, &yaml(server.address, 1, 0));
    let mut running = stay(&proxy, bot, "a").await;
    let mut arrived = server.request().await;
    for number in 0..20 {
        search(&proxy, bot, &format!("?uid=x{number}"), "")
            .await
            .assert_refused(503, "queue_full");
    }
    arrived.answer_with("200 OK", "connection: close\r\n", "{}").await;
    assert_eq!(running.answer().await.status(), 200);
    let mut running = stay(&proxy, bot, "b").await;
    server.request().await.answer("{}").await;
    assert_eq!(running.answer().await.status(), 200);
}

#[tokio::test]
async fn a_users_name_is_short_and_unambiguous() {
    let server = FastServer::start();
    let (folder, keys) = stored(vec![bot("bot")]);
    let bot = keys.of("bot");
    let proxy = Proxy::start_in(folder, &yaml(server.address, 4, 8));
    let bytes = |count| format!("?uid={}", "%e2".repeat(count));
    assert_eq!(search(&proxy, bot, &bytes(64), "").await.status(), 200);
    assert_eq!(taken(&proxy, bot, &bytes(64)).await, (1, 0));
    let long = format!("x-tiergate-user: {}\r\n", "a".repeat(65));
    let wrong = [
        (bytes(65), ""),
        (String::new(), long.as_str()),
        ("?uid=a&uid=b".to_owned(), ""),
        ("?uid=a".to_owned(), "x-tiergate-user: b\r\n"),
        (String::new(), "x-tiergate-user: a\r\nx-tiergate-user: b\r\n"),
    ];
    for (query, headers) in wrong {
        for path in ["/search", "/me", "/image/1"] {
            let headers = format!("{}{headers}", with_key(bot));
            ask(&proxy, &format!("{path}{query}"), &headers)
                .await
                .assert_refused(400, "bad_request");
        }
    }
    // An empty name is none, and the same name twice counts as one.
    for query in ["?uid=", "?uid", "?uid=&uid="] {
        assert_eq!(
            search(&proxy, bot, query, "x-tiergate-user:\r\n").await.status(),
            200,
            "{query}"
        );
    }
    assert_eq!(taken(&proxy, bot, "").await, (4, 0));
    assert_eq!(
        search(&proxy, bot, "?uid=a&uid=&uid=a", "x-tiergate-user: a\r\n")
            .await
            .status(),
        200
    );
    assert_eq!(taken(&proxy, bot, "?uid=a").await, (1, 0));
}

#[tokio::test]
async fn uid_of_other_accounts_is_ignored_and_forwarded() {
    let mirror = Mirror::start().await;
    let plain = AccountSpec {
        max_users: None,
        ..bot("plain")
    };
    let (folder, keys) = stored(vec![plain, bot("bot")]);
    let (plain, bot) = (keys.of("plain"), keys.of("bot"));
    let proxy = Proxy::start_in(folder, &yaml(mirror.address, 4, 8));
    let long = "x".repeat(100);
    let headers = "x-tiergate-user: carol\r\n";
    for (key, tier, used) in [(plain, "high", 1), ("", "low", 1)] {
        let query = format!("?uid={long}&uid=bob");
        let seen = search(&proxy, key, &query, headers).await.mirrored().await;
        assert_eq!(seen.line, format!("GET /search{query} HTTP/1.1"));
        assert_eq!(seen.get("x-tiergate-user"), None);
        assert_eq!(seen.get("x-tiergate-tier"), Some(tier));
        assert_eq!(taken(&proxy, key, "").await, (used, 0));
        assert_eq!(taken(&proxy, key, "?uid=bob").await, (used, 0));
    }
    for (query, headers) in [("?uid=bob&a=1", ""), ("?a=1", "x-tiergate-user: bob\r\n")] {
        let seen = search(&proxy, bot, query, headers).await.mirrored().await;
        assert_eq!(seen.line, format!("GET /search{query} HTTP/1.1"));
        assert_eq!(seen.get("x-tiergate-user"), None);
        assert_eq!(seen.get("x-tiergate-account"), Some("bot"));
        assert_eq!(seen.get("x-tiergate-tier"), Some("low"));
        assert_eq!(seen.get("x-tiergate-priority"), Some("0"));
    }
    assert_eq!(taken(&proxy, bot, "?uid=bob").await, (2, 0));
}

#[tokio::test]
async fn a_blocked_account_and_its_users_are_refused() {
    let server = FastServer::start();
    let blocked = AccountSpec {
        blocked: true,
        ..bot("blocked")
    };
    let (folder, keys) = stored(vec![blocked]);
    let proxy = Proxy::start_in(folder, &yaml(server.address, 4, 8));
    for path in ["/search", "/search?uid=a", "/me", "/image/1"] {
        let answer = ask(&proxy, path, &with_key(keys.of("blocked"))).await;
        answer.assert_refused(403, "blocked");
        for name in ["ratelimit", "ratelimit-policy"] {
            assert_eq!(answer.get(name), None);
        }
    }
    assert_eq!(server.requests(), 0);
    assert_eq!(
        ask(&proxy, "/search", "").await.status(),
        200,
        "its network is another caller"
    );
}

#[tokio::test]
async fn an_expired_account_gets_anonymous_terms_own_counters() {
    let server = FastServer::start();
    let sponsor = AccountSpec {
        until: Some(Until(NOON + HOUR)),
        max_users: None,
        concurrency: Some(50),
        quotas: [("daily".into(), 40)].into(),
        ..bot("sponsor")
    };
    let (folder, keys) = stored(vec![sponsor]);
    let key = keys.of("sponsor");
    let (proxy, clock_control) = Proxy::start_in_at(folder, NOON, &yaml(server.address, 4, 8));
    let terms = async || {
        let me = me(&proxy, key).await;
        json!([
            me["tier"],
            me["priority"],
            me["concurrency"],
            me["quota"],
            me["quotaUsed"]
        ])
    };
    assert_eq!(search(&proxy, key, "", "").await.status(), 200);
    assert_eq!(terms().await, json!(["high", 6, 50, 40, 1]));
    clock_control.advance(HOUR);
    assert_eq!(terms().await, json!(["low", 0, 1, 2, 1]));
    assert_eq!(search(&proxy, key, "", "").await.status(), 200);
    search(&proxy, key, "", "").await.assert_refused(402, "quota_depleted");
    assert_eq!(
        taken(&proxy, "", "").await,
        (0, 0),
        "other callers of its network are counted separately"
    );
    clock_control.advance(HOUR.saturating_mul(25));
    assert_eq!(terms().await, json!(["low", 0, 1, 2, 0]));
}

/// More used than the new tier allows: nothing is left, and never less than nothing.
#[tokio::test]
async fn a_demoted_caller_may_have_used_more_than_allowed() {
    let server = FastServer::start();
    let sponsor = AccountSpec {
        until: Some(Until(NOON + HOUR)),
        ..bot("sponsor")
    };
    let (folder, keys) = stored(vec![sponsor]);
    let key = keys.of("sponsor");
    let (proxy, clock_control) = Proxy::start_in_at(folder, NOON, &yaml(server.address, 4, 8));
    for _ in 0..5 {
        assert_eq!(search(&proxy, key, "", "").await.status(), 200);
    }
    clock_control.advance(HOUR);
    let quota = &me(&proxy, key).await["quotas"][0];
    assert_eq!(
        json!([quota["limit"], quota["used"], quota["remaining"]]),
        json!([2, 5, 0])
    );
    let refused = search(&proxy, key, "", "").await;
    refused.assert_refused(402, "quota_depleted");
    assert_eq!(field(&refused.head, "ratelimit")["daily"]["r"], 0);
    let after: u64 = refused.get("retry-after").expect("a time").parse().expect("seconds");
    clock_control.advance(Span::from_secs(after));
    assert_eq!(search(&proxy, key, "", "").await.status(), 200);
}

/// A key listed in tiers.yaml beside those of the store.
#[tokio::test]
async fn listed_accounts_are_counted_apart_from_stored_ones() {
    let server = FastServer::start();
    let (folder, keys) = stored(vec![bot("bot")]);
    let listed = format!(
        "accounts:\n  - {{ name: listed, tier: high, key_sha256: {} }}\n",
        hash("listed")
    );
    let yaml = yaml(server.address, 4, 8).replace("accounts:\n", &listed);
    let proxy = Proxy::start_in(folder, &yaml);
    for key in ["listed", keys.of("bot"), "listed"] {
        assert_eq!(search(&proxy, key, "", "").await.status(), 200);
    }
    assert_eq!(taken(&proxy, "listed", "").await, (2, 0));
    assert_eq!(taken(&proxy, keys.of("bot"), "").await, (1, 0));
}
