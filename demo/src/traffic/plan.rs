//! How many searches each tier sends, and from how many accounts, so that the queue is full and nobody runs out of quota.

use std::time::Duration;

use super::addresses::Sources;
use crate::proxy::{Sponsor, TierInfo};

/// Searches per second of all slots together, at most. With more slots, searches take longer instead.
pub const SEARCHES_PER_S_MAX: f64 = 40.0;
/// What the tiers of the highest priority send, as a share of what the slots can serve. Little enough that they are always served.
const HIGHEST_SHARE: f64 = 0.25;
/// What the tiers between the highest and the anonymous one send.
const BETWEEN_SHARE: f64 = 0.6;
/// What all tiers send. More than the slots can serve, so that somebody has to go.
const ALL_SHARE: f64 = 1.6;
/// Searches of the highest priority without an answer, as a share of the queue's places, at most. So it never fills the queue by
/// itself, however slow the machine is.
const HIGHEST_IN_FLIGHT_SHARE: f64 = 0.5;
/// Searches of any other tier without an answer, at most.
const IN_FLIGHT_MAX: usize = 256;
/// Accounts of a tier: enough that the bounds of one, such as displacements per minute, aren't met.
const ACCOUNTS_MIN: usize = 24;
/// Accounts of a tier, at most. Where quotas would need more, they run dry.
const ACCOUNTS_MAX: usize = 2000;
/// Accounts beyond those that use up their quotas exactly.
const ACCOUNTS_MARGIN: f64 = 1.2;

/// The load of the demo.
#[derive(Clone, Debug)]
pub struct TrafficPlan {
    /// The least time that a search takes, so that one can watch the queue.
    pub search_time: Duration,
    /// Slots of the search service.
    pub slots: u32,
    /// What each tier sends.
    pub tiers: Vec<TierPlan>,
}

/// The load of one tier.
#[derive(Clone, Debug)]
pub struct TierPlan {
    /// Its name.
    pub name: String,
    /// Searches that it sends, as a share of what the slots can serve.
    pub share: f64,
    /// Accounts that take turns. 0: strangers, who each come from another address.
    pub accounts: usize,
    /// Searches without an answer, at most. More are not begun.
    pub in_flight_max: usize,
}

/// What there is to serve searches.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Slots of the search service.
    pub slots: u32,
    /// Places of the queue.
    pub places: u32,
}

impl TrafficPlan {
    /// The load for those tiers, in their order. Searches take `search_time`, or longer if the slots are many.
    pub fn new(tiers: &[TierInfo], room: Room, search_time: Duration) -> Self {
        let Room { slots, places } = room;
        let search_time = search_time.max(Duration::from_secs_f64(f64::from(slots) / SEARCHES_PER_S_MAX));
        let most = f64::from(slots) / search_time.as_secs_f64();
        let highest = highest(tiers);
        let of_highest = tiers.iter().filter(|tier| is_of(tier, highest)).count().max(1);
        let few = (f64::from(places) * HIGHEST_IN_FLIGHT_SHARE / of_highest as f64) as usize;
        let plan = |(tier, share): (&TierInfo, f64)| TierPlan {
            name: tier.name.clone(),
            share,
            in_flight_max: if is_of(tier, highest) {
                few.max(1)
            } else {
                IN_FLIGHT_MAX
            },
            accounts: if tier.is_anonymous {
                0
            } else {
                accounts(tier, share * most)
            },
        };
        Self {
            search_time,
            slots,
            tiers: tiers.iter().zip(shares(tiers)).map(plan).collect(),
        }
    }
}

/// The highest priority of those with a key.
fn highest(tiers: &[TierInfo]) -> Option<u8> {
    let paying = tiers.iter().filter(|tier| !tier.is_anonymous);
    paying.map(|tier| tier.priority).max()
}

fn is_of(tier: &TierInfo, highest: Option<u8>) -> bool {
    !tier.is_anonymous && Some(tier.priority) == highest
}

/// What each of the tiers sends. Strangers send what the others leave.
fn shares(tiers: &[TierInfo]) -> Vec<f64> {
    let highest = highest(tiers);
    let highest_tiers = tiers.iter().filter(|tier| is_of(tier, highest)).count();
    let between_tiers = tiers.iter().filter(|tier| !tier.is_anonymous).count() - highest_tiers;
    let share = |tier: &TierInfo| match () {
        () if tier.is_anonymous => 0.0,
        () if is_of(tier, highest) => HIGHEST_SHARE / highest_tiers as f64,
        () => BETWEEN_SHARE / between_tiers as f64,
    };
    let shares = tiers.iter().map(share);
    let left = ALL_SHARE - shares.clone().sum::<f64>();
    tiers
        .iter()
        .zip(shares)
        .map(|(tier, share)| if tier.is_anonymous { left } else { share })
        .collect()
}

/// The accounts that together may send so many searches per second for ever.
fn accounts(tier: &TierInfo, searches_per_s: f64) -> usize {
    let needed = match tier.searches_per_s {
        Some(each) if each > 0.0 => searches_per_s / each * ACCOUNTS_MARGIN,
        Some(_) => f64::INFINITY,
        None => 0.0,
    };
    // `as` saturates: infinity becomes the most.
    (needed.ceil() as usize).clamp(ACCOUNTS_MIN, ACCOUNTS_MAX)
}

/// Who sends a tier's searches.
#[derive(Debug)]
pub struct Senders {
    pub(super) sources: Sources,
    /// The number of its first account among all, for its address.
    pub(super) first: usize,
    /// Keys of its accounts, which take turns; none: strangers.
    pub(super) keys: Vec<String>,
}

impl Senders {
    /// Those of each tier of the plan, in its order, from the sponsors that were made for it.
    pub fn of(plan: &TrafficPlan, sponsors: &[Sponsor], sources: Sources) -> Vec<Self> {
        let of_tier = |tier: &TierPlan| {
            let own = || {
                sponsors
                    .iter()
                    .enumerate()
                    .filter(|(_, sponsor)| sponsor.tier == tier.name)
            };
            Self {
                sources,
                first: own().next().map_or(0, |(first, _)| first),
                keys: own().map(|(_, sponsor)| sponsor.key.clone()).collect(),
            }
        };
        plan.tiers.iter().map(of_tier).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { slots: 2, places: 8 };

    fn tier(name: &str, priority: u8, daily: Option<f64>) -> TierInfo {
        TierInfo {
            name: name.to_owned(),
            priority,
            is_anonymous: name == "free",
            searches_per_s: daily.map(|daily| daily / 86_400.0),
        }
    }

    /// The shipped tiers: 2 slots of 400 ms are 5 searches a second.
    fn shipped() -> TrafficPlan {
        let quotas = [
            ("free", 0, 100.0),
            ("$1", 2, 100.0),
            ("$5", 2, 500.0),
            ("$10", 5, 1000.0),
            ("$20", 5, 2000.0),
            ("$50", 5, 5000.0),
            ("$100", 6, 10_000.0),
        ];
        let tiers: Vec<_> = quotas
            .map(|(name, priority, daily)| tier(name, priority, Some(daily)))
            .into();
        TrafficPlan::new(&tiers, ROOM, Duration::from_millis(400))
    }

    #[test]
    fn the_slots_are_asked_for_more_than_they_can_serve() {
        let sum = |plan: &TrafficPlan| plan.tiers.iter().map(|tier| tier.share).sum::<f64>();
        assert!((sum(&shipped()) - ALL_SHARE).abs() < 1e-9);
        for few in [
            vec![tier("free", 0, None)],
            vec![tier("free", 0, None), tier("gold", 3, None)],
        ] {
            let plan = TrafficPlan::new(&few, ROOM, Duration::from_millis(400));
            assert!((sum(&plan) - ALL_SHARE).abs() < 1e-9);
        }
        // All sponsors could be served if strangers stayed away.
        let paying = shipped().tiers[1..].iter().map(|tier| tier.share).sum::<f64>();
        assert!(paying < 0.9, "{paying}");
    }

    #[test]
    fn no_quota_runs_dry_within_a_day() {
        let plan = shipped();
        let daily = [100.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0];
        for (tier, daily) in plan.tiers[1..].iter().zip(daily) {
            let used = tier.share * 5.0 * 86_400.0 / tier.accounts as f64;
            assert!(
                used < daily,
                "{}: {used} of {daily}, {} accounts",
                tier.name,
                tier.accounts
            );
        }
    }

    #[test]
    fn the_highest_priority_never_fills_the_queue() {
        assert_eq!(shipped().tiers.last().unwrap().in_flight_max, 4);
        let none = Room { places: 0, ..ROOM };
        let plan = TrafficPlan::new(&[tier("gold", 3, None)], none, Duration::from_secs(1));
        assert_eq!(plan.tiers[0].in_flight_max, 1);
    }

    #[test]
    fn accounts_are_bounded() {
        let plan = TrafficPlan::new(
            &[tier("none", 1, Some(0.0)), tier("all", 2, None)],
            ROOM,
            Duration::from_secs(1),
        );
        assert_eq!(plan.tiers[0].accounts, ACCOUNTS_MAX);
        assert_eq!(plan.tiers[1].accounts, ACCOUNTS_MIN);
    }

    #[test]
    fn many_slots_make_searches_slower() {
        let plan = TrafficPlan::new(
            &[tier("free", 0, None)],
            Room { slots: 80, ..ROOM },
            Duration::from_millis(400),
        );
        assert_eq!(plan.search_time, Duration::from_secs(2));
    }
}
