//! Lists for people: columns as wide as what stands in them.
//!
//! Absent on purpose: colours, and cutting: what is too wide for a terminal is for `--json`.

use std::io::{self, Write};

use serde_json::Value;

/// Writes the rows under their heads, aligned, without trailing spaces.
pub fn write<const N: usize>(out: &mut impl Write, heads: [&str; N], rows: &[[String; N]]) -> io::Result<()> {
    let mut widths = heads.map(|head| head.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let heads = heads.map(str::to_owned);
    for row in std::iter::once(&heads).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
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
