//! How many may follow the status page's events, in all and from one network.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::policy::caller::Network;
use crate::policy::refusal::Refusal;

/// Streams of events at once, of all viewers together; and at most a quarter of the listener's connections, since an open stream
/// never times out.
pub const VIEWERS_MAX: u32 = 2_048;
/// Streams of events at once to one network: an IPv4 address or an IPv6 /64.
pub const VIEWERS_PER_NETWORK_MAX: u32 = 16;

/// The open streams of events.
#[derive(Debug)]
pub struct Viewers {
    /// By network; no zeros.
    networks: Mutex<Counts>,
    /// At most so many together.
    max: AtomicU32,
    /// Told when somebody comes.
    came: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    all: u32,
    by_network: HashMap<Network, u32>,
}

/// One open stream, until this is dropped.
#[derive(Debug)]
pub struct Viewer {
    of: Arc<Viewers>,
    network: Network,
}

impl Default for Viewers {
    fn default() -> Self {
        Self {
            networks: Mutex::default(),
            max: AtomicU32::new(VIEWERS_MAX),
            came: Notify::new(),
        }
    }
}

impl Viewers {
    /// The listener has so many connections.
    pub fn bound(&self, connections: usize) {
        let quarter = u32::try_from(connections / 4).unwrap_or(u32::MAX);
        self.max.store(quarter.clamp(1, VIEWERS_MAX), Ordering::Relaxed);
    }

    /// Counts another stream.
    ///
    /// # Errors
    /// There are too many, or too many of that network.
    pub fn enter(self: &Arc<Self>, network: Network) -> Result<Viewer, Refusal> {
        let limit = self.max.load(Ordering::Relaxed);
        let mut counts = self.networks.lock();
        if counts.all >= limit {
            return Err(Refusal::TooManyInFlight { limit });
        }
        let of_network = counts.by_network.entry(network).or_insert(0);
        if *of_network >= VIEWERS_PER_NETWORK_MAX {
            let limit = VIEWERS_PER_NETWORK_MAX;
            return Err(Refusal::TooManyInFlight { limit });
        }
        *of_network += 1;
        counts.all += 1;
        drop(counts);
        self.came.notify_waiters();
        let of = Arc::clone(self);
        Ok(Viewer { of, network })
    }

    /// How many follow.
    pub fn count(&self) -> usize {
        self.networks.lock().all as usize
    }

    /// Waits until somebody follows.
    pub async fn some(&self) {
        loop {
            let came = self.came.notified();
            tokio::pin!(came);
            came.as_mut().enable();
            if self.count() > 0 {
                return;
            }
            came.await;
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut counts = self.of.networks.lock();
        counts.all -= 1;
        if let Some(of_network) = counts.by_network.get_mut(&self.network) {
            *of_network -= 1;
            if *of_network == 0 {
                counts.by_network.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn viewers_have_bounds_in_all_and_for_each_network() {
        let viewers = Arc::new(Viewers::default());
        let network = |number: u32| Network::V4(Ipv4Addr::from_bits(number));
        let mut inside: Vec<Viewer> = (0..VIEWERS_PER_NETWORK_MAX)
            .map(|_| viewers.enter(network(0)).expect("room for each network"))
            .collect();
        let refused = viewers.enter(network(0)).expect_err("one too many");
        assert_eq!(
            refused,
            Refusal::TooManyInFlight {
                limit: VIEWERS_PER_NETWORK_MAX
            }
        );
        let others = VIEWERS_PER_NETWORK_MAX..VIEWERS_MAX;
        inside.extend(others.map(|number| viewers.enter(network(number)).expect("room for all")));
        let refused = viewers.enter(network(VIEWERS_MAX)).expect_err("one too many");
        assert_eq!(refused, Refusal::TooManyInFlight { limit: VIEWERS_MAX });
        inside.remove(0);
        inside.push(viewers.enter(network(0)).expect("one has gone"));
        assert_eq!(viewers.count(), VIEWERS_MAX as usize);
        inside.clear();
        assert_eq!(viewers.count(), 0);
        assert!(viewers.networks.lock().by_network.is_empty());
    }
}
