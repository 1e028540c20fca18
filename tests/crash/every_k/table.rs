//! The histories as tables in Markdown, one for each operation.

use std::collections::{BTreeMap, BTreeSet};

use super::{Seen, WAYS};

/// The numbers, those that follow each other as a range.
fn ranges(numbers: &[u64]) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let text = |(first, last): &(u64, u64)| match first == last {
        true => first.to_string(),
        false => format!("{first} to {last}"),
    };
    ranges.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Histories that showed the same.
#[derive(Debug, Default)]
struct Line<'r> {
    /// By each way to fail: at which numbers.
    ways: BTreeMap<usize, Vec<u64>>,
    files: BTreeSet<&'r str>,
}

/// The tables, in Markdown: histories that showed the same share a line, and so do ways to fail that showed it at the same numbers.
pub fn print(results: &BTreeMap<(String, usize, u64), Seen>) {
    let mut operations: BTreeMap<&str, BTreeMap<String, Line<'_>>> = BTreeMap::new();
    for ((operation, way, number), seen) in results {
        let line = operations
            .entry(operation)
            .or_default()
            .entry(seen.to_string())
            .or_default();
        line.ways.entry(*way).or_default().push(*number);
        line.files.insert(&seen.file);
    }
    for (operation, lines) in operations {
        println!("\n## {operation}\n");
        println!("| k | fault | file | start | searches | account add | stop | log | after a restart |");
        println!("|---|---|---|---|---|---|---|---|---|");
        let mut rows = Vec::new();
        for (shown, line) in &lines {
            let mut by_numbers: BTreeMap<&Vec<u64>, Vec<usize>> = BTreeMap::new();
            for (way, numbers) in &line.ways {
                by_numbers.entry(numbers).or_default().push(*way);
            }
            let files = line.files.iter().copied().collect::<Vec<_>>().join(", ");
            rows.extend(by_numbers.into_iter().map(|(numbers, ways)| {
                let names = ways.iter().map(|way| WAYS[*way].name).collect::<Vec<_>>().join("; ");
                let row = format!("| {} | {names} | {files} | {shown} |", ranges(numbers));
                (numbers[0], ways[0], row)
            }));
        }
        rows.sort();
        rows.iter().for_each(|(_, _, row)| println!("{row}"));
    }
}
