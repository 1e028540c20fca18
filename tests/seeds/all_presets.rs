//! What holds for all five presets. What single documents say is in the module of each.

use tiergate::policy::time::UnixTime;

use super::visitor::{Visitor, told};
use crate::support::{Mirror, Proxy};

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);

/// A preset, one of its upstreams, a host that leads there, and how many requests may be made in a window.
const SYSTEMS: [(&str, &str, &str, u64); 7] = [
    ("trace-moe", "search", "proxy.example", 100),
    ("shotit", "web", "shotit", 600),
    ("shotit", "api", "api.shotit", 60),
    ("shotit", "media", "media.shotit", 60),
    ("anilist", "graphql", "proxy.example", 90),
    ("amvstrm", "api", "proxy.example", 60),
    ("bags", "api", "proxy.example", 1_000),
];

fn open(preset: &str, upstream: &str, mirror: &Mirror) -> Proxy {
    Proxy::start_preset(preset, str::to_owned, &[(upstream, mirror.address)], NOON).0
}

/// AniList's users send `Authorization: Bearer …`, and others' may too. Two presets did not configure `keys`, so the
/// proxy took that for one of its own keys and answered 403: the service's own users could not use it.
#[tokio::test]
async fn the_services_own_authorization_reaches_the_service() {
    let mirror = Mirror::start().await;
    for (preset, upstream, host, _) in SYSTEMS {
        let proxy = open(preset, upstream, &mirror);
        let mut user = Visitor::at(1, &proxy)
            .await
            .with_key("authorization", "Bearer their-own");
        for path in ["/", "/some/page"] {
            let seen = user.ask("POST", host, path).await.mirrored().await;
            assert_eq!(seen.all("authorization"), ["Bearer their-own"], "{preset}: {path}");
            assert_eq!(seen.get("x-tiergate-account"), None, "{preset}");
        }
    }
}

/// `/{*rest}` does not match the root: the proxy itself answered 404 there, and charged nothing.
#[tokio::test]
async fn the_root_is_answered_by_the_service_and_counts() {
    let mirror = Mirror::start().await;
    for (preset, upstream, host, limit) in SYSTEMS {
        let proxy = open(preset, upstream, &mirror);
        let mut visitor = Visitor::at(1, &proxy).await;
        for (path, used) in [("/", 1), ("/?a=b", 2), ("/some/page", 3)] {
            let answer = visitor.ask("POST", host, path).await;
            assert_eq!(told(&answer).remaining, Some(limit - used), "{preset}: {host}{path}");
            assert!(answer.mirrored().await.line.starts_with(&format!("POST {path} ")));
        }
    }
}
