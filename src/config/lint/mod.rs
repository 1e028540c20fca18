//! What is legal and unwise: what a careful operator would ask about before the file is used.
//!
//! A warning is given where the file says two things of which one makes the other pointless, or sells less for more. Each is
//! sure from the file alone, and what many sensible files have is none: a gap between priorities, a tier that nobody listed
//! has, a queue of length 0. `tier_order` compares tiers by their price, `quotas` and `timeouts` find what can't come about,
//! `unlimited_routes` routes without a request limit, `unreachable_limits` request limits that none has, `networks` those that
//! hold every address, `unexpanded_env` variables that nobody fills in, `keys` places of a key that are not read.
//!
//! Warnings are given for a file with errors too, as far as it could be read; so parts of it are found by their names.

mod keys;
mod networks;
mod quotas;
mod tier_order;
mod timeouts;
mod unexpanded_env;
mod unlimited_routes;
mod unreachable_limits;

use super::limits::LimitRoute;
use super::listener::Paths;
use super::routes::Route;
use super::upstreams::Upstream;
use crate::config::prelude::*;
use crate::policy::rules::{Limit, QueueRules, Tier, Window};

/// What could be read of a document.
pub(super) struct Read<'r> {
    pub(super) root: &'r Node,
    pub(super) queue: Option<&'r QueueRules>,
    pub(super) windows: &'r [Window],
    pub(super) tiers: &'r [Tier],
    pub(super) limits: &'r [Limit],
    pub(super) limit_routes: &'r [LimitRoute],
    pub(super) upstreams: &'r [Upstream],
    /// Each with the place of its path.
    pub(super) routes: &'r [(&'r Route, Location)],
    pub(super) paths: &'r Paths,
}

/// Puts down everything unwise.
pub(super) fn add(read: &Read<'_>, report: &mut Report) {
    tier_order::add(read, report);
    queue_length(read, report);
    timeouts::add(read, report);
    quotas::add(read, report);
    unlimited_routes::add(read, report);
    unreachable_limits::add(read, report);
    networks::add(read.root, report);
    keys::add(read.root, report);
    unexpanded_env::add(read.root, report);
}

/// A queue that one caller alone could fill.
fn queue_length(read: &Read<'_>, report: &mut Report) {
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

impl<'r> Read<'r> {
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

    /// Where a field of that tier stands; if it isn't written, its name.
    fn tier_place(&self, tier: &Tier, field: &str) -> Location {
        self.place(&["tiers", &tier.name, field])
    }

    /// The tier of those without an account.
    fn anonymous(&self) -> Option<&'r Tier> {
        let name = self.root.value("anonymous")?.text()?;
        self.tiers.iter().find(|tier| *tier.name == *name)
    }

    /// The upstream to which that route leads, whose path stands there.
    fn upstream(&self, path: Location) -> Option<&'r Upstream> {
        let name = self.route_node(path)?.value("upstream")?.text()?;
        self.upstreams.iter().find(|upstream| upstream.name == name)
    }

    /// What is written of the route whose path stands there.
    fn route_node(&self, path: Location) -> Option<&'r Node> {
        let items = self.root.value("routes")?.items();
        let is_it = |item: &&Node| item.value("path").is_some_and(|node| node.place == path);
        items.iter().map(|item| &**item).find(is_it)
    }

    /// The request limit of that number in the file's order: a tier's own number names it so. `None` if it is wrong.
    fn limit(&self, number: usize) -> Option<&'r Limit> {
        let name = self.root.value("limits")?.items().get(number)?.value("name")?.text()?;
        self.limits.iter().find(|limit| *limit.name == *name)
    }
}
