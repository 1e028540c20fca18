//! Waits without effect, or longer than what they wait for.
//!
//! The shortest `max_wait` of the queue, the tier and the route applies: a longer one of a tier or a route has no effect. A wait
//! longer than the upstream's timeout is longer than the job could take.

use super::LintInput;
use crate::config::prelude::*;
use crate::config::routes::RouteSection;
use crate::config::upstreams::UpstreamSection;
use crate::policy::rules::QueueRules;
use crate::policy::time::Span;

const WITHOUT_EFFECT: &str = "the shortest holds: leave it out, or let the queue's be longer";
const BEYOND: &str = "write a `max_wait` that is no longer, or a longer `timeout` of the upstream";

pub(super) fn add(read: &LintInput<'_>, report: &mut Report) {
    let Some(queue) = read.queue else { return };
    without_effect(read, queue, report);
    beyond_timeout(read, queue, report);
}

fn without_effect(read: &LintInput<'_>, queue: &QueueRules, report: &mut Report) {
    let tiers = read.tiers.iter().map(|tier| {
        let called = format!("tier {}", quoted(&tier.name));
        (tier.max_wait, called, read.tier_place(tier, "max_wait"))
    });
    let routes = read.routes.iter().map(|(route, path)| {
        let called = quoted(route.pattern.as_str());
        (route.max_wait.map(Span::from), called, wait_place(read, *path))
    });
    let longest = words::span(queue.max_wait);
    for (wait, called, place) in tiers.chain(routes) {
        if let Some(wait) = wait.filter(|wait| *wait > queue.max_wait) {
            let wait = words::span(wait);
            let message = format!("{called} may wait {wait}, but no job waits longer than the queue's {longest}");
            report.warn(place, message, WITHOUT_EFFECT);
        }
    }
}

fn wait_place(read: &LintInput<'_>, path: Location) -> Location {
    let written = read.route_node(path).and_then(|route| route.value("max_wait"));
    written.map_or(path, |node| node.place)
}

/// Reports routes with a longer wait than their upstream's timeout: each by itself, or the queue for all of them.
fn beyond_timeout(read: &LintInput<'_>, queue: &QueueRules, report: &mut Report) {
    // The longest that any tier waits.
    let tiers = read.tiers.iter().map(|tier| tier.max_wait.unwrap_or(queue.max_wait));
    let longest = tiers.max().unwrap_or(queue.max_wait).min(queue.max_wait);
    let metered = read.routes.iter().filter(|(route, _)| route.metered);
    let (own, usual): (Vec<_>, Vec<_>) = metered
        .filter_map(|(route, path)| Some((*route, *path, read.upstream(*path)?)))
        .partition(|(route, ..)| route.max_wait.is_some());
    for (route, path, upstream) in own {
        let wait = route.max_wait.map_or(longest, Span::from);
        if wait <= queue.max_wait && wait.min(longest) > Span::from(upstream.timeout) {
            report.warn(
                wait_place(read, path),
                beyond(route, wait.min(longest), upstream),
                BEYOND,
            );
        }
    }
    let is_late =
        |(.., upstream): &&(&RouteSection, Location, &UpstreamSection)| longest > Span::from(upstream.timeout);
    let late: Vec<_> = usual.iter().filter(is_late).collect();
    let are_all = late.len() == usual.len();
    for (route, path, upstream) in late.into_iter().take(if are_all { 1 } else { usize::MAX }) {
        let place = match are_all {
            true => read.place(&["queue", "max_wait"]),
            false => *path,
        };
        report.warn(place, beyond(route, longest, upstream), BEYOND);
    }
}

fn beyond(route: &RouteSection, wait: Span, upstream: &UpstreamSection) -> String {
    let (path, name) = (quoted(route.pattern.as_str()), quoted(&upstream.name));
    let (wait, timeout) = (words::span(wait), words::length(upstream.timeout));
    format!("{path} may wait {wait}, longer than the {timeout} that upstream {name} may take")
}
