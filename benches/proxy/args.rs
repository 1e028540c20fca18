//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

/// Measure tiergate side by side with HAProxy, nginx and a bare relay
///
/// Each round measures every contestant of a scenario once, each in a process of its own that is started for it. The proxy has one
/// core; load and upstream server have another. Ratios are to HAProxy without tiergate's headers, in the same round.
#[derive(Debug, Parser)]
#[command(name = "benches/proxy/run")]
pub struct Args {
    /// Measure only scenarios whose name begins with this; may be repeated
    #[arg(long, value_name = "SCENARIO")]
    pub only: Vec<String>,
    /// Rounds [default: 5; 1 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: Option<u32>,
    /// Seconds for each measurement [default: 3; 0.3 with --quick]
    #[arg(long, value_name = "S")]
    seconds: Option<f64>,
    /// One short round, with a tenth of the accounts, addresses and connections: shows that everything works, measures nothing
    #[arg(long)]
    pub quick: bool,
    /// Print JSON with every measurement
    #[arg(long)]
    pub json: bool,
    /// Write the table into docs/performance.md
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    pub write: bool,
    /// List the scenarios
    #[arg(long)]
    pub list: bool,
    /// The cores of the proxy and of load and upstream server
    #[arg(
        long,
        value_name = "PROXY,LOAD",
        value_delimiter = ',',
        num_args = 1,
        default_value = "1,0"
    )]
    pub cores: Vec<usize>,
    /// The tiergate to measure; by default the one beside this program
    #[arg(long, value_name = "FILE")]
    pub tiergate: Option<PathBuf>,
}

impl Args {
    /// How many rounds.
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 5 })
    }

    /// How long a measurement lasts.
    pub fn window(&self) -> Duration {
        let seconds = self.seconds.unwrap_or(if self.quick { 0.3 } else { 3.0 });
        Duration::from_secs_f64(seconds.clamp(0.05, 600.0))
    }

    /// What numbers of accounts, addresses and connections are divided by.
    pub fn divisor(&self) -> u32 {
        if self.quick { 10 } else { 1 }
    }
}
