//! Metrics of configuration reloads.

use metrics::{Counter, Gauge, Key, KeyName, Label, Level, Metadata, Recorder};

use crate::policy::time::UnixTime;

/// The result of loading a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// It is in force.
    Applied,
    /// It equals the one in force, or its changes need a restart.
    Unchanged,
    /// It is invalid; nothing has changed.
    Failed,
}

impl ReloadResult {
    /// All of them, with their names in metrics and for operators.
    const ALL: [(Self, &'static str); 3] = [
        (Self::Applied, "applied"),
        (Self::Unchanged, "unchanged"),
        (Self::Failed, "failed"),
    ];

    /// The name in metrics and for operators.
    pub const fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// Handles of the reload metrics.
#[derive(Debug)]
pub struct ConfigMeters {
    successful: Gauge,
    reloads: [Counter; ReloadResult::ALL.len()],
    last_success: Gauge,
}

const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);

impl ConfigMeters {
    /// Registers the metrics under the names of docs/metrics.md. Counts the configuration loaded at the start as a success.
    pub fn register(recorder: &impl Recorder, now: UnixTime) -> Self {
        describe(recorder);
        let gauge = |name: &'static str| recorder.register_gauge(&Key::from_name(name), &METADATA);
        let reloads = ReloadResult::ALL.map(|(_, result)| {
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

    /// Counts a reload.
    pub fn reloaded(&self, reload: ReloadResult, now: UnixTime) {
        self.reloads[reload as usize].increment(1);
        match reload {
            ReloadResult::Applied | ReloadResult::Unchanged => self.succeeded(now),
            ReloadResult::Failed => self.successful.set(0.0),
        }
    }

    fn succeeded(&self, now: UnixTime) {
        self.successful.set(1.0);
        // In milliseconds it is exact as a float.
        self.last_success.set(now.as_millis() as f64 / 1e3);
    }
}

fn describe(recorder: &impl Recorder) {
    let name = |name: &'static str| KeyName::from_const_str(name);
    recorder.describe_gauge(
        name("tiergate_config_last_reload_successful"),
        None,
        "1 if the last configuration load succeeded, 0 if it failed.".into(),
    );
    recorder.describe_counter(
        name("tiergate_config_reloads_total"),
        None,
        "Configuration reloads, by result.".into(),
    );
    recorder.describe_gauge(
        name("tiergate_config_last_success_timestamp_seconds"),
        None,
        "Unix time in seconds of the last successful configuration load.".into(),
    );
}
