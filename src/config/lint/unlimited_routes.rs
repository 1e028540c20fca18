//! Routes without a request limit.
//!
//! A route is covered if request limits match each of its requests: its host, its path in every spelling, and its methods, each
//! of which may have a limit of its own. Limits that match only some of its requests, or that aren't enforced, don't cover it.

use super::LintInput;
use crate::config::limits::LimitRoute;
use crate::config::prelude::*;
use crate::config::routes::RouteSection;
use http::Method;

const ADVICE: &str = "add a limit without `match`, or one whose `match` takes in the whole route";

pub(super) fn add(read: &LintInput<'_>, report: &mut Report) {
    // Unknown what an invalid limit would have covered.
    if read.root.value("limits").map_or(0, |limits| limits.items().len()) != read.limits.len() {
        return;
    }
    if read.limits.is_empty() && !read.routes.is_empty() {
        let advice = "add `limits: [ { name: http, per: network, limit: 100, window: 60s } ]`";
        report.warn(read.place(&["routes"]), "no request limit covers any route", advice);
        return;
    }
    let enforced: Vec<&LimitRoute> = read
        .limits
        .iter()
        .zip(read.limit_routes)
        .filter(|(limit, _)| limit.enforce)
        .map(|(_, route)| route)
        .collect();
    for (route, path) in read.routes {
        if !is_covered(route, &enforced) {
            let path_shown = quoted(route.pattern.as_str());
            report.warn(*path, format!("no request limit covers all of {path_shown}"), ADVICE);
        }
    }
}

fn is_covered(route: &RouteSection, limits: &[&LimitRoute]) -> bool {
    let of_place = |limit: &&&LimitRoute| {
        let host = limit.host.is_none() || limit.host == route.host;
        host && limit
            .pattern
            .as_ref()
            .is_none_or(|pattern| pattern.covers(&route.pattern))
    };
    let mut limits = limits.iter().filter(of_place);
    match &route.methods {
        None => limits.any(|limit| limit.methods.is_none()),
        Some(methods) => {
            let limits: Vec<_> = limits.collect();
            methods
                .iter()
                .all(|method| limits.iter().any(|limit| is_for(limit, method)))
        }
    }
}

fn is_for(limit: &LimitRoute, method: &Method) -> bool {
    let same = |limited: &Method| limited == method || (*limited == Method::GET && *method == Method::HEAD);
    limit.methods.as_ref().is_none_or(|methods| methods.iter().any(same))
}
