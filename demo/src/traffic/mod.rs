//! Simulated clients: sponsors of every tier and strangers, who search all the time and want more than the slots can serve.
//!
//! - `plan`: how much each tier sends, and from how many accounts
//! - `addresses`: where from, since requests are limited by address
//! - `client`: one search; `tally`: what became of them
//!
//! All upload real, cropped copies of indexed images, so that the first match can be checked. Searches arrive at random, as from
//! people who know nothing of one another. How many depends on how long searches take on this machine.

mod addresses;
mod client;
mod plan;
mod tally;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval_at, sleep};
use tokio_util::sync::CancellationToken;

pub use self::addresses::{STRANGERS, Source, Sources};
pub use self::plan::{Room, SEARCHES_PER_S_MAX, Senders, TierPlan, TrafficPlan};
pub use self::tally::{Counts, Tally};
use crate::index::{Index, cropped_copy, decode};
use crate::scenes::Dice;

/// Different images that the clients upload.
const UPLOADS: usize = 48;
/// Strangers come in waves of this length, by half of their mean more and less.
const WAVE: Duration = Duration::from_secs(60);
/// The weight of one search in the mean time that searches take.
const SMOOTHING: f64 = 0.05;
/// Lines between two heads of the columns.
const HEAD_EVERY: u64 = 20;

/// tiergate's addresses.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// The public listener.
    pub public: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The operator's token.
    pub token: String,
}

/// An image to search with, and what it is a copy of.
#[derive(Clone, Debug)]
pub struct SampleUpload {
    /// The file name of the original.
    pub original: String,
    /// The upload.
    pub bytes: Bytes,
}

/// Copies of indexed images, each cropped by up to 5 % and compressed again. Takes a second or so.
pub fn uploads(index: &Index) -> Vec<SampleUpload> {
    let mut dice = Dice::new(0, u64::MAX);
    let mut upload = || {
        let picture = &index.pictures()[dice.below(index.pictures().len())];
        let image = decode(&picture.bytes().ok()?).ok()?; // a file may have gone since it was indexed
        let bytes = cropped_copy(&image, dice.between(0.0, 0.05), 60).into();
        Some(SampleUpload {
            original: picture.name.clone(),
            bytes,
        })
    };
    (0..UPLOADS).filter_map(|_| upload()).collect()
}

/// All clients.
#[derive(Debug)]
pub struct Crowd {
    endpoints: Endpoints,
    plan: TrafficPlan,
    senders: Vec<Senders>,
    uploads: Vec<SampleUpload>,
    began: Instant,
    stop: CancellationToken,
    /// One for each tier of the plan.
    tallies: Mutex<Vec<Tally>>,
    /// How long searches take, in seconds.
    search_s: Mutex<f64>,
}

impl Crowd {
    /// Clients that stop at `stop`. `senders` are those of the plan's tiers, in their order.
    pub fn new(
        endpoints: Endpoints,
        plan: TrafficPlan,
        senders: Vec<Senders>,
        uploads: Vec<SampleUpload>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            endpoints,
            tallies: Mutex::new(plan.tiers.iter().map(|tier| Tally::new(&tier.name)).collect()),
            search_s: Mutex::new(plan.search_time.as_secs_f64()),
            plan,
            senders,
            uploads,
            began: Instant::now(),
            stop,
        })
    }

    /// What became of the searches so far, by tier.
    pub fn tallies(&self) -> Vec<Tally> {
        self.tallies.lock().clone()
    }

    /// The same as a table.
    pub fn summary(&self) -> String {
        tally::summary(&self.tallies.lock())
    }

    /// Searches per second that a tier sends now.
    fn rate(&self, tier: usize) -> f64 {
        let capacity = f64::from(self.plan.slots) / *self.search_s.lock();
        let turn = self.began.elapsed().as_secs_f64() / WAVE.as_secs_f64();
        let wave = if self.senders[tier].keys.is_empty() {
            1.0 + 0.5 * (turn * std::f64::consts::TAU).sin()
        } else {
            1.0
        };
        self.plan.tiers[tier].share * capacity * wave
    }

    /// The sender of a tier's search of that number.
    fn sender(&self, tier: usize, number: u64) -> (Source, Option<&str>) {
        let senders = &self.senders[tier];
        if senders.keys.is_empty() {
            return (senders.sources.stranger(number), None);
        }
        let turn = usize::try_from(number % senders.keys.len() as u64).expect("less than their number");
        (senders.sources.sponsor(senders.first + turn), Some(&senders.keys[turn]))
    }

    /// One search, from its arrival to its answer.
    async fn search(self: Arc<Self>, tier: usize, number: u64, upload: usize) {
        let (source, key) = self.sender(tier, number);
        let upload = &self.uploads[upload];
        self.tallies.lock()[tier].in_flight += 1;
        let began = Instant::now();
        let answer = client::search(self.endpoints.public, source, key, upload.bytes.clone())
            .await
            .ok();
        if let Some(took) = answer.as_ref().and_then(|answer| answer.upstream) {
            let mut search_s = self.search_s.lock();
            *search_s += SMOOTHING * (took.max(self.plan.search_time).as_secs_f64() - *search_s);
        }
        let tally = &mut self.tallies.lock()[tier];
        tally.in_flight -= 1;
        tally.note(answer.as_ref(), &upload.original, began.elapsed());
    }
}

/// Sends searches of all tiers until the crowd is stopped, then waits for the answers that are still to come.
pub async fn run(crowd: &Arc<Crowd>) {
    let mut tiers = JoinSet::new();
    for tier in 0..crowd.plan.tiers.len() {
        tiers.spawn(arrivals(Arc::clone(crowd), tier));
    }
    while tiers.join_next().await.is_some() {}
}

async fn arrivals(crowd: Arc<Crowd>, tier: usize) {
    let mut dice = Dice::new(1, tier as u64);
    let mut searches = JoinSet::new();
    for number in 0.. {
        // Exponential pauses: searches come independently of one another.
        let pause = -(1.0 - f64::from(dice.between(0.0, 1.0))).ln() / crowd.rate(tier);
        let pause = sleep(Duration::from_secs_f64(pause.min(WAVE.as_secs_f64())));
        if crowd.stop.run_until_cancelled(pause).await.is_none() || crowd.uploads.is_empty() {
            break;
        }
        while searches.try_join_next().is_some() {}
        if searches.len() < crowd.plan.tiers[tier].in_flight_max {
            let upload = dice.below(crowd.uploads.len());
            searches.spawn(Arc::clone(&crowd).search(tier, number, upload));
        }
    }
    while searches.join_next().await.is_some() {}
}

/// Prints a line a second until the crowd is stopped.
pub async fn report(crowd: &Crowd) {
    let second = Duration::from_secs(1);
    let mut ticks = interval_at(Instant::now() + second, second);
    for line in 0.. {
        if crowd.stop.run_until_cancelled(ticks.tick()).await.is_none() {
            return;
        }
        match client::queue_state(&crowd.endpoints).await {
            Ok(queue) => {
                let mut tallies = crowd.tallies.lock();
                if line % HEAD_EVERY == 0 {
                    println!("{}", tally::head(&tallies, &queue));
                }
                println!("{}", tally::line(&mut tallies, &queue, line + 1));
            }
            Err(error) => println!("tiergate's admin listener doesn't answer: {error}"),
        }
    }
}
