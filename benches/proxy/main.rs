//! Measures tiergate side by side with HAProxy, nginx and a bare relay: `benches/proxy/run`. docs/performance.md says what the table
//! means.
//!
//! ```text
//! main ─► scenario (what is measured) ─► contestant (a process) ◄── load (clients)
//!   │                                         └──► backend (the upstream server)
//!   └──► results ─► table
//! ```
//!
//! Clients and upstream server are tasks of this process, on one core; each proxy is a process on another. Everything is on loopback.

#![allow(clippy::disallowed_methods, reason = "a bench measures time, and its load is timed")]

mod args;
mod backend;
mod callers;
mod contestant;
mod lab;
mod load;
mod machine;
mod pattern;
mod process;
mod progress;
mod results;
mod scenario;
mod setup;
mod table;

use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;

use args::Args;
use lab::Lab;
use machine::Machine;
use progress::Progress;
use results::Results;
use scenario::{SCENARIOS, Scenario, measure};

/// An error is told to whoever runs this, and handled by nobody.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime
        .map_err(Into::into)
        .and_then(|runtime| LocalSet::new().block_on(&runtime, until_stopped(&args)));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Dropped by a signal, it ends what it has started.
async fn until_stopped(args: &Args) -> Result<bool> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        done = run(args) => done,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("terminated".into()),
    }
}

/// Returns whether every measurement succeeded.
async fn run(args: &Args) -> Result<bool> {
    let scenarios = chosen(&args.only)?;
    if args.list {
        for scenario in scenarios {
            println!("{}", scenario.name);
        }
        return Ok(true);
    }
    let lab = Lab::open(args).await?;
    let machine = Machine::look(&lab.tiergate)?;
    eprintln!("{machine}");
    let mut results = Results::new(args.rounds());
    let count: usize = scenarios.iter().map(|scenario| scenario.contestants.len()).sum();
    let mut progress = Progress::of(count * args.rounds() as usize);
    for scenario in &scenarios {
        for round in 0..args.rounds() {
            for contestant in rotated(scenario, round) {
                let sample = measure(scenario, contestant, &lab, args.window(), args.divisor()).await;
                progress.done(scenario, contestant, round, &sample);
                results.add(scenario, contestant, round, sample.ok());
            }
        }
    }
    if args.json {
        println!("{}", results.to_json(&scenarios, &machine, args.window()));
    } else {
        println!("{}", table::render(&scenarios, &results));
    }
    let complete = results.is_complete();
    if args.write {
        match complete {
            true => table::write(&scenarios, &results, &machine, args.window())?,
            false => return Err("not written: a measurement failed".into()),
        }
    }
    Ok(complete)
}

fn chosen(only: &[String]) -> Result<Vec<&'static Scenario>> {
    for name in only {
        if !SCENARIOS.iter().any(|scenario| scenario.name.starts_with(name)) {
            return Err(format!("no scenario begins with {name}; --list lists them").into());
        }
    }
    let is_chosen = |scenario: &&Scenario| only.is_empty() || only.iter().any(|name| scenario.name.starts_with(name));
    Ok(SCENARIOS.iter().filter(is_chosen).collect())
}

/// Another one begins each round, so that none always follows the same.
fn rotated(scenario: &Scenario, round: u32) -> Vec<contestant::Contestant> {
    let mut contestants = scenario.contestants.to_vec();
    let first = round as usize % contestants.len();
    contestants.rotate_left(first);
    contestants
}
