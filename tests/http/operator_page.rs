//! The operator's page and its sessions, over real sockets. A browser uses it in tests/browser/operator.test.js.

use serde_json::{Value, json};
use tiergate::policy::time::{Span, UnixTime};

use crate::support::{Answer, Client, Mirror, Proxy, UpstreamServer, seven_tiers};

/// A request of a page on that listener, as a browser sends it.
async fn ask(proxy: &Proxy, method: &str, path: &str, headers: &str, body: &str) -> Answer {
    let mut client = Client::operator(proxy.admin).await;
    let headers = format!("content-length: {}\r\nconnection: close\r\n{headers}", body.len());
    client.request(method, path, &headers).await;
    client.send(body).await;
    client.answer_to(method).await
}

async fn log_in(proxy: &Proxy, token: &str, headers: &str) -> Answer {
    ask(
        proxy,
        "POST",
        "/session",
        headers,
        &json!({ "token": token }).to_string(),
    )
    .await
}

/// A browser with a session.
struct Session {
    cookie: String,
    csrf: String,
}

const OWN_PAGE: &str = "origin: http://localhost\r\nsec-fetch-site: same-origin\r\n";

impl Session {
    async fn begin(proxy: &Proxy) -> Self {
        let answer = log_in(
            proxy,
            &proxy.token,
            &format!("x-tiergate-operator: alice\r\n{OWN_PAGE}"),
        )
        .await;
        let told = answer.told(200);
        assert_eq!(told["operator"], "alice");
        assert_eq!(answer.get("cache-control"), Some("no-store"));
        let set = answer.get("set-cookie").expect("a cookie").to_owned();
        let (cookie, terms) = set.split_once("; ").expect("a cookie has terms");
        assert_eq!(terms, "Path=/; Max-Age=43200; HttpOnly; SameSite=Strict");
        let csrf = told["csrf"].as_str().expect("text").to_owned();
        for secret in [&*proxy.token, cookie.rsplit_once('=').expect("a value").1] {
            assert!(!answer.text().contains(secret), "{}", answer.text());
        }
        Self {
            cookie: cookie.to_owned(),
            csrf,
        }
    }

    async fn ask(&self, proxy: &Proxy, method: &str, path: &str, headers: &str) -> Answer {
        ask(
            proxy,
            method,
            path,
            &format!("cookie: a=b; {}\r\n{headers}", self.cookie),
            "",
        )
        .await
    }

    fn proof(&self) -> String {
        format!("x-tiergate-csrf: {}\r\n", self.csrf)
    }
}

#[tokio::test]
async fn a_session_does_what_the_token_does_until_it_ends() {
    let server = UpstreamServer::start().await;
    let wall = UnixTime::from_secs(1_790_000_000);
    let (proxy, clock) = Proxy::start_at(wall, &seven_tiers(8, &[(server.address, 1)], ""));
    let session = Session::begin(&proxy).await;
    session.ask(&proxy, "GET", "/status", "").await.told(200);
    let told = session.ask(&proxy, "GET", "/session", "").await.told(200);
    assert_eq!(
        (&told["operator"], &told["csrf"]),
        (&json!("alice"), &json!(session.csrf))
    );
    let proof = session.proof() + OWN_PAGE;
    let switched = session.ask(&proxy, "POST", "/dispatch/pause", &proof).await.told(200);
    assert_eq!(switched["paused"], true);
    // Under the session's name, unless the request has one.
    let other = format!("{proof}x-tiergate-operator: bob\r\n");
    session.ask(&proxy, "POST", "/dispatch/resume", &other).await.told(200);
    let log = proxy.told(200, "GET /audit?limit=3", "").await;
    let rows: Vec<[&Value; 2]> = log["changes"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| [&row["who"], &row["action"]])
        .collect();
    let expected = [
        ["bob@127.0.0.1", "dispatch_resume"],
        ["alice@127.0.0.1", "dispatch_pause"],
        ["alice@127.0.0.1", "log_in"],
    ];
    assert_eq!(json!(rows), json!(expected));

    // A wrong token beside it is not ignored.
    let wrong = session
        .ask(&proxy, "GET", "/status", "authorization: Bearer x\r\n")
        .await;
    assert_eq!(wrong.status(), 401);
    let second = Session::begin(&proxy).await;
    let ended = session.ask(&proxy, "DELETE", "/session", &proof).await;
    assert!(ended.get("set-cookie").expect("a cookie").contains("Max-Age=0"));
    assert_eq!(session.ask(&proxy, "GET", "/status", "").await.status(), 401);
    second.ask(&proxy, "GET", "/status", "").await.told(200);
    clock.advance(Span::from_secs(12 * 3600 + 1));
    assert_eq!(second.ask(&proxy, "GET", "/status", "").await.status(), 401);
    assert_eq!(
        second.ask(&proxy, "GET", "/session", "").await.told(200)["csrf"],
        Value::Null
    );
}

#[tokio::test]
async fn a_change_that_a_foreign_page_could_send_is_refused() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let session = Session::begin(&proxy).await;
    let (proof, other) = (session.proof(), Session::begin(&proxy).await.proof());
    for headers in [
        String::new(),
        OWN_PAGE.to_owned(),
        proof.clone(), // of no browser, or a very old one
        format!("{other}{OWN_PAGE}"),
        format!("{proof}origin: http://localhost:8080\r\n"),
        format!("{proof}origin: null\r\n"),
        format!("{proof}origin: http://localhost\r\nsec-fetch-site: same-site\r\n"),
    ] {
        for (method, path) in [("POST", "/dispatch/pause"), ("DELETE", "/session")] {
            let answer = session.ask(&proxy, method, path, &headers).await;
            answer.assert_refused(403, "foreign_request");
        }
    }
    let read = session
        .ask(&proxy, "GET", "/status", "sec-fetch-site: same-site\r\n")
        .await;
    read.assert_refused(403, "foreign_request");
    assert_eq!(proxy.told(200, "GET /status", "").await["paused"], false);
    // Nor is one logged in by another page.
    let answer = log_in(&proxy, &proxy.token, "origin: http://localhost:8080\r\n").await;
    answer.assert_refused(403, "foreign_request");
    // Over TLS, which ends before this listener, the cookie is for TLS only.
    let answer = log_in(&proxy, &proxy.token, "origin: https://localhost\r\n").await;
    assert!(answer.get("set-cookie").expect("a cookie").ends_with("; Secure"));
}

#[tokio::test]
async fn wrong_tokens_are_limited() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    for left in [
        "4 attempts are",
        "3 attempts are",
        "2 attempts are",
        "one attempt is",
        "in a minute",
    ] {
        let answer = log_in(&proxy, "0123456789abcdef", "").await;
        answer.assert_refused(403, "wrong_token");
        assert!(answer.text().contains(left), "{}", answer.text());
        assert_eq!(answer.get("set-cookie"), None);
    }
    let answer = log_in(&proxy, &proxy.token, "").await;
    answer.assert_refused(429, "too_many_attempts");
    let seconds: u64 = answer.get("retry-after").expect("a time").parse().expect("a number");
    assert!((1..=60).contains(&seconds), "{seconds}");
    // The token itself works: its holder guesses nothing.
    proxy.told(200, "GET /status", "").await;
}

#[tokio::test]
async fn the_page_needs_no_token_and_loads_nothing_else() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let page = ask(&proxy, "GET", "/", "", "").await;
    assert_eq!(page.status(), 200);
    let policy = page.get("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(page.get("x-content-type-options"), Some("nosniff"));
    let text = page.text();
    let files: Vec<&str> = text.split('"').filter(|part| part.starts_with("/assets/")).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    for file in files {
        let asset = ask(&proxy, "GET", file, "", "").await;
        assert_eq!(asset.status(), 200, "{file}");
        assert_eq!(asset.get("cache-control"), Some("public, max-age=31536000, immutable"));
    }
    assert_eq!(ask(&proxy, "POST", "/", "", "").await.status(), 405);
    // Not for another host.
    let mut client = Client::connect(proxy.admin).await;
    client.ask("GET", "/", "").await.assert_refused(421, "unknown_host");
    client
        .ask("GET", "/session", "")
        .await
        .assert_refused(421, "unknown_host");
}

#[tokio::test]
async fn upstream_servers_never_see_the_session() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 1)], ""));
    let session = Session::begin(&proxy).await;
    let mut client = Client::connect(proxy.address).await;
    let headers = format!("cookie: a=1; {}; b=2\r\ncookie: {}\r\n", session.cookie, session.cookie);
    let arrived = client.ask("GET", "/search", &headers).await.mirrored().await;
    assert_eq!(arrived.all("cookie"), ["a=1; b=2"]);
}

#[tokio::test]
async fn keys_tell_their_beginning_and_last_use() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    proxy
        .told(201, "POST /accounts", json!({ "name": "a", "tier": "$5" }))
        .await;
    let minted = proxy.told(201, "POST /accounts/a/keys", json!({ "label": "x" })).await;
    let key = minted["key"].as_str().expect("text").to_owned();
    let of = async || proxy.told(200, "GET /accounts/a/keys", "").await["keys"][0].clone();
    let before = of().await;
    assert_eq!(
        (&before["begins"], &before["last_used"]),
        (&json!(key[..7]), &Value::Null)
    );
    let mut client = Client::connect(proxy.address).await;
    client.request("GET", "/me", &format!("x-api-key: {key}\r\n")).await;
    assert_eq!(client.answer().await.status(), 200);
    assert!(of().await["last_used"].is_string());
    let page = proxy.told(200, "GET /accounts?usage=1", "").await;
    let line = page["accounts"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|line| line["name"] == "a");
    let line = line.expect("it is there");
    assert_eq!(
        (&line["in_flight"], line["usage"].as_array().map(Vec::len)),
        (&json!(0), Some(1))
    );
    proxy
        .refuses("GET /accounts?usage=1&limit=101", "", (400, "bad_request"), "1 to 100")
        .await;
}
