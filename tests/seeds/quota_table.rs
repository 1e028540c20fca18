//! A sponsor table as the documents show it, checked on the preset. The tables are in the module of each system.

use std::cell::Cell;
use std::sync::Arc;

use tiergate::clock::ClockControl;
use tiergate::config::Config;
use tiergate::config::presets::Preset;
use tiergate::policy::caller::{AccountId, Caller};
use tiergate::policy::refusal::{Reason, Refusal};
use tiergate::policy::rules::TierId;
use tiergate::policy::time::{Span, Timestamp, UnixTime};
use tiergate::policy::{Admission, Outcome, Policy};

use super::visitor::{Visitor, told};
use crate::support::fast::FastServer;
use crate::support::request::request;
use crate::support::{Answer, Client, Proxy, hash};

/// | Sponsor tiers | quota | concurrency | priority |
pub type Line = (&'static str, u64, u32, u8);

/// Seconds that pass after each request: 30 a minute.
const PACE: u64 = 2;

/// A preset's proxy whose clock advances with each request, so that none meets a limit of requests per minute.
pub struct Deployment {
    pub proxy: Proxy,
    clock_control: &'static ClockControl,
    opened: UnixTime,
    /// Seconds by which the clock was advanced.
    moved: Cell<u64>,
    host: &'static str,
}

/// The preset's text with an account of each paid tier, whose key is `key-PRICE`.
pub fn with_sponsors(text: &str) -> String {
    let account = |price: &u32| {
        let hash = hash(&format!("key-{price}"));
        format!("  - {{ name: a{price}, tier: \"${price}\", key_sha256: {hash} }}\n")
    };
    let accounts: String = [1, 5, 10, 20, 50, 100].iter().map(account).collect();
    format!("{text}\naccounts:\n{accounts}")
}

/// The header and the key of this tier's account.
pub fn key_of(tier: &str) -> Option<(&'static str, String)> {
    Some(("x-trace-key", format!("key-{}", tier.strip_prefix('$')?)))
}

impl Deployment {
    /// Opens the preset with its sponsors; `upstream` is served by this server, and requests name `host`.
    pub fn open(
        preset: &str,
        edited: impl FnOnce(String) -> String,
        upstream: (&str, &FastServer),
        host: &'static str,
        opened: UnixTime,
    ) -> Self {
        let edited = |text: &str| edited(with_sponsors(text));
        let (proxy, clock_control) = Proxy::start_preset(preset, edited, &[(upstream.0, upstream.1.address)], opened);
        Self {
            proxy,
            clock_control,
            opened,
            moved: Cell::new(0),
            host,
        }
    }

    /// A caller of this tier on a connection of its own.
    async fn visitor(&self, tier: &str) -> Visitor {
        let visitor = Visitor::at(1, &self.proxy).await;
        match key_of(tier) {
            Some((header, key)) => visitor.with_key(header, &key),
            None => visitor,
        }
    }

    /// One request of this tier on a connection of its own.
    pub async fn ask(&self, tier: &str, path: &str) -> Answer {
        let answer = self.visitor(tier).await.ask("GET", self.host, path).await;
        self.advance(PACE);
        answer
    }

    pub fn advance(&self, seconds: u64) {
        self.moved.set(self.moved.get() + seconds);
        self.clock_control.advance(Span::from_secs(seconds));
    }

    /// Advances the clock to this time, plus the little that the test itself has taken.
    pub fn advance_to(&self, at: UnixTime) {
        let now = self.opened.as_secs() + self.moved.get();
        self.advance(at.as_secs().checked_sub(now).expect("it is still to come"));
    }

    /// Checks that `/me` shows each line's terms to its tier.
    pub async fn check_told(&self, table: &[Line]) {
        for (tier, quota, concurrency, priority) in table {
            let me = self.ask(tier, "/me").await.json();
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

    /// So many searches of this tier, which succeed.
    pub async fn searches(&self, tier: &str, searches: u64) {
        for number in 0..searches {
            let answer = self.ask(tier, "/search").await;
            assert_eq!(answer.status(), 200, "{tier}, number {number}: {}", answer.text());
        }
    }

    /// Checks that malformed requests take no quota, from any caller, and that those refused before the caller is known
    /// take none of the `limit` requests per minute either.
    pub async fn check_malformed_is_free(&self, limit: u64) {
        let large = format!("content-length: {}\r\nexpect: 100-continue\r\n", (25 << 20) + 1);
        let cases = [
            (400, "GET", "/search%zz", ""),
            (400, "GET", "/search", "host: another.example\r\n"),
            (400, "GET", "/search", "no colon\r\n"),
            (400, "GET", "/search", "x-trace-key: key-1\r\nx-api-key: key-5\r\n"),
            (405, "TRACE", "/search", ""),
            (405, "POST", "/me", ""),
            (413, "POST", "/search", &large),
        ];
        for tier in ["free", "$1"] {
            let key = key_of(tier).map_or(String::new(), |(header, key)| format!("{header}: {key}\r\n"));
            for (status, method, path, headers) in cases {
                let answer = self.raw(method, path, &format!("{key}{headers}"), "").await;
                assert_eq!(answer.status(), status, "{method} {path} {headers}");
                assert_eq!(answer.get("x-ratelimit-remaining"), None);
            }
        }
        // Here the caller is known before the body turns out to be missing.
        let chunked = self
            .raw("POST", "/search", "transfer-encoding: chunked\r\n", "zz\r\n")
            .await;
        chunked.assert_refused(400, "bad_request");
        for (tier, charged) in [("free", 2), ("$1", 3)] {
            let me = self.ask(tier, "/me").await;
            assert_eq!(me.json()["quotaUsed"], 0, "{tier}");
            assert_eq!(told(&me).remaining, Some(limit - charged), "{tier}");
        }
    }

    /// A request as it is written, on a connection of its own.
    async fn raw(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut client = Client::connect(self.proxy.address).await;
        let host = self.host;
        client
            .send(format!(
                "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n{body}"
            ))
            .await;
        client.answer_to(method).await
    }

    /// Checks that each line's tier has as many successes as stated, and then none: the last `cost` one by one, the
    /// others by searches at `/bulk` that cost so much.
    pub async fn check_spent(&self, table: &[Line], cost: u64) {
        for (tier, quota, ..) in table {
            let mut visitor = self.visitor(tier).await;
            let bulk = std::iter::repeat_n("/bulk", usize::try_from(quota / cost - 1).expect("a thousand"));
            let single = std::iter::repeat_n("/search", usize::try_from(cost).expect("a hundred"));
            for (number, path) in bulk.chain(single).enumerate() {
                let answer = visitor.ask("GET", self.host, path).await;
                assert_eq!(answer.status(), 200, "{tier}, number {number}: {}", answer.text());
                self.advance(PACE);
            }
            let none = visitor.ask("GET", self.host, "/search").await;
            none.assert_refused(402, "quota_depleted");
            let told = none.json();
            assert_eq!(
                (&told["limit"], &told["used"]),
                (&(*quota).into(), &(*quota).into()),
                "{tier}"
            );
            self.advance(PACE);
        }
    }

    /// Checks that so many searches succeed and the next is refused with 402 for want of quota.
    pub async fn check_left(&self, tier: &str, searches: u64) {
        self.searches(tier, searches).await;
        self.ask(tier, "/search").await.assert_refused(402, "quota_depleted");
    }
}

/// Checks that each line's tier has as many successes in the preset as stated, failures not counted, and then none.
pub fn check_counted(preset: &str, table: &[Line]) {
    let text = Preset::named(preset).expect("a preset that there is").text;
    let config = Config::parse(preset, text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    let tiers: Vec<Arc<str>> = config.rules.tiers.iter().map(|tier| Arc::clone(&tier.name)).collect();
    let now = Timestamp::ZERO;
    let mut policy = Policy::new(Arc::new(config.rules));
    policy.follow_clock(UnixTime::from_secs(1_800_014_400), now, Span::MAX);
    for (tier, quota, ..) in table {
        let at = tiers.iter().position(|name| **name == **tier);
        let at = u16::try_from(at.expect("the preset has it")).expect("a handful");
        let ask = request(Caller::Account(AccountId(at.into())), TierId(at));
        let mut search = |outcome| match policy.enter(&ask, now) {
            Ok(Admission::Running { grant, .. }) => {
                assert!(policy.end(grant.job, outcome, now).is_none(), "no job is queued");
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
