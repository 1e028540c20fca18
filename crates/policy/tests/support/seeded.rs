//! Property tests whose seed is printed, and replays a run.
//!
//! It depends on proptest alone: other packages' tests include it by its path.

#![allow(dead_code, reason = "each test program uses its part")]

use std::io::Write;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const SEED: u64 = 1;

/// A runner of so many cases unless more or fewer are asked for, the seed that replays it, and whether they were asked for.
pub fn runner(cases: u32) -> (TestRunner, u64, Option<u32>) {
    let seed = from_env("TIERGATE_SEED").unwrap_or(SEED);
    let asked = from_env("PROPTEST_CASES").map(|cases| u32::try_from(cases).expect("a number of histories"));
    let config = Config {
        cases: asked.unwrap_or(cases),
        failure_persistence: None, // the seed is what replays a run
        ..Config::default()
    };
    (TestRunner::new_with_rng(config, rng(seed)), seed, asked)
}

/// ChaCha would take longer to draw a history, unoptimised, than it takes to play it.
fn rng(seed: u64) -> TestRng {
    // 2^64/φ: xorshift tells similar seeds apart only after a while.
    let spread = |seed: u64| seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
    let bytes = [spread(seed), spread(!seed)].concat();
    TestRng::from_seed(RngAlgorithm::XorShift, &bytes)
}

/// Past the capture of the test's output, so that the seed is seen in every run.
pub fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("stderr is open");
}

fn from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}
