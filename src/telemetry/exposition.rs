//! The page that Prometheus scrapes.

use std::sync::Arc;

use metrics::Recorder;
use parking_lot::Mutex;

use super::gauges::{self, Gauges, Levels};
use super::process;
use super::registry::Registry;
use crate::policy::rules::Rules;

/// All metrics of one server. Not global: two servers in a process have two, and share only those of the process.
pub struct Exposition {
    registry: Registry,
    gauges: Mutex<Option<Gauges>>,
}

impl Exposition {
    /// No metrics yet.
    pub fn new() -> Self {
        let registry = Registry::default();
        gauges::describe(&registry);
        Self {
            registry,
            gauges: Mutex::new(None),
        }
    }

    /// Where metrics are registered. A series lives as long as its handle; those of removed names stay for a while
    /// ([`GONE_MAX`](super::registry::GONE_MAX)).
    pub fn recorder(&self) -> &impl Recorder {
        &self.registry
    }

    /// The page with current gauges, by the current rules. It omits what these rules no longer have.
    pub fn render(&self, rules: &Arc<Rules>, levels: &Levels) -> String {
        let mut known = self.gauges.lock();
        let gauges = match &mut *known {
            Some(known) if Arc::ptr_eq(&known.rules, rules) => known,
            // Register the new handles before dropping the old ones: series that stay keep their values.
            other => {
                let gauges = Gauges::register(&self.registry, rules, other.as_ref());
                other.insert(gauges)
            }
        };
        gauges.show(levels);
        let mut page = self.registry.page();
        process::write(&mut page);
        page
    }

    /// Drops surplus series of removed names. Call it when names may have been removed, since scrapes may be rare.
    pub fn retire_unused(&self) {
        self.registry.retire_unused();
    }
}

impl Default for Exposition {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Exposition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exposition").finish_non_exhaustive()
    }
}
