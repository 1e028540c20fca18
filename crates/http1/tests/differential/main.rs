//! Differential fuzzing against hyper: whatever is accepted here, hyper frames alike, and what hyper refuses of it is explained
//! by a rule with a name (`compare.rs`).
//!
//! `TIERGATE_SEED=7 TIERGATE_EXECUTIONS=100000 cargo test -p tiergate-http1 --test differential` replays or extends a run;
//! `long.sh` beside this file runs millions.

mod compare;
mod conversation;
mod engine;
#[path = "../support/forward.rs"]
mod forward;
mod generator;
mod hyper;

use std::collections::BTreeMap;

use compare::Explained;
use engine::Engine;
use generator::Random;
use hyper::Hyper;

/// How often, unless the environment says so: seconds in a build without optimisation.
const EXECUTIONS: u64 = 20_000;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

/// What a run has seen, so that a generator that produces only refusals is noticed.
#[derive(Debug, Default)]
struct Seen {
    messages: u64,
    complete: u64,
    with_body: u64,
    refused: BTreeMap<String, u64>,
    explained: BTreeMap<String, u64>,
}

impl Seen {
    fn note(&mut self, ours: &conversation::Conversation, explained: Option<Explained>) {
        self.messages += ours.messages.len() as u64;
        self.complete += ours.messages.iter().filter(|message| message.complete).count() as u64;
        self.with_body += ours.messages.iter().filter(|message| !message.body.is_empty()).count() as u64;
        if let conversation::End::Refused(why) = &ours.end {
            *self.refused.entry(why.clone()).or_default() += 1;
        }
        if let Some(rule) = explained {
            *self.explained.entry(format!("{rule:?}")).or_default() += 1;
        }
    }
}

fn run(what: &str, mut once: impl FnMut(&mut Random, &mut Seen) -> Result<(), String>) {
    let seed = number("TIERGATE_SEED", 1);
    let executions = number("TIERGATE_EXECUTIONS", EXECUTIONS);
    let mut seen = Seen::default();
    for execution in 0..executions {
        let mut random = Random::new(seed.wrapping_mul(1 << 32).wrapping_add(execution));
        if let Err(difference) = once(&mut random, &mut seen) {
            panic!("TIERGATE_SEED={seed}, {what} {execution}: {difference}");
        }
    }
    println!("TIERGATE_SEED={seed}: {executions} {what}, no unexplained difference; {seen:#?}");
    assert!(
        seen.complete > executions / 4,
        "too few messages are accepted: {seen:?}"
    );
    assert!(
        seen.refused.values().sum::<u64>() > executions / 5,
        "too few are refused: {seen:?}"
    );
}

#[test]
fn requests_are_framed_as_by_hyper() {
    let (hyper, mut engine) = (Hyper::default(), Engine::default());
    run("clients", |random, seen| {
        let input = generator::requests(random);
        let ours = engine.requests(&input, 1 + random.below(input.len() + 1));
        let explained = compare::requests(&input, &ours, &hyper.requests(&input))?;
        seen.note(&ours, explained);
        Ok(())
    });
}

#[test]
fn responses_are_framed_as_by_hyper() {
    let (hyper, mut engine) = (Hyper::default(), Engine::default());
    run("servers", |random, seen| {
        let input = generator::response(random);
        let method = ["GET", "GET", "POST", "HEAD", "CONNECT"][random.below(5)];
        let ours = engine.response(&input, 1 + random.below(input.len() + 1), method);
        let explained = compare::response(&input, &ours, &hyper.response(&input, method))?;
        seen.note(&ours, explained);
        Ok(())
    });
}

/// What a proxy sends on is what it understood: hyper reads the same requests from it, and not one more.
#[test]
fn what_is_sent_on_is_understood_alike() {
    let (hyper, mut engine) = (Hyper::default(), Engine::default());
    run("proxies", |random, seen| {
        let input = generator::requests(random);
        let (sent, _) = forward::forward_by(&input, 1 + random.below(input.len() + 1));
        let ours = engine.requests(&sent, sent.len());
        let accepted = engine.requests(&input, input.len());
        let hypers = hyper.requests(&sent);
        let explained = compare::requests(&sent, &ours, &hypers)?;
        compare::sent_on(&input, &accepted, &ours)?;
        seen.note(&accepted, explained);
        Ok(())
    });
}
