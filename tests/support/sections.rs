//! Files of a section a line.

use std::fmt::Write as _;

/// Two hashes of keys.
pub const HASHES: [&str; 2] = [
    "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9",
];

/// The usual file, in which the lines given take the place of the section of the same name, or are added.
pub fn with(usual: &[(&str, &str)], lines: &[&str]) -> String {
    let section = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    let given: Vec<String> = lines.iter().map(|line| section(line)).collect();
    let mut text = String::new();
    for (name, line) in usual {
        let given = given.iter().position(|given| given == name);
        writeln!(text, "{}", given.map_or(*line, |at| lines[at])).unwrap();
    }
    for (line, name) in lines.iter().zip(&given) {
        if usual.iter().all(|(known, _)| known != name) {
            writeln!(text, "{line}").unwrap();
        }
    }
    text
}

/// Each of the lines by itself: files that differ from the usual one by one section.
pub fn alone<'l>(lines: &'l [&'l str]) -> Vec<&'l [&'l str]> {
    lines.chunks(1).collect()
}
