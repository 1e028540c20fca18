//! Tables for people: columns as wide as their widest cell. Nothing is truncated; `--json` serves narrow terminals.

use std::io::{self, Write};

use serde_json::Value;

/// Writes a header and rows, aligned, without trailing spaces.
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

/// The width of each column, in characters.
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

/// A row with each cell padded to its column's width, and `between` between cells.
pub fn aligned(row: &[String], widths: &[usize], between: &str) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    cells.join(between)
}

/// A cell with the blocks by the rules of limits.
pub fn blocks_by_rule(blocks: &Value) -> String {
    let blocks = blocks.as_array().into_iter().flatten();
    let block = |block: &Value| format!("{} until {}", cell(&block["limit"]), cell(&block["until"]));
    cell(&blocks.map(block).collect::<Vec<_>>().join(", ").into())
}

/// A JSON value as a cell: null and empty values are a dash.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        // A note may have several lines.
        Value::String(text) => text.replace(['\n', '\t'], " "),
        Value::Object(fields) if fields.is_empty() => "-".to_owned(),
        Value::Object(fields) => {
            let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
            pairs.join(" ")
        }
        other => other.to_string(),
    }
}

/// Writes the answer as indented JSON.
pub fn json(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{value:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let mut out = Vec::new();
        let rows = [["acme", ""].map(str::to_owned), ["b", "two words"].map(str::to_owned)];
        write(&mut out, ["NAME", "NOTE"], &rows).expect("writing to memory doesn't fail");
        let expected = "NAME  NOTE\nacme\nb     two words\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
