//! Configurations that became active while a request was processed. A reload may replace the site at any time, and the limits and
//! the gate reject stale rules. The request keeps its route and key. Its tier, limits and quotas are the newest ones,
//! it is charged once, and its answer reports the configuration that decided.

use std::sync::Arc;

use super::site::Site;

/// The sites that decided about a request, if they are newer than the one that received it. Almost always there are none.
#[derive(Debug, Default)]
pub(super) struct Newer {
    /// The site that decided its limits.
    limits: Option<Arc<Site>>,
    /// The site of the caller's identity: the same, or a newer one.
    caller: Option<Arc<Site>>,
}

impl Newer {
    /// The site that decided the limits of a request that `first` received.
    pub(super) fn of_limits<'d>(&'d self, first: &'d Site) -> &'d Site {
        self.limits.as_deref().unwrap_or(first)
    }

    /// The site of the caller's identity, for a request that `first` received.
    pub(super) fn of_caller<'d>(&'d self, first: &'d Site) -> &'d Site {
        self.caller.as_deref().unwrap_or(first)
    }

    /// Records that this site decides the limits and identifies the caller.
    pub(super) fn limits_by(&mut self, site: Arc<Site>) -> &Site {
        self.limits = Some(Arc::clone(&site));
        self.caller_by(site)
    }

    /// Records that this site identifies the caller; the limits have been decided before.
    pub(super) fn caller_by(&mut self, site: Arc<Site>) -> &Site {
        self.caller.insert(site)
    }
}
