//! What is known about a request while it is on its way.

use std::net::IpAddr;

use super::limits::Met;
use super::newer::Newer;
use super::observation::Observation;
use super::ratelimit::HeldJob;
use super::site::Site;
use super::standing::Standing;

/// What is known about a request so far.
#[derive(Debug)]
pub(super) struct Found {
    /// For the access log and the metrics.
    pub(super) observation: Observation,
    /// The caller's identity: its account, tier and overrides.
    pub(super) standing: Option<Standing>,
    /// The client's address, unless proxies contradict each other.
    pub(super) client: Option<IpAddr>,
    /// Its route.
    pub(super) route: Option<usize>,
    /// Whether its route is metered.
    pub(super) metered: bool,
    /// The request limits' result.
    pub(super) met: Option<Met>,
    /// Its job, while that holds quota.
    pub(super) own: Option<HeldJob>,
    /// Newer sites that decided about it.
    pub(super) newer: Newer,
}

impl Found {
    pub(super) fn new(observation: Observation) -> Self {
        Self {
            observation,
            standing: None,
            client: None,
            route: None,
            metered: false,
            met: None,
            own: None,
            newer: Newer::default(),
        }
    }

    /// The caller is known, by the site of its identity or a newer one.
    pub(super) fn identified(&mut self, standing: Standing, site: &Site) {
        let rules = &self.newer.of_caller(site).generation.rules;
        self.observation.identified(&standing, standing.tier(rules));
        self.standing = Some(standing);
    }
}
