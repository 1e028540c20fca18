//! Newer configurations that a request meets on its way: the shared door may be exchanged at any moment, and whoever asks the limits
//! or the gate by an older one's rules is told that they are stale. It keeps the routes and the keys by which it came. Its tier,
//! limits and quotas are the newest ones', it is charged once, and what it is told is of the door by which that was decided.

use std::sync::Arc;

use super::site::Site;

/// The doors by which a request was decided that aren't the one that it came to. Almost always there are none.
#[derive(Debug, Default)]
pub(super) struct Newer {
    /// By which its limits were decided.
    limits: Option<Arc<Site>>,
    /// By which it is known who asks: that one, or one that came into force after its limits were decided.
    caller: Option<Arc<Site>>,
}

impl Newer {
    /// The door of its limits, of a request that came to `first`.
    pub(super) fn of_limits<'d>(&'d self, first: &'d Site) -> &'d Site {
        self.limits.as_deref().unwrap_or(first)
    }

    /// The door by which it is known who asks, of a request that came to `first`.
    pub(super) fn of_caller<'d>(&'d self, first: &'d Site) -> &'d Site {
        self.caller.as_deref().unwrap_or(first)
    }

    /// Its limits are to be decided by that door, and who asks is known by it.
    pub(super) fn limits_by(&mut self, site: Arc<Site>) -> &Site {
        self.limits = Some(Arc::clone(&site));
        self.caller_by(site)
    }

    /// Who asks is known by that door. Its limits have been decided.
    pub(super) fn caller_by(&mut self, site: Arc<Site>) -> &Site {
        self.caller.insert(site)
    }
}
