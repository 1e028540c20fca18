//! The status as text. Colours repeat what digits and words say.

use std::io::{self, Write};

use super::places::{self, COLOURS, Mark};
use super::report::{ReportedState, ServerReport, StatusReport, readable};
use crate::cli::client::file_errors;
use crate::cli::table;

/// Columns before the second column of facts.
const INDENT: usize = 15;
/// Columns for the drawing of the queue, so that the line is as long as a narrow terminal is wide.
const QUEUE_WIDTH: usize = 80 - INDENT;
/// Servers with more slots have theirs counted, not drawn.
pub const SLOTS_DRAWN_MAX: u64 = 8;

/// Escape sequences, or nothing.
#[derive(Clone, Copy, Debug)]
pub struct Inks {
    /// Whether there are any.
    pub coloured: bool,
}

const GOOD: &str = "32";
const BAD: &str = "1;31";

impl Inks {
    fn paint(self, codes: &str, text: &str) -> String {
        match self.coloured {
            true => format!("\x1b[{codes}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }

    fn place(self, mark: Mark, text: &str) -> String {
        match mark {
            Mark::Taken(priority) => {
                let (ground, digit) = COLOURS.get(usize::from(priority)).copied().unwrap_or((254, 16));
                self.paint(&format!("48;5;{ground};38;5;{digit}"), text)
            }
            Mark::Free => self.paint("2", text),
            Mark::Words => text.to_owned(),
        }
    }
}

/// Writes the whole status.
///
/// # Errors
/// Errors of `out`.
pub fn write(report: &StatusReport, inks: Inks, out: &mut impl Write) -> io::Result<()> {
    heading(report, inks, out)?;
    writeln!(out)?;
    for (number, line) in places::draw(&report.queue, QUEUE_WIDTH).iter().enumerate() {
        let label = if number == 0 { "queue" } else { "" };
        let line: String = line.iter().map(|piece| inks.place(piece.mark, &piece.text)).collect();
        writeln!(out, "{label:INDENT$}{}", line.trim_end())?;
    }
    writeln!(out, "{:INDENT$}{}\n", "", places::words(&report.queue))?;
    servers(report, inks, out)?;
    writeln!(out)?;
    tiers(report, out)?;
    writeln!(out)?;
    let database = match report.database_available {
        true => "can be written".to_owned(),
        false => inks.paint(BAD, "can't be written"),
    };
    writeln!(out, "{:INDENT$}{database}", "database")?;
    config(report, out)
}

/// The first line, and the problems.
fn heading(report: &StatusReport, inks: Inks, out: &mut impl Write) -> io::Result<()> {
    let (version, uptime) = (&report.version, readable(report.uptime));
    let state = match report.problems.len() {
        0 => inks.paint(GOOD, "all is well"),
        1 => inks.paint(BAD, "1 problem"),
        many => inks.paint(BAD, &format!("{many} problems")),
    };
    writeln!(out, "tiergate {version}, up {uptime}: {state}")?;
    for problem in &report.problems {
        writeln!(out, "  {} {problem}", inks.paint(BAD, "!"))?;
    }
    Ok(())
}

fn servers(report: &StatusReport, inks: Inks, out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<[String; 5]> = report
        .servers()
        .map(|(upstream, server)| {
            [
                upstream.to_owned(),
                server.address.clone(),
                server.state.word().to_owned(),
                slots_drawn(server),
                slots_in_words(server),
            ]
        })
        .collect();
    let mut lines = Vec::new();
    table::write(&mut lines, ["UPSTREAM", "SERVER", "STATE", "SLOTS", ""], &rows)?;
    let lines = String::from_utf8_lossy(&lines).into_owned();
    let states = report.servers().map(|(_, server)| server.state);
    for (line, state) in lines.lines().zip(std::iter::once(ReportedState::Up).chain(states)) {
        match state {
            ReportedState::Up => writeln!(out, "{line}")?,
            _ => writeln!(out, "{}", inks.paint(BAD, line))?,
        }
    }
    Ok(())
}

/// `■■□╳`: busy, free and not available slots. Empty if there are too many to draw.
pub fn slots_drawn(server: &ServerReport) -> String {
    let (slots, busy) = (server.slots.max(server.busy), server.busy);
    if slots > SLOTS_DRAWN_MAX {
        return String::new();
    }
    let letter = |slot| match slot {
        slot if slot < busy => '■',
        slot if slot < server.available => '□',
        _ => '╳',
    };
    (0..slots).map(letter).collect()
}

fn slots_in_words(server: &ServerReport) -> String {
    format!("{} of {} busy", server.busy, server.slots)
}

fn tiers(report: &StatusReport, out: &mut impl Write) -> io::Result<()> {
    let rows: Vec<[String; 5]> = report
        .tiers
        .iter()
        .map(|tier| {
            [
                tier.name.clone(),
                tier.priority.to_string(),
                tier.waiting.to_string(),
                tier.running.to_string(),
                tier.refused.to_string(),
            ]
        })
        .collect();
    let heads = ["TIER", "PRIORITY", "WAITING", "RUNNING", "REFUSED IN THE LAST MINUTE"];
    table::write(out, heads, &rows)
}

fn config(report: &StatusReport, out: &mut impl Write) -> io::Result<()> {
    let config = &report.config;
    writeln!(
        out,
        "{:INDENT$}{}, in force since {}",
        "configuration", config.file, config.since
    )?;
    writeln!(
        out,
        "{:INDENT$}{} at {}",
        "last read", config.last_result, config.last_at
    )?;
    for change in &config.restart {
        writeln!(out, "{:INDENT$}{change}", "")?;
    }
    if let Some(wrong) = file_errors(&config.wrong) {
        writeln!(
            out,
            "\nThe file is invalid; the previous configuration stays in force:\n\nerror: {wrong}"
        )?;
    }
    Ok(())
}
