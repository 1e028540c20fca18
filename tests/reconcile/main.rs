//! The access log, `/metrics`, the pages, the commands and the database tell the same numbers after mixed load.
//!
//! ```text
//! cargo test --test reconcile                                           some seconds of load
//! TIERGATE_SEED=7 cargo test --test reconcile -- --nocapture            other requests, other moments
//! tests/reconcile/run --seconds 3600                                    an hour, in rounds of a minute
//! ```
//!
//! The real program serves callers that do all that callers do ([`clients`]), by upstream servers that fail at times ([`servers`]),
//! while an operator acts ([`operator`]). Each request has an id of its own, by which three witnesses meet: its client, its line in
//! the access log, and the upstream server ([`witness`]). What they say of single requests is added up ([`model`]); everything that
//! only counts must tell the same sums ([`sources`], [`agree`], [`moment`], [`stored`]). Where two numbers may differ, a comment names the rule.

#[path = "../support/mod.rs"]
mod support;

mod agree;
mod clients;
mod model;
mod moment;
mod operator;
mod rig;
mod servers;
mod sources;
mod stored;
mod witness;

use std::time::Duration;

use support::dice::{Dice, number};

/// How long one round of load lasts at most.
const ROUND: Duration = Duration::from_secs(60);
/// Rounds at least: the second one begins with counters that are not 0, and with another file of the access log.
const ROUNDS_MIN: u32 = 2;

/// Waits in real time: the program under test runs in it.
#[allow(clippy::disallowed_methods, reason = "the program under test runs in real time")]
async fn let_pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test]
async fn all_sources_tell_the_same_numbers() {
    let (dice, seed) = Dice::of_environment();
    let seconds = number("TIERGATE_SECONDS").unwrap_or(10);
    println!("TIERGATE_SEED={seed}, {seconds} s of load");
    let load = Duration::from_secs(seconds);
    let rounds = (load.div_duration_f64(ROUND).ceil() as u32).max(ROUNDS_MIN);
    let mut rig = rig::Rig::start(dice).await;
    for round in 1..=rounds {
        rig.round(round, load / rounds).await;
        agree::while_it_runs(&mut rig).await;
    }
    moment::all_pages_show_the_same_moment(&mut rig).await;
    agree::while_it_runs(&mut rig).await;
    rig.assert_everything_happened();
    moment::shut_down_under_load(&mut rig).await;
    stored::while_it_is_stopped(&mut rig).await;
    rig.start_again().await;
    stored::after_a_restart(&mut rig).await;
}
