//! A sponsor table as the documents have it, and what a preset of ours makes of it.
//!
//! Absent on purpose: the tables and the presets. Each system's module has its own.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tiergate::config::Config;
use tiergate::policy::caller::{AccountId, Caller, Network};
use tiergate::policy::refusal::{Reason, Refusal};
use tiergate::policy::rules::{PoolId, TierId};
use tiergate::policy::time::{Timestamp, UnixTime};
use tiergate::policy::{Admission, Ask, Outcome, Policy};

use crate::support::{Answer, Client, Door};

/// | Sponsor tiers | quota | concurrency | priority |
pub type Line = (&'static str, u64, u32, u8);

/// The header line of the key of that tier's account, as `seven_tiers` names it.
pub fn key_of(tier: &str) -> String {
    match tier.strip_prefix('$') {
        Some(price) => format!("x-trace-key: key-{price}\r\n"),
        None => String::new(),
    }
}

/// One request of that tier's, on a connection of its own.
pub async fn ask(door: &Door, tier: &str, path: &str) -> Answer {
    let mut client = Client::connect(door.address).await;
    client.ask("GET", path, &key_of(tier)).await
}

/// Checks that everybody of the table is told of it.
pub async fn check_told(door: &Door, table: &[Line]) {
    for (tier, quota, concurrency, priority) in table {
        let me = ask(door, tier, "/me").await.json();
        assert_eq!(me["tier"], *tier);
        assert_eq!(
            (&me["quota"], &me["quotaUsed"]),
            (&(*quota).into(), &0.into()),
            "{tier}"
        );
        assert_eq!(
            (&me["concurrency"], &me["priority"]),
            (&(*concurrency).into(), &(*priority).into()),
            "{tier}"
        );
    }
}

/// Checks that in a preset everybody of the table has as many successes as it says, failures not counted, and then none.
pub fn check_counted(yaml: &str, table: &[Line]) {
    let config = Config::parse("tiers.yaml", yaml.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    let tiers: Vec<Arc<str>> = config.rules.tiers.iter().map(|tier| Arc::clone(&tier.name)).collect();
    let now = Timestamp::ZERO;
    let mut policy = Policy::new(Arc::new(config.rules));
    policy.follow_clock(UnixTime::from_secs(1_800_014_400), now);
    for (tier, quota, ..) in table {
        let at = tiers.iter().position(|name| **name == **tier);
        let at = u16::try_from(at.expect("the preset has it")).expect("a handful");
        let ask = Ask {
            caller: Caller::Account(AccountId(at.into())),
            from: Network::V4(Ipv4Addr::LOCALHOST),
            tier: TierId(at),
            own: None,
            delegate: None,
            cost: 1,
            pool: PoolId(0),
            ready: true,
            max_wait: None,
            prefer_wait: None,
        };
        let mut search = |outcome| match policy.enter(&ask, now) {
            Ok(Admission::Running(grant)) => {
                assert!(policy.end(grant.job, outcome, now).is_none(), "nobody waits");
                Ok(())
            }
            Ok(other) => panic!("a slot is free, but: {other:?}"),
            Err(refusal) => Err(refusal),
        };
        for _ in 0..*quota {
            search(Outcome::Failed).expect("there is room");
            search(Outcome::Succeeded).expect("there is room");
        }
        let refusal: Refusal = search(Outcome::Succeeded).expect_err("there is none left");
        assert_eq!(refusal.reason(), Reason::QuotaDepleted, "{tier}");
    }
}

/// Checks that so many searches succeed and the next is refused for want of quota, with status 402.
pub async fn check_left(door: &Door, tier: &str, searches: u64) {
    for number in 0..searches {
        let answer = ask(door, tier, "/search").await;
        assert_eq!(answer.status(), 200, "{tier}, number {number}: {}", answer.text());
    }
    ask(door, tier, "/search").await.assert_refused(402, "quota_depleted");
}
