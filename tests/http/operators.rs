//! What callers see of themselves, and operators of everyone.

use crate::support::{Client, Mirror, Proxy, UpstreamServer, get, seven_tiers};

#[tokio::test]
async fn me_shows_the_callers_terms() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 1)], ""));
    let mut client = Client::connect(proxy.address).await;
    let answer = client.ask("GET", "/me", "x-api-key: key-20\r\n").await;
    let expected = serde_json::json!({
        "id": "a20", "tier": "$20", "priority": 5, "concurrency": 2, "quota": 2000, "quotaUsed": 0,
        "quotaReset": null,
        "quotas": [{
            "name": "daily", "limit": 2000, "used": 0, "held": 0, "remaining": 2000, "window": "rolling 24h",
            "next_reset": null, "next_free": null,
        }],
        "running": 0, "waiting": 0, "uploading": 0,
    });
    assert_eq!((answer.status(), answer.json()), (200, expected));
    assert_eq!(answer.get("content-type"), Some("application/json"));
    assert_eq!(answer.get("cache-control"), Some("no-store"));
    let expected = serde_json::json!({
        "id": "127.0.0.1", "tier": "free", "priority": 0, "concurrency": 1, "quota": 100, "quotaUsed": 0,
        "quotaReset": null,
        "quotas": [{
            "name": "daily", "limit": 100, "used": 0, "held": 0, "remaining": 100, "window": "rolling 24h",
            "next_reset": null, "next_free": null,
        }],
        "running": 0, "waiting": 0, "uploading": 0,
    });
    for path in ["/me", "/me?x=1", "/%6de", "//me", "/x/../me"] {
        assert_eq!(client.ask("GET", path, "").await.json(), expected, "{path}");
    }
    client
        .ask("GET", "/me", "x-api-key: guess\r\n")
        .await
        .assert_refused(403, "invalid_key");
    let answer = client.ask("HEAD", "/me", "").await;
    assert_eq!(
        (answer.status(), answer.get("content-type")),
        (200, Some("application/json"))
    );
    for method in ["POST", "DELETE", "TRACE"] {
        let answer = client.ask(method, "/me", "").await;
        answer.assert_refused(405, "method_not_allowed");
        assert_eq!(answer.get("allow"), Some("GET, HEAD, OPTIONS"));
    }
    let answer = client.ask("OPTIONS", "/me", "").await;
    assert_eq!(
        (answer.status(), answer.get("allow")),
        (204, Some("GET, HEAD, OPTIONS"))
    );
    client.ask("GET", "/me/", "").await.assert_refused(404, "not_found");
}

#[tokio::test]
async fn own_pages_can_be_moved_and_turned_off() {
    let mirror = Mirror::start().await;
    for (paths, me, gone) in [
        ("paths: { me: off }\n", None, "/me"),
        ("paths: { me: /v1/self }\n", Some("/v1/self"), "/me"),
    ] {
        let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 1)], paths));
        let mut client = Client::connect(proxy.address).await;
        client.ask("GET", gone, "").await.assert_refused(404, "not_found");
        if let Some(path) = me {
            assert_eq!(client.ask("GET", path, "").await.json()["id"], "127.0.0.1");
        }
        let with_route = format!("  - {{ path: /me, upstream: search }}\n{paths}");
        let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 1)], &with_route));
        let seen = get(proxy.address, "/me").await.mirrored().await;
        assert_eq!(seen.line, "GET /me HTTP/1.1");
    }
}

#[tokio::test]
async fn metrics_exist_before_the_first_request() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 3)], ""));
    let page = get(proxy.admin, "/metrics").await;
    assert_eq!(page.status(), 200);
    assert_eq!(
        page.get("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = page.text();
    for line in [
        "tiergate_queue_capacity 8",
        "tiergate_queue_depth{priority=\"0\"} 0",
        "tiergate_queue_depth{priority=\"6\"} 0",
        "tiergate_slots{upstream=\"search\"} 3",
        "tiergate_jobs_running{upstream=\"search\"} 0",
        "tiergate_jobs_total{tier=\"$100\",outcome=\"succeeded\"} 0",
        "tiergate_refusals_total{tier=\"free\",reason=\"queue_full\"} 0",
        "tiergate_refusals_total{tier=\"none\",reason=\"bad_request\"} 0",
        "tiergate_queue_wait_seconds_count{tier=\"free\",priority=\"0\",result=\"dispatched\"} 0",
        "tiergate_displacements_total{by=\"6\",of=\"0\"} 0",
        "tiergate_tier_info{tier=\"$100\",priority=\"6\",anonymous=\"false\"} 1",
        "tiergate_tier_info{tier=\"free\",priority=\"0\",anonymous=\"true\"} 1",
        "tiergate_upstream_seconds_count{upstream=\"search\"} 0",
        "# TYPE tiergate_queue_wait_seconds histogram",
        concat!("tiergate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn metrics_and_the_queue_page_show_current_jobs() {
    let server = UpstreamServer::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    let mut first = Client::connect(proxy.address).await;
    first.search("key-100").await;
    let mut arrived = server.request().await;
    let mut second = Client::connect_from(7, proxy.address).await;
    second.search("").await;
    proxy.jobs_until(1, 1).await;
    assert_eq!(proxy.metric("tiergate_queue_depth{priority=\"0\"}").await, 1.0);
    assert_eq!(proxy.metric("tiergate_jobs_running{upstream=\"search\"}").await, 1.0);
    let page = proxy.queue().await;
    assert_eq!(page["seats"], 8);
    let servers = serde_json::json!([{
        "upstream": "search", "server": server.address.to_string(), "listed": true, "slots": 1, "available": 1, "running": 1,
        "up": true, "why_down": null, "drained": false, "drained_since": null,
    }]);
    let pools = serde_json::json!([{
        "upstream": "search", "slots": 1, "running": 1, "configured": 1, "servers": servers,
    }]);
    assert_eq!(page["pools"], pools);
    let job = |of: &str| page[of][0].as_object().expect("a job").clone();
    let told = |of: &str| ["caller", "tier", "priority", "upstream", "state"].map(|name| job(of)[name].to_string());
    assert_eq!(
        told("running"),
        ["\"a100\"", "\"$100\"", "6", "\"search\"", "\"running\""]
    );
    assert_eq!(
        told("waiting"),
        ["\"127.0.0.7\"", "\"free\"", "0", "\"search\"", "\"waiting\""]
    );
    assert!(job("running")["running_s"].is_number() && job("waiting")["waited_s"].is_number());
    drop(second);
    proxy.jobs_until(0, 1).await;
    assert_eq!(
        proxy
            .metric(r#"tiergate_jobs_total{tier="free",outcome="hung_up"}"#)
            .await,
        1.0
    );
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
    proxy.jobs_until(0, 0).await;
    let of_first = r#"tier="$100",priority="6",result="dispatched""#;
    for series in [
        format!("count{{{of_first}}}"),
        format!("bucket{{{of_first},le=\"+Inf\"}}"),
    ] {
        let series = format!("tiergate_queue_wait_seconds_{series}");
        assert_eq!(proxy.metric(&series).await, 1.0, "{series}");
    }
    assert_eq!(
        proxy
            .metric("tiergate_upstream_seconds_count{upstream=\"search\"}")
            .await,
        1.0
    );
}

#[tokio::test]
async fn ready_until_shutdown_alive_until_the_end() {
    let server = UpstreamServer::start().await;
    let mut proxy = Proxy::start(&seven_tiers(8, &[(server.address, 1)], ""));
    assert_eq!(get(proxy.admin, "/healthz").await.status(), 200);
    assert_eq!(get(proxy.admin, "/readyz").await.status(), 200);
    let mut first = Client::connect(proxy.address).await;
    first.search("").await;
    let mut arrived = server.request().await;
    let mut waiting = Client::connect(proxy.address).await;
    waiting.search("key-1").await;
    proxy.jobs_until(1, 1).await;
    proxy.begin_closing();
    waiting.answer().await.assert_refused(503, "shutting_down");
    assert_eq!(get(proxy.admin, "/readyz").await.status(), 503);
    assert_eq!(get(proxy.admin, "/healthz").await.status(), 200);
    assert_eq!(proxy.queue().await["running"].as_array().map(Vec::len), Some(1));
    arrived.answer("{}").await;
    assert_eq!(first.answer().await.status(), 200);
    proxy.closed();
}

#[tokio::test]
async fn admin_pages_are_not_public() {
    let mirror = Mirror::start().await;
    let proxy = Proxy::start(&seven_tiers(8, &[(mirror.address, 1)], ""));
    let token = format!("authorization: Bearer {}\r\n", proxy.token);
    let mut client = Client::connect(proxy.address).await;
    for path in ["/metrics", "/healthz", "/readyz", "/queue"] {
        client.ask("GET", path, "").await.assert_refused(404, "not_found");
        assert_eq!(proxy.operator("GET", path, "").await.status(), 200);
    }
    for path in [
        "/accounts",
        "/accounts/a20",
        "/accounts/export",
        "/accounts/a20/keys",
        "/keys/0123456789ab",
        "/networks",
        "/networks/192.0.2.1",
    ] {
        client.ask("GET", path, &token).await.assert_refused(404, "not_found");
        client
            .ask("DELETE", path, &token)
            .await
            .assert_refused(404, "not_found");
    }
    for path in ["/search", "/me"] {
        proxy.operator("GET", path, "").await.assert_refused(404, "not_found");
    }
}
