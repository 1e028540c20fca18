//! What holds for all five, since each is a door before a service of its own.
//!
//! Absent on purpose: what single documents say.

use tiergate::policy::time::UnixTime;

use super::visitor::{Visitor, told};
use crate::support::{Door, Mirror};

const NOON: UnixTime = UnixTime::from_secs(1_800_014_400);

/// A preset, one of its upstreams, a host that leads there, and how many requests may be made in a window.
const SYSTEMS: [(&str, &str, &str, u64); 7] = [
    ("trace-moe", "search", "door.example", 100),
    ("shotit", "web", "shotit", 600),
    ("shotit", "api", "api.shotit", 60),
    ("shotit", "media", "media.shotit", 60),
    ("anilist", "graphql", "door.example", 90),
    ("amvstrm", "api", "door.example", 60),
    ("bags", "api", "door.example", 1_000),
];

fn open(preset: &str, upstream: &str, mirror: &Mirror) -> Door {
    Door::open_preset(preset, str::to_owned, &[(upstream, mirror.address)], NOON).0
}

/// AniList's users send `Authorization: Bearer …`, and so may others'. Two presets said nothing of keys, so the door took that
/// for a key of its own, which it wasn't: 403, and the service's own users couldn't use it.
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

/// `/{*rest}` is for no root: there the door itself answered 404, and charged nothing for it.
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
