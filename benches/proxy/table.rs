//! The table, and its place in docs/performance.md.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::contestant::Contestant;
use crate::machine::Machine;
use crate::results::{Results, Spread};
use crate::scenario::{Row, Scenario, Show};

const FILE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- the proxy benchmark: begin -->";
const END: &str = "<!-- the proxy benchmark: end -->";

/// The table's columns: all but what latencies are compared with.
fn columns() -> impl Iterator<Item = Contestant> {
    Contestant::ALL
        .into_iter()
        .filter(|contestant| *contestant != Contestant::Direct)
}

/// The table in Markdown.
pub fn render(scenarios: &[&Scenario], results: &Results) -> String {
    let names: Vec<&str> = columns().map(Contestant::name).collect();
    let mut table = format!(
        "| | {} | goal |\n|---|{}---|\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for scenario in scenarios {
        for row in scenario.rows {
            let cells: Vec<String> = columns()
                .map(|contestant| cell(scenario, contestant, row, results))
                .collect();
            // A String can be written to.
            let _ = writeln!(table, "| {} | {} | {} |", row.title, cells.join(" | "), row.goal);
        }
    }
    table
}

fn cell(scenario: &Scenario, contestant: Contestant, row: &Row, results: &Results) -> String {
    if !scenario.contestants.contains(&contestant) {
        return String::new();
    }
    let is_yardstick = row.show == Show::Ratio && contestant == Contestant::HaProxy;
    let spread = match is_yardstick {
        true => results.measured(scenario, contestant, row.metric),
        false => results.shown(scenario, contestant, row),
    };
    let Some(spread) = spread else {
        return "failed".to_owned();
    };
    let unit = row.metric.unit();
    match row.show {
        Show::Ratio if !is_yardstick => numbers(spread, 2, ""),
        Show::Added => format!("+{}", numbers(spread, 1, &format!(" {unit}"))),
        _ => numbers(spread, if spread.median < 100.0 { 1 } else { 0 }, &format!(" {unit}")),
    }
}

/// `1.39 (1.36–1.42)`; the median alone if the others look alike.
fn numbers(spread: Spread, digits: usize, unit: &str) -> String {
    let number = |value: f64| format!("{value:.digits$}");
    let (min, median, max) = (number(spread.min), number(spread.median), number(spread.max));
    match min == max {
        true => format!("{median}{unit}"),
        false => format!("{median}{unit} ({min}–{max})"),
    }
}

/// Puts the table into docs/performance.md, between its marks. The working folder is the repository's.
pub fn write(scenarios: &[&Scenario], results: &Results, machine: &Machine, window: Duration) -> Result<()> {
    let file = Path::new(FILE);
    let text = fs::read_to_string(file)?;
    let rounds = results.rounds();
    let seconds = window.as_secs_f64();
    let measured = format!(
        "Measured in {rounds} rounds of {seconds} s each, on {machine}.\n\n{}",
        render(scenarios, results)
    );
    fs::write(file, placed(&text, &measured)?)?;
    eprintln!("wrote the table into {FILE}");
    Ok(())
}

fn placed(text: &str, table: &str) -> Result<String> {
    let missing = || format!("{FILE} has no {BEGIN} and {END}");
    let (before, rest) = text.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    Ok(format!("{before}{BEGIN}\n{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Metric, SCENARIOS};

    #[test]
    fn haproxy_is_shown_as_measured_and_others_as_ratios() {
        let scenario = SCENARIOS
            .iter()
            .find(|scenario| scenario.name == "queueing")
            .expect("it is there");
        let mut results = Results::new(3);
        for (round, value) in [(0, 11.0), (1, 12.0), (2, 14.0)] {
            let sample = |value| Some(vec![(Metric::PerRequest, value)]);
            results.add(scenario, Contestant::HaProxy, round, sample(10.0));
            results.add(scenario, Contestant::Strict, round, sample(value));
        }
        let table = render(&[scenario], &results);
        let row = table.lines().last().expect("a row");
        assert!(row.contains("| 10.0 µs | failed |  |"), "{row}");
        assert!(row.contains("| 1.20 (1.10–1.40) |"), "{row}");
    }

    #[test]
    fn the_table_replaces_what_is_between_the_marks() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let placed_once = placed(&text, "new\n").expect("it has marks");
        assert_eq!(placed_once, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert!(placed("no marks", "new\n").is_err());
    }

    #[test]
    fn the_document_has_a_place_for_the_table() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(FILE);
        let text = fs::read_to_string(file).expect("the document is there");
        assert!(placed(&text, "").is_ok());
    }
}
