//! The answer of `GET /callers`, parsed.

use serde_json::Value;

use crate::cli::status::report::text;

/// The callers who use most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Callers {
    /// Those who use most, and those with jobs in flight.
    pub rows: Vec<CallerRow>,
    /// How many used anything in the last hour.
    pub total: u64,
    /// Why nothing is known of them. The rest of the status matters most while the database can't be read.
    pub unknown: Option<String>,
}

/// A caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerRow {
    /// An account's name, or a network.
    pub name: String,
    /// Its tier; empty if it is not known.
    pub tier: String,
    /// Its queued jobs.
    pub waiting: u64,
    /// Its jobs in flight that are not queued.
    pub running: u64,
    /// Its use in the last hour; `None`: too little to be known.
    pub used: Option<HourOfUse>,
}

/// A caller's use in the last hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HourOfUse {
    /// Jobs that have ended.
    pub jobs: u64,
    /// Units of quota.
    pub units: u64,
    /// Refused requests.
    pub refused: u64,
}

impl Callers {
    /// Parses the answer of `GET /callers`. `None` if it is something else.
    pub fn of(answer: &Value) -> Option<Self> {
        let rows = answer["callers"].as_array()?.iter().map(CallerRow::of);
        Some(Self {
            rows: rows.collect::<Option<_>>()?,
            total: answer["callers_total"].as_u64()?,
            unknown: None,
        })
    }

    /// Nothing is known of them.
    pub fn unknown(why: String) -> Self {
        Self {
            unknown: Some(why),
            ..Self::default()
        }
    }
}

impl CallerRow {
    fn of(answer: &Value) -> Option<Self> {
        let number = |of: &str| answer[of].as_u64();
        Some(Self {
            name: text(&answer["caller"])?,
            tier: text(&answer["tier"]).unwrap_or_default(),
            waiting: number("waiting")?,
            running: number("running")?,
            used: number("jobs").and_then(|jobs| {
                Some(HourOfUse {
                    jobs,
                    units: number("units")?,
                    refused: number("refused")?,
                })
            }),
        })
    }
}
