//! The answer of `GET /status`, parsed.

use serde_json::{Value, json};

use crate::config::diff::DiffLine;
use crate::policy::rules::Priority;
use crate::policy::time::Span;

/// The status of a server.
#[derive(Clone, Debug, PartialEq)]
pub struct StatusReport {
    /// Its version.
    pub version: String,
    /// How long it has been running.
    pub uptime: Span,
    /// The queue.
    pub queue: QueueReport,
    /// The tiers, in the order of tiers.yaml.
    pub tiers: Vec<TierReport>,
    /// The upstreams, in the order of tiers.yaml.
    pub upstreams: Vec<UpstreamReport>,
    /// Whether its database can be written.
    pub database_available: bool,
    /// Its configuration.
    pub config: ConfigInForce,
    /// Everything that an operator should look at; empty if all is well.
    pub problems: Vec<String>,
}

/// The queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueueReport {
    /// Places.
    pub capacity: u32,
    /// Queued jobs by priority.
    pub by_priority: [u32; Priority::COUNT],
    /// Age of the oldest queued job.
    pub oldest: Option<Span>,
}

/// A tier.
#[derive(Clone, Debug, PartialEq)]
pub struct TierReport {
    /// Its name.
    pub name: String,
    /// Its priority.
    pub priority: u8,
    /// Its queued jobs.
    pub waiting: u64,
    /// Its jobs in flight that are not queued.
    pub running: u64,
    /// Its refusals in the last 60 seconds.
    pub refused: u64,
}

/// An upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamReport {
    /// Its name.
    pub name: String,
    /// Its servers, with removed ones that still have jobs.
    pub servers: Vec<ServerReport>,
}

/// An upstream server.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerReport {
    /// Its address.
    pub address: String,
    /// Its state.
    pub state: ReportedState,
    /// Slots that tiers.yaml gives it.
    pub slots: u64,
    /// Those that count now.
    pub available: u64,
    /// Jobs that hold one.
    pub busy: u64,
    /// Why it is down.
    pub why_down: Option<String>,
}

/// The state of an upstream server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportedState {
    /// It gets no jobs, since it does not answer.
    Down,
    /// It gets no jobs, since an operator has drained it.
    Drained,
    /// tiers.yaml doesn't have it any more; it finishes its jobs.
    Removed,
    /// It gets jobs.
    Up,
}

/// The configuration in force.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigInForce {
    /// Its file, or the preset.
    pub file: String,
    /// Since when.
    pub since: String,
    /// The result of the last reload, or `started`.
    pub last_result: String,
    /// When that was.
    pub last_at: String,
    /// What is wrong with the file last read, as the server says it; null if nothing is.
    pub wrong: Value,
    /// Changes that need a restart.
    pub restart: Vec<String>,
}

impl StatusReport {
    /// Parses the answer of `GET /status`. `None` if it is something else.
    pub fn of(answer: &Value) -> Option<Self> {
        let problems = answer["problems"].as_array()?.iter();
        Some(Self {
            version: text(&answer["version"])?,
            uptime: seconds(&answer["uptime_s"])?,
            queue: QueueReport::of(&answer["queue"])?,
            tiers: each(&answer["tiers"], TierReport::of)?,
            upstreams: each(&answer["upstreams"], UpstreamReport::of)?,
            database_available: answer["database"]["available"].as_bool()?,
            config: ConfigInForce::of(&answer["config"])?,
            problems: problems.map(|problem| text(&problem["error"])).collect::<Option<_>>()?,
        })
    }

    /// All upstream servers, each with the name of its upstream.
    pub fn servers(&self) -> impl Iterator<Item = (&str, &ServerReport)> {
        self.upstreams.iter().flat_map(|upstream| {
            let servers = upstream.servers.iter();
            servers.map(|server| (upstream.name.as_str(), server))
        })
    }
}

impl QueueReport {
    fn of(answer: &Value) -> Option<Self> {
        let mut by_priority = [0; Priority::COUNT];
        let counts = answer["by_priority"].as_array()?;
        for (place, count) in by_priority.iter_mut().zip(counts) {
            *place = small(count)?;
        }
        Some(Self {
            capacity: small(&answer["seats"])?,
            by_priority,
            oldest: seconds(&answer["oldest_s"]),
        })
    }

    /// All queued jobs.
    pub fn waiting(&self) -> u32 {
        self.by_priority.iter().sum()
    }
}

impl TierReport {
    fn of(answer: &Value) -> Option<Self> {
        Some(Self {
            name: text(&answer["tier"])?,
            priority: u8::try_from(answer["priority"].as_u64()?).ok()?,
            waiting: answer["waiting"].as_u64()?,
            running: answer["running"].as_u64()?,
            refused: answer["refused_last_minute"].as_u64()?,
        })
    }
}

impl UpstreamReport {
    fn of(answer: &Value) -> Option<Self> {
        Some(Self {
            name: text(&answer["upstream"])?,
            servers: each(&answer["servers"], ServerReport::of)?,
        })
    }
}

impl ServerReport {
    fn of(answer: &Value) -> Option<Self> {
        let drained = answer["drained"].as_bool()?;
        Some(Self {
            address: text(&answer["server"])?,
            state: match answer["up"].as_bool() {
                _ if drained => ReportedState::Drained,
                None => ReportedState::Removed,
                Some(false) => ReportedState::Down,
                Some(true) => ReportedState::Up,
            },
            slots: answer["slots"].as_u64()?,
            available: answer["available"].as_u64()?,
            busy: answer["running"].as_u64()?,
            why_down: text(&answer["why_down"]),
        })
    }
}

impl ReportedState {
    /// The state in a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Drained => "drained",
            Self::Removed => "removed",
            Self::Up => "up",
        }
    }
}

impl ConfigInForce {
    fn of(answer: &Value) -> Option<Self> {
        let restart = DiffLine::from_json(&json!({ "changes": answer["restart"] })).unwrap_or_default();
        let last = &answer["last"];
        Some(Self {
            file: text(&answer["file"])?,
            since: text(&answer["since"])?,
            last_result: text(&last["result"])?,
            last_at: text(&last["at"])?,
            wrong: last["wrong"].clone(),
            restart: restart.iter().map(ToString::to_string).collect(),
        })
    }
}

fn each<T>(list: &Value, parse: impl FnMut(&Value) -> Option<T>) -> Option<Vec<T>> {
    list.as_array()?.iter().map(parse).collect()
}

/// A text without control characters: they would move the cursor of the operator's terminal.
pub fn text(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    Some(text.replace(|letter: char| letter.is_control(), " "))
}

fn small(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

/// Seconds, to the millisecond. Negative ones, which no server tells, are zero.
fn seconds(value: &Value) -> Option<Span> {
    Some(Span::from_millis((value.as_f64()? * 1e3) as u64))
}

/// A length of time for people: `3d 4h`, `3h 12m`, `12m 5s`, `5.2s`.
pub fn readable(length: Span) -> String {
    let millis = length.as_millis();
    let s = millis / 1_000;
    match s {
        0..60 => format!("{s}.{}s", millis % 1_000 / 100),
        60..3_600 => format!("{}m {}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h {}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_another_program_is_no_report() {
        assert_eq!(StatusReport::of(&json!({ "status": "ok" })), None);
        assert_eq!(StatusReport::of(&json!({ "problems": [] })), None);
    }

    #[test]
    fn names_cannot_move_the_cursor() {
        assert_eq!(text(&json!("a\x1b[2Jb\n")).as_deref(), Some("a [2Jb "));
    }

    #[test]
    fn lengths_are_readable() {
        let cases = [
            (0, "0.0s"),
            (59_940, "59.9s"),
            (60_000, "1m 0s"),
            (3_599_000, "59m 59s"),
            (11_520_000, "3h 12m"),
            (273_600_000, "3d 4h"),
        ];
        for (millis, words) in cases {
            assert_eq!(readable(Span::from_millis(millis)), words);
        }
    }
}
