//! All measurements, and what they say together.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::contestant::Contestant;
use crate::machine::Machine;
use crate::scenario::{Metric, Row, Sample, Scenario, Show, value};

/// All measurements.
#[derive(Debug)]
pub struct Results {
    rounds: u32,
    samples: BTreeMap<(&'static str, Contestant, u32), Option<Sample>>,
}

/// The middle of a value over all rounds, and how far it spreads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The lowest.
    pub min: f64,
    /// The middle.
    pub median: f64,
    /// The highest.
    pub max: f64,
}

impl Spread {
    /// Of values that are numbers; `None` without any.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let half = values.len() / 2;
        let (&min, &max) = (values.first()?, values.last()?);
        let median = match values.len() % 2 {
            1 => values[half],
            _ => f64::midpoint(values[half - 1], values[half]),
        };
        Some(Self { min, median, max })
    }
}

impl Results {
    /// None yet.
    pub fn new(rounds: u32) -> Self {
        let samples = BTreeMap::new();
        Self { rounds, samples }
    }

    /// Adds a measurement, or that it failed.
    pub fn add(&mut self, scenario: &Scenario, contestant: Contestant, round: u32, sample: Option<Sample>) {
        self.samples.insert((scenario.name, contestant, round), sample);
    }

    /// How many rounds there are.
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Whether none has failed.
    pub fn is_complete(&self) -> bool {
        self.samples.values().all(Option::is_some)
    }

    /// A metric as it was measured.
    pub fn measured(&self, scenario: &Scenario, contestant: Contestant, metric: Metric) -> Option<Spread> {
        let rounds = 0..self.rounds;
        Spread::of(
            rounds
                .filter_map(|round| self.one(scenario, contestant, round, metric))
                .collect(),
        )
    }

    /// A metric as the row shows it: compared in each round.
    pub fn shown(&self, scenario: &Scenario, contestant: Contestant, row: &Row) -> Option<Spread> {
        let other = match row.show {
            Show::Plain => return self.measured(scenario, contestant, row.metric),
            Show::Ratio => Contestant::HaProxy,
            Show::Added => Contestant::Direct,
        };
        let compared = |round| {
            let own = self.one(scenario, contestant, round, row.metric)?;
            let other = self.one(scenario, other, round, row.metric)?;
            Some(match row.show {
                Show::Ratio => own / other,
                _ => own - other,
            })
        };
        Spread::of((0..self.rounds).filter_map(compared).collect())
    }

    fn one(&self, scenario: &Scenario, contestant: Contestant, round: u32, metric: Metric) -> Option<f64> {
        let sample = self.samples.get(&(scenario.name, contestant, round))?;
        value(sample.as_ref()?, metric)
    }

    /// Everything, for programs.
    pub fn to_json(&self, scenarios: &[&Scenario], machine: &Machine, window: Duration) -> Value {
        let samples = self.samples.iter().map(|((scenario, contestant, round), sample)| {
            let metrics = sample.iter().flatten().map(|(metric, value)| (metric.name(), *value));
            let metrics: BTreeMap<&str, f64> = metrics.collect();
            json!({
                "scenario": scenario, "contestant": contestant.name(), "round": round + 1,
                "failed": sample.is_none(), "metrics": metrics,
            })
        });
        let mut rows = Vec::new();
        for scenario in scenarios {
            for row in scenario.rows {
                rows.push(json!({
                    "scenario": scenario.name, "title": row.title, "metric": row.metric.name(), "goal": row.goal,
                    "shown": row.show.name(),
                    "values": self.row_json(scenario, row),
                }));
            }
        }
        json!({
            "machine": machine.to_json(), "rounds": self.rounds, "seconds": window.as_secs_f64(),
            "samples": samples.collect::<Vec<_>>(), "rows": rows,
        })
    }

    fn row_json(&self, scenario: &Scenario, row: &Row) -> BTreeMap<&'static str, Value> {
        let spreads = scenario.contestants.iter().filter_map(|contestant| {
            let Spread { min, median, max } = self.shown(scenario, *contestant, row)?;
            Some((contestant.name(), json!({ "min": min, "median": median, "max": max })))
        });
        spreads.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::SCENARIOS;

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        let spread = |values: &[f64]| Spread::of(values.to_vec());
        let (min, median, max) = (1.0, 2.5, 9.0);
        assert_eq!(spread(&[9.0, 2.0, 1.0, 3.0]), Some(Spread { min, median, max }));
        assert_eq!(spread(&[]), None);
    }

    /// Rounds differ tenfold, and the ratio is the same in each.
    #[test]
    fn ratios_are_taken_within_a_round() {
        let scenario = &SCENARIOS[0];
        let mut results = Results::new(2);
        for (round, scale) in [(0, 1.0), (1, 10.0)] {
            let sample = |value| Some(vec![(Metric::PerRequest, value)]);
            results.add(scenario, Contestant::HaProxy, round, sample(10.0 * scale));
            results.add(scenario, Contestant::Strict, round, sample(15.0 * scale));
        }
        let shown = results.shown(scenario, Contestant::Strict, &scenario.rows[0]);
        let (min, median, max) = (1.5, 1.5, 1.5);
        assert_eq!(shown, Some(Spread { min, median, max }));
        assert!(results.is_complete());
        results.add(scenario, Contestant::Nginx, 0, None);
        assert!(!results.is_complete());
    }
}
