//! Lists for people: columns as wide as what stands in them.
//!
//! Absent on purpose: colours, and cutting: what is too wide for a terminal is for `--json`.

use std::io::{self, Write};

use serde_json::Value;

/// Writes the rows under their heads, aligned, without trailing spaces.
pub fn write<const N: usize>(out: &mut impl Write, heads: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let heads = heads.map(str::to_owned);
    let rows: Vec<&[String]> = std::iter::once(&heads)
        .chain(rows)
        .map(<[String; N]>::as_slice)
        .collect();
    let widths = widths(&rows);
    for row in rows {
        writeln!(out, "{}", aligned(row, &widths, "  ").trim_end())?;
    }
    Ok(())
}

/// How wide each column is, in characters.
pub fn widths(rows: &[&[String]]) -> Vec<usize> {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(*row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    widths
}

/// The cells of a row, each as wide as its column, with that between them.
pub fn aligned(row: &[String], widths: &[usize], between: &str) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    cells.join(between)
}

/// The blocks by the rules of limits, in a cell.
pub fn blocks_by_rule(blocks: &Value) -> String {
    let blocks = blocks.as_array().into_iter().flatten();
    let block = |block: &Value| format!("{} until {}", cell(&block["limit"]), cell(&block["until"]));
    cell(&blocks.map(block).collect::<Vec<_>>().join(", ").into())
}

/// A value of an answer in a cell: nothing is a dash.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        // A note may have lines; a table has one for each.
        Value::String(text) => text.replace(['\n', '\t'], " "),
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        Value::Object(fields) => {
            let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            pairs.join(" ")
        }
        other => other.to_string(),
    }
}

/// The answer as it came, for programs.
pub fn json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{value:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let mut out = Vec::new();
        let rows = [["acme", ""].map(str::to_owned), ["b", "two words"].map(str::to_owned)];
        write(&mut out, ["NAME", "NOTE"], &rows).expect("memory takes it");
        let expected = "NAME  NOTE\nacme\nb     two words\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
