//! Warnings: what is legal but unwise, and what a careful operator would ask about.
//!
//! A warning is given where one setting makes another pointless, or a tier costs more and gets less. Each is certain from the
//! file alone. What many sensible files have gets no warning: a gap between priorities, a tier without listed accounts, a queue
//! of length 0. `tier_order` compares tiers by price, `quotas` and `timeouts` find what can't happen, `metered_routes` files
//! without a metered route, `unlimited_routes` routes without a request limit, `unreachable_limits` limits that no request meets,
//! `networks` those that hold every address, `admin` an admin listener that others may reach, `unexpanded_env` variables that are
//! not expanded, `keys` key locations that are not read,
//! `bodies` tiers whose uploads don't fit in the room for them.
//!
//! A file with errors gets warnings too, as far as it could be read; so its parts are looked up by name.

mod admin;
mod bodies;
mod keys;
mod metered_routes;
mod networks;
mod quotas;
mod tier_order;
mod timeouts;
mod unexpanded_env;
mod unlimited_routes;
mod unreachable_limits;

use super::bodies::BodiesSection;
use super::limits::LimitRoute;
use super::listener::Paths;
use super::routes::RouteSection;
use super::upstreams::UpstreamSection;
use crate::config::prelude::*;
use crate::policy::rules::{Limit, QueueRules, Tier, Window};

/// The readable parts of a document.
pub(super) struct LintInput<'r> {
    pub(super) root: &'r Node,
    pub(super) queue: Option<&'r QueueRules>,
    pub(super) windows: &'r [Window],
    pub(super) tiers: &'r [Tier],
    pub(super) limits: &'r [Limit],
    pub(super) limit_routes: &'r [LimitRoute],
    pub(super) upstreams: &'r [UpstreamSection],
    /// Each with the location of its path.
    pub(super) routes: &'r [(&'r RouteSection, Location)],
    pub(super) paths: &'r Paths,
    pub(super) bodies: &'r BodiesSection,
}

/// Reports all warnings.
pub(super) fn add(read: &LintInput<'_>, report: &mut Report) {
    tier_order::add(read, report);
    queue_length(read, report);
    timeouts::add(read, report);
    bodies::add(read, report);
    quotas::add(read, report);
    metered_routes::add(read, report);
    unlimited_routes::add(read, report);
    unreachable_limits::add(read, report);
    networks::add(read.root, report);
    admin::add(read.root, report);
    keys::add(read.root, report);
    unexpanded_env::add(read.root, report);
}

/// A queue that one caller alone could fill.
fn queue_length(read: &LintInput<'_>, report: &mut Report) {
    let most = read.tiers.iter().max_by_key(|tier| tier.concurrency);
    let (Some(queue), Some(tier)) = (read.queue, most) else {
        return;
    };
    // A queue of length 0 queues no requests, which is intended.
    if queue.length == 0 || queue.length >= tier.concurrency {
        return;
    }
    let (name, jobs, places) = (quoted(&tier.name), tier.concurrency, queue.length);
    let plural = if places == 1 { "" } else { "s" };
    let message =
        format!("the queue has {places} place{plural}, and one caller of tier {name} may have {jobs} jobs at once");
    let advice = format!("write {jobs} or more, or less concurrency: one caller could take every place");
    report.warn(read.place(&["queue", "length"]), message, advice);
}

impl<'r> LintInput<'r> {
    /// Where the value at the end of that path of fields stands; if it is more than one value, its key; if it isn't written, the
    /// key of the last field that is.
    fn place(&self, path: &[&str]) -> Location {
        let mut node = self.root;
        let mut place = Location::START;
        for name in path {
            match node.field(name) {
                Some((key, value)) => (node, place) = (value, key.place),
                None => return place,
            }
        }
        if node.text().is_some() { node.place } else { place }
    }

    /// The location of that tier's field; if it isn't written, of the tier's name.
    fn tier_place(&self, tier: &Tier, field: &str) -> Location {
        self.place(&["tiers", &tier.name, field])
    }

    /// The anonymous tier.
    fn anonymous(&self) -> Option<&'r Tier> {
        let name = self.root.value("anonymous")?.text()?;
        self.tiers.iter().find(|tier| *tier.name == *name)
    }

    /// The upstream of the route whose path is at that location.
    fn upstream(&self, path: Location) -> Option<&'r UpstreamSection> {
        let name = self.route_node(path)?.value("upstream")?.text()?;
        self.upstreams.iter().find(|upstream| upstream.name == name)
    }

    /// The mapping of the route whose path is at that location.
    fn route_node(&self, path: Location) -> Option<&'r Node> {
        let items = self.root.value("routes")?.items();
        let is_it = |item: &&Node| item.value("path").is_some_and(|node| node.place == path);
        items.iter().map(|item| &**item).find(is_it)
    }

    /// The request limit with that index in the file; a tier's own number refers to it that way. `None` if it is invalid.
    fn limit(&self, number: usize) -> Option<&'r Limit> {
        let name = self.root.value("limits")?.items().get(number)?.value("name")?.text()?;
        self.limits.iter().find(|limit| *limit.name == *name)
    }
}
