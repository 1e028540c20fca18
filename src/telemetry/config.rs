//! What there is to know of the configuration that a door runs.
//!
//! Absent on purpose: what it says.

use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder};

use crate::policy::time::UnixTime;

/// What became of a configuration that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It is in force.
    Applied,
    /// It says what was in force already, or what needs a restart.
    Unchanged,
    /// It is wrong, and nothing has changed.
    Failed,
}

impl Reload {
    /// All of them, each with its name in metrics and for operators.
    const ALL: [(Self, &'static str); 3] = [
        (Self::Applied, "applied"),
        (Self::Unchanged, "unchanged"),
        (Self::Failed, "failed"),
    ];

    /// Its name in metrics and for operators.
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Handles of what is told of reloads.
#[derive(Debug)]
pub struct ConfigMeters {
    successful: Gauge,
    reloads: [Counter; Reload::ALL.len()],
    last_success: Gauge,
}

const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);

impl ConfigMeters {
    /// Meters known to the recorder by the names of docs/operations.md. A configuration has just been taken up, at the start.
    pub fn register(recorder: &impl Recorder, now: UnixTime) -> Self {
        describe(recorder);
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_name(name), &METADATA);
        let reloads = Reload::ALL.map(|(_, result)| {
            let key = Key::from_parts("tiergate_config_reloads_total", vec![Label::new("result", result)]);
            recorder.register_counter(&key, &METADATA)
        });
        let meters = Self {
            successful: gauge("tiergate_config_last_reload_successful"),
            reloads,
            last_success: gauge("tiergate_config_last_success_timestamp_seconds"),
        };
        meters.succeeded(now);
        meters
    }

    /// A configuration was read.
    pub fn reloaded(&self, reload: Reload, now: UnixTime) {
        self.reloads[reload as usize].increment(1);
        match reload {
            Reload::Applied | Reload::Unchanged => self.succeeded(now),
            Reload::Failed => self.successful.set(0.0),
        }
    }

    fn succeeded(&self, now: UnixTime) {
        self.successful.set(1.0);
        // To the millisecond: exact as a float.
        self.last_success.set(now.as_millis() as f64 / 1e3);
    }
}

fn describe(recorder: &impl Recorder) {
    let name = |name: &'static str| KeyName::from_const_str(name);
    recorder.describe_gauge(
        name("tiergate_config_last_reload_successful"),
        None,
        "Whether the configuration that was last read is right: 0 or 1.".into(),
    );
    recorder.describe_counter(
        name("tiergate_config_reloads_total"),
        None,
        "Configurations that were read while the door was open, by what became of them.".into(),
    );
    recorder.describe_gauge(
        name("tiergate_config_last_success_timestamp_seconds"),
        None,
        "When a configuration that is right was last read, in Unix seconds.".into(),
    );
}
