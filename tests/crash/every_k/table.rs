//! The histories as a table in Markdown.

use std::collections::BTreeMap;

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

/// The table, in Markdown: histories that showed the same share a line.
pub fn print(results: &BTreeMap<(String, usize, u64), Seen>) {
    let mut lines: BTreeMap<(&str, usize, &Seen), Vec<u64>> = BTreeMap::new();
    for ((operation, way, number), seen) in results {
        lines.entry((operation, *way, seen)).or_default().push(*number);
    }
    println!("| operation | k | fault | file | start | searches | account add | stop | log | after a restart |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by_key(|((operation, way, _), numbers)| (operation.to_owned(), *way, numbers[0]));
    for ((operation, way, seen), numbers) in lines {
        println!("| {operation} | {} | {} | {seen} |", ranges(&numbers), WAYS[way].name);
    }
}
