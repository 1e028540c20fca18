//! Waits that can't last as long as they say, or last longer than what is waited for.
//!
//! The shortest of the queue's, the tier's and the route's `max_wait` holds: a tier's or a route's that is longer than the
//! queue's has no effect. And who may wait longer than the upstream gives a search, waits longer than the search could take.

use super::Read;
use crate::config::prelude::*;
use crate::config::routes::Route;
use crate::config::upstreams::Upstream;
use crate::policy::rules::QueueRules;
use crate::policy::time::Span;

const WITHOUT_EFFECT: &str = "the shortest holds: leave it out, or let the queue's be longer";
const BEYOND: &str = "write a `max_wait` that is no longer, or a longer `timeout` of the upstream";

pub(super) fn add(read: &Read<'_>, report: &mut Report) {
    let Some(queue) = read.queue else { return };
    without_effect(read, queue, report);
    beyond_timeout(read, queue, report);
}

fn without_effect(read: &Read<'_>, queue: &QueueRules, report: &mut Report) {
    let queue_s = words::span(queue.max_wait);
    for tier in read.tiers {
        if let Some(wait) = tier.max_wait.filter(|wait| *wait > queue.max_wait) {
            let message = format!(
                "tier {} may wait {}, and nobody waits longer than the queue's {queue_s}",
                quoted(&tier.name),
                words::span(wait)
            );
            report.warn(read.tier_place(tier, "max_wait"), message, WITHOUT_EFFECT);
        }
    }
    for (route, path) in read.routes {
        if let Some(wait) = own_wait(route).filter(|wait| *wait > queue.max_wait) {
            let message = format!(
                "{} may wait {}, and nobody waits longer than the queue's {queue_s}",
                quoted(route.pattern.as_str()),
                words::span(wait)
            );
            report.warn(wait_place(read, *path), message, WITHOUT_EFFECT);
        }
    }
}

fn own_wait(route: &Route) -> Option<Span> {
    route.max_wait.map(Span::from)
}

fn wait_place(read: &Read<'_>, path: Place) -> Place {
    let written = read.route_node(path).and_then(|route| route.value("max_wait"));
    written.map_or(path, |node| node.place)
}

/// The routes on which one may wait longer than their upstream gives a search: each by itself, or the queue for all of them.
fn beyond_timeout(read: &Read<'_>, queue: &QueueRules, report: &mut Report) {
    // The longest that any tier waits.
    let tiers = read.tiers.iter().map(|tier| tier.max_wait.unwrap_or(queue.max_wait));
    let longest = tiers.max().unwrap_or(queue.max_wait).min(queue.max_wait);
    let metered = read.routes.iter().filter(|(route, _)| route.metered);
    let (own, usual): (Vec<_>, Vec<_>) = metered
        .filter_map(|(route, path)| Some((route, *path, read.upstream(*path)?)))
        .partition(|(route, ..)| route.max_wait.is_some());
    for (route, path, upstream) in own {
        let wait = own_wait(route).unwrap_or(longest);
        if wait <= queue.max_wait && wait.min(longest) > timeout(upstream) {
            let message = beyond(route, wait.min(longest), upstream);
            report.warn(wait_place(read, path), message, BEYOND);
        }
    }
    let usual_count = usual.len();
    let late: Vec<_> = usual
        .into_iter()
        .filter(|(.., upstream)| longest > timeout(upstream))
        .collect();
    match late.as_slice() {
        [] => {}
        [(route, _, upstream), ..] if late.len() == usual_count => {
            report.warn(
                read.place(&["queue", "max_wait"]),
                beyond(route, longest, upstream),
                BEYOND,
            );
        }
        some => {
            for (route, path, upstream) in some {
                report.warn(*path, beyond(route, longest, upstream), BEYOND);
            }
        }
    }
}

fn timeout(upstream: &Upstream) -> Span {
    upstream.timeout.into()
}

fn beyond(route: &Route, wait: Span, upstream: &Upstream) -> String {
    format!(
        "{} may wait {}, longer than the {} that upstream {} may take",
        quoted(route.pattern.as_str()),
        words::span(wait),
        words::span(timeout(upstream)),
        quoted(&upstream.name)
    )
}
