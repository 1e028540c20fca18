//! Files in which no route is metered: their queue, concurrency and quotas have no effect.

use super::LintInput;
use crate::config::prelude::*;

const ADVICE: &str = "add `metered: true` to the routes that cost the upstream work";

pub(super) fn add(read: &LintInput<'_>, report: &mut Report) {
    // Unknown whether an invalid route is meant to be metered.
    let are_known = read.root.value("routes").map_or(0, |routes| routes.items().len()) == read.routes.len();
    if are_known && !read.routes.is_empty() && !read.routes.iter().any(|(route, _)| route.metered) {
        let message = "no route is metered, so no request is queued or counted against concurrency and quotas";
        report.warn(read.place(&["routes"]), message, ADVICE);
    }
}
