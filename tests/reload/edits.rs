//! Random files, and what a proxy that has them may answer to each caller.

use std::net::SocketAddr;

use crate::support::dice::Dice;
use crate::support::yaml;

/// Accounts that every file lists, `listed-0` and so on, each with its name as the key.
pub const LISTED: usize = 6;
/// Tiers that may exist, `t0` and so on.
const TIERS: usize = 6;
/// The tier of the stored accounts, which comes and goes.
pub const STORED: usize = 3;
/// Upstreams that may exist, `u0` and so on.
const UPSTREAMS: usize = 4;

/// The caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerKind {
    Listed(usize),
    /// Of the tier [`STORED`].
    Stored,
    Anonymous,
}

#[derive(Clone, Debug)]
struct Tier {
    priority: u64,
    concurrency: u64,
    quota: Option<u64>,
    max_wait: bool,
}

impl Tier {
    fn terms(&self) -> String {
        let Self {
            priority, concurrency, ..
        } = self;
        let quota = self
            .quota
            .map(|limit| format!(", quota: {{ limit: {limit}, rolling: 24h }}"));
        let quota = quota.unwrap_or_default();
        let max_wait = if self.max_wait { ", max_wait: 40ms" } else { "" };
        format!("priority: {priority}, concurrency: {concurrency}{quota}{max_wait}")
    }
}

/// A file.
#[derive(Clone, Debug)]
pub struct File {
    number: usize,
    pub queue_length: u64,
    max_wait: u64,
    fair: bool,
    lifeline: bool,
    tiers: [Option<Tier>; TIERS],
    anonymous: usize,
    tier_of: [usize; LISTED],
    /// By upstream: the numbers and slots of its servers.
    upstreams: [Option<Vec<(usize, u32)>>; UPSTREAMS],
    search: usize,
    images: Option<usize>,
    limit: Option<(u64, bool)>,
}

fn pick(dice: &mut Dice, of: &[usize]) -> usize {
    of[dice.below(of.len() as u64) as usize]
}

fn present<T>(of: &[Option<T>]) -> Vec<usize> {
    (0..of.len()).filter(|at| of[*at].is_some()).collect()
}

impl File {
    /// A random file with servers from so many.
    pub fn by_chance(number: usize, servers: usize, dice: &mut Dice) -> Self {
        let mut tiers: [Option<Tier>; TIERS] = std::array::from_fn(|_| {
            (dice.below(4) > 0).then(|| Tier {
                priority: dice.below(7),
                concurrency: 1 + dice.below(5),
                quota: [None, None, None, Some(10_000_000), Some(1 + dice.below(60))][dice.below(5) as usize],
                max_wait: dice.below(6) == 0,
            })
        });
        // The accounts are stored under the first file.
        for at in [0].into_iter().chain((number == 0).then_some(STORED)) {
            tiers[at].get_or_insert(Tier {
                priority: 0,
                concurrency: 1,
                quota: None,
                max_wait: false,
            });
        }
        let mut upstreams: [Option<Vec<(usize, u32)>>; UPSTREAMS] = std::array::from_fn(|_| {
            (dice.below(2) == 0).then(|| {
                let mut listed = Vec::new();
                let first = dice.below(servers as u64) as usize;
                for step in 0..1 + dice.below(servers as u64) as usize {
                    listed.push(((first + step) % servers, 1 + dice.below(4) as u32));
                }
                listed
            })
        });
        upstreams[number % UPSTREAMS].get_or_insert_with(|| vec![(number % servers, 2)]);
        let (tiers_there, upstreams_there) = (present(&tiers), present(&upstreams));
        Self {
            number,
            queue_length: [1, 2, 4, 8, 16, 100][dice.below(6) as usize],
            max_wait: if dice.below(6) == 0 { 50 } else { 60_000 },
            fair: dice.below(2) == 0,
            lifeline: dice.below(3) == 0,
            anonymous: pick(dice, &tiers_there),
            tier_of: std::array::from_fn(|_| pick(dice, &tiers_there)),
            tiers,
            search: pick(dice, &upstreams_there),
            images: (dice.below(3) > 0).then(|| pick(dice, &upstreams_there)),
            upstreams,
            limit: [None, None, Some((20, true)), Some((20, false)), Some((1_000_000, true))][dice.below(5) as usize],
        }
    }

    /// A file with every tier and upstream and without quotas and limits, under which no job needs to wait.
    pub fn unlimited(number: usize) -> Self {
        let tier = |at: usize| Tier {
            priority: at as u64,
            concurrency: 1 + at as u64 % 3,
            quota: None,
            max_wait: false,
        };
        Self {
            number,
            queue_length: 8,
            max_wait: 60_000,
            fair: false,
            lifeline: false,
            tiers: std::array::from_fn(|at| Some(tier(at))),
            anonymous: 1,
            tier_of: std::array::from_fn(|at| at),
            upstreams: std::array::from_fn(|at| (at == 0).then(|| vec![(0, 1_000)])),
            search: 0,
            images: None,
            limit: None,
        }
    }

    /// The text of tiers.yaml. [`Self::mark`] identifies it.
    pub fn yaml(&self, servers: &[SocketAddr]) -> String {
        let mut file = yaml()
            .setting(format_args!("drain_timeout: {}", self.mark()))
            .setting("trusted_proxies: [127.0.0.0/8]")
            .queue(format_args!(
                "length: {}, max_wait: {}ms, within_tier: {}, lifeline: {}",
                self.queue_length,
                self.max_wait,
                if self.fair { "fair" } else { "fifo" },
                if self.lifeline { "3" } else { "off" },
            ))
            .anonymous(&format!("t{}", self.anonymous));
        for (at, tier) in self.tiers.iter().enumerate() {
            if let Some(tier) = tier {
                file = file.tier(&format!("t{at}"), tier.terms());
            }
        }
        for (at, tier) in self.tier_of.iter().enumerate() {
            let name = format!("listed-{at}");
            file = file.account(&name, &format!("t{tier}"), &[&name]);
        }
        if let Some((limit, enforce)) = self.limit {
            file = file.limit(format_args!(
                "name: http, per: account, limit: {limit}, window: 1s, enforce: {enforce}"
            ));
        }
        for (at, listed) in self.upstreams.iter().enumerate() {
            if let Some(listed) = listed {
                let listed: Vec<_> = listed
                    .iter()
                    .map(|(server, slots)| (servers[*server], *slots))
                    .collect();
                file = file.upstream(&format!("u{at}"), &listed, ", timeout: 60s");
            }
        }
        let search = self.search;
        file = file.route(format_args!(
            "path: /search, upstream: u{search}, metered: true, max_body: 1KiB"
        ));
        if let Some(at) = self.images {
            file = file.route(format_args!("path: \"/image/{{*rest}}\", upstream: u{at}"));
        }
        file.text()
    }

    /// Its `drain_timeout`, which no other file has.
    pub fn mark(&self) -> String {
        format!("{}ms", 1_000 + self.number)
    }

    /// A random faulty variant.
    pub fn broken(&self, servers: &[SocketAddr], dice: &mut Dice) -> String {
        let yaml = self.yaml(servers);
        match dice.below(8) {
            0 => String::new(),
            1 => yaml[..yaml.len() / 2].trim_end().to_owned() + "\n  - {",
            2 => yaml.replace("concurrency:", "concurency:"),
            3 => yaml.replace("anonymous: t", "anonymous: x"),
            4 => yaml.replace("priority: ", "priority: 7"),
            5 => yaml.replace("queue: {", "queue: { length: 0,"),
            6 => yaml.replace("name: listed-1,", "name: stored-0,"),
            _ => yaml.replace("/search, upstream: u", "/search, upstream: v"),
        }
    }

    /// How many searches the caller may have at once.
    pub fn concurrency(&self, kind: CallerKind) -> u64 {
        self.tiers[self.tier_of(kind)]
            .as_ref()
            .expect("every caller has a tier")
            .concurrency
    }

    /// Whether the proxy may refuse a search for this reason of its queue or limits, if the caller has sent so many so
    /// far. `all` clients search.
    pub fn may_refuse(&self, reason: &str, kind: CallerKind, sent: u64, all: u64) -> bool {
        match reason {
            "queue_full" | "displaced" => self.queue_length < all,
            "waited_too_long" => self.max_wait < 20_000,
            "rate_limited" => {
                matches!(self.limit, Some((20, true))) && !matches!(kind, CallerKind::Anonymous if sent <= 20)
            }
            _ => false,
        }
    }

    /// The caller's tier by this file.
    fn tier_of(&self, kind: CallerKind) -> usize {
        match kind {
            CallerKind::Listed(at) => self.tier_of[at],
            CallerKind::Stored if self.tiers[STORED].is_some() => STORED,
            CallerKind::Stored | CallerKind::Anonymous => self.anonymous,
        }
    }

    /// Whether the proxy may refuse for this reason of a tier, if the caller has so many clients, which have sent so
    /// many searches so far.
    pub fn may_refuse_by_tier(&self, reason: &str, kind: CallerKind, sent: u64, clients: u64) -> bool {
        let tier = self.tiers[self.tier_of(kind)].as_ref();
        let tier = tier.expect("every caller has a tier");
        match reason {
            "concurrency_exceeded" => clients > tier.concurrency,
            "quota_depleted" => tier.quota.is_some_and(|limit| sent > limit),
            "waited_too_long" => tier.max_wait,
            _ => false,
        }
    }

    /// The upstream that searches.
    pub fn searching(&self) -> usize {
        self.search
    }

    /// The upstream of the images, if there is one.
    pub fn images(&self) -> Option<usize> {
        self.images
    }

    /// Whether this server is one of the upstream's.
    pub fn has(&self, upstream: usize, server: usize) -> bool {
        let listed = self.upstreams[upstream].as_ref();
        listed.is_some_and(|listed| listed.iter().any(|(at, _)| *at == server))
    }

    /// The slots by upstream and server.
    pub fn slots(&self) -> impl Iterator<Item = (String, usize, u64)> {
        let listed = (self.upstreams.iter().enumerate()).filter_map(|(at, listed)| Some((at, listed.as_ref()?)));
        listed.flat_map(|(at, listed)| {
            listed
                .iter()
                .map(move |(server, slots)| (format!("u{at}"), *server, u64::from(*slots)))
        })
    }
}
