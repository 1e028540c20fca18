//! Newer configurations that a request meets on its way: the shared door may be exchanged at any moment, and whoever asks the limits
//! or the gate by an older one's rules is told that they are stale. It keeps the routes and the keys by which it came. Its tier,
//! limits and quotas are the newest ones', it is charged once, and what it is told is of the door by which that was decided.

use std::sync::Arc;

use super::door::Door;

/// The doors by which a request was decided that aren't the one that it came to. Almost always there are none.
#[derive(Debug, Default)]
pub(super) struct Newer {
    /// By which its limits were decided.
    limits: Option<Arc<Door>>,
    /// By which it is known who asks: that one, or one that came into force after its limits were decided.
    caller: Option<Arc<Door>>,
}

impl Newer {
    /// The door of its limits, of a request that came to `first`.
    pub(super) fn of_limits<'d>(&'d self, first: &'d Door) -> &'d Door {
        self.limits.as_deref().unwrap_or(first)
    }

    /// The door by which it is known who asks, of a request that came to `first`.
    pub(super) fn of_caller<'d>(&'d self, first: &'d Door) -> &'d Door {
        self.caller.as_deref().unwrap_or(first)
    }

    /// Its limits are to be decided by that door, and who asks is known by it.
    pub(super) fn limits_by(&mut self, door: Arc<Door>) -> &Door {
        self.limits = Some(Arc::clone(&door));
        self.caller_by(door)
    }

    /// Who asks is known by that door. Its limits have been decided.
    pub(super) fn caller_by(&mut self, door: Arc<Door>) -> &Door {
        self.caller.insert(door)
    }
}
