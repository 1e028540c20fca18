//! All that counts, compared with the sums of single requests and with one another. Where two numbers may differ, a rule says so.

use std::collections::BTreeMap;

use serde_json::Value;

use super::clients::CALLERS;
use super::model::{Bounds, Counts};
use super::rig::Rig;
use super::sources::{Metrics, rows};

/// Jobs that had a slot.
const HAD_A_SLOT: &str = "outcome IN ('succeeded', 'failed', 'cancelled')";

/// After a round: the log, the metrics, the admin API and the database.
pub async fn while_it_runs(rig: &mut Rig) {
    me_tells_what_is_used(rig).await;
    rig.settle().await;
    let metrics = Metrics::read(rig.program.admin).await;
    log_and_metrics(rig, &metrics);
    jobs_and_metrics(rig, &metrics);
    metrics_and_database(rig, &metrics);
    times(rig, &metrics);
    failures_of_servers(rig, &metrics);
    acts_of_the_operator(rig, &metrics);
    nothing_goes_on(rig, &metrics).await;
    refused_in_the_last_minute(rig).await;
}

/// The log has every request once, so its lines are what the metrics count.
fn log_and_metrics(rig: &Rig, metrics: &Metrics) {
    let sums = &rig.sums;
    let requests = metrics.counts("tiergate_http_requests_total", &["route", "code_class"], &[]);
    same("requests: log, metrics", &sums.requests, &requests);
    let mut by_route = Counts::new();
    for (key, count) in &sums.requests {
        let (route, _) = key.rsplit_once(' ').expect("a route and a class");
        *by_route.entry(route.to_owned()).or_default() += count;
    }
    let timed = metrics.counts("tiergate_http_request_duration_seconds_count", &["route"], &[]);
    same("requests: log, histogram", &by_route, &timed);
    let refusals = metrics.counts("tiergate_refusals_total", &["tier", "reason"], &[]);
    same("refusals: log, metrics", &sums.refusals, &refusals);
    let is_rate_limited = |(key, _): &(&String, &u64)| key.ends_with(" rate_limited");
    let limited = sums
        .refusals
        .iter()
        .filter(is_rate_limited)
        .map(|(_, count)| count)
        .sum::<u64>();
    let images = metrics.sum("tiergate_limit_refusals_total", &[("limit", "images")]);
    assert_eq!(limited as f64, images, "rate_limited: log, metrics");
    assert_eq!(
        metrics.sum("tiergate_access_log_dropped_total", &[]),
        0.0,
        "lines were dropped"
    );
    assert_eq!(metrics.sum("tiergate_connections_refused_total", &[]), 0.0);
}

fn jobs_and_metrics(rig: &Rig, metrics: &Metrics) {
    let sums = &rig.sums;
    let waited = |result| metrics.counts("tiergate_queue_wait_seconds_count", &["tier"], &[("result", result)]);
    same(
        "jobs that got a slot: log, metrics",
        &sums.dispatched,
        &waited("dispatched"),
    );
    same("jobs that left the queue: log, metrics", &sums.left, &waited("left"));
    let outcomes = metrics.counts("tiergate_jobs_total", &["tier", "outcome"], &[]);
    within("jobs: witnesses, metrics", &sums.outcomes, &outcomes);
    let mut ended = metrics.counts("tiergate_jobs_total", &["tier"], &[("outcome", "upload_ended")]);
    for (tier, count) in sums.dispatched.iter().chain(&sums.left) {
        *ended.entry(tier.clone()).or_default() += count;
    }
    let all = metrics.counts("tiergate_jobs_total", &["tier"], &[]);
    same("jobs: log and uploads, metrics", &ended, &all);
    // At the moment in which a queued job is displaced its client may leave: then nobody is refused.
    let refused: u64 = sums
        .refusals
        .iter()
        .filter(|(key, _)| key.ends_with(" displaced"))
        .map(|(_, count)| count)
        .sum();
    let displaced = metrics.sum("tiergate_displacements_total", &[]);
    assert_eq!(
        displaced,
        metrics.sum("tiergate_jobs_total", &[("outcome", "displaced")]),
        "displaced: metrics"
    );
    assert!(
        refused as f64 <= displaced,
        "displaced: log {refused}, metrics {displaced}"
    );
    let estimated = metrics.sum("tiergate_estimate_error_seconds_count", &[]);
    let dispatched = metrics.sum("tiergate_queue_wait_seconds_count", &[("result", "dispatched")]);
    assert!(
        estimated <= dispatched,
        "only jobs that were queued have an estimate: {estimated} of {dispatched}"
    );
}

fn metrics_and_database(rig: &Rig, metrics: &Metrics) {
    let rows = |query: &str| rows(rig.folder.path(), query);
    let jobs = metrics.counts("tiergate_jobs_total", &["tier", "outcome"], &[]);
    let stored = rows("SELECT tier || ' ' || outcome, count(*) FROM job GROUP BY 1");
    same("jobs: metrics, database", &jobs, &stored);
    let debits = metrics.counts("tiergate_quota_debits_total", &["tier"], &[]);
    let stored = rows("SELECT tier, sum(units) FROM job GROUP BY 1 HAVING sum(units) > 0");
    same("debits: metrics, database", &debits, &stored);
    let releases = metrics.counts("tiergate_quota_releases_total", &["tier", "outcome"], &[]);
    let stored = rows("SELECT tier || ' ' || outcome, sum(cost) FROM job WHERE outcome <> 'succeeded' GROUP BY 1");
    same("releases: metrics, database", &releases, &stored);
    let displaced = metrics.counts("tiergate_displacements_total", &["of"], &[]);
    let stored = rows("SELECT CAST(priority AS TEXT), count(*) FROM job WHERE outcome = 'displaced' GROUP BY 1");
    same("displaced by priority: metrics, database", &displaced, &stored);
    // A job that lost its server, and got no slot of another one in time, or before its client left, held none to its end.
    let held = metrics.sum("tiergate_upstream_seconds_count", &[]) as u64;
    let had: u64 = rig.sums.dispatched.values().sum();
    let lost = metrics.sum("tiergate_refusals_total", &[("reason", "upstream_unreachable")]) as u64;
    let least = had.saturating_sub(lost + rig.sums.left_running);
    assert!(
        (least..=had).contains(&held),
        "slots that were held: {held} of {least} to {had}"
    );
    assert_eq!(metrics.sum("tiergate_database_dropped_rows_total", &[]), 0.0);
    // Refusals of the running minute are not stored yet.
    let stored = rows("SELECT tier || ' ' || reason || ' ' || status, sum(count) FROM refusal GROUP BY 1");
    for (key, count) in stored {
        let known = rig.sums.refusals_metered.get(&key).copied().unwrap_or(0);
        assert!(count <= known, "refusals: {key}: log {known}, database {count}");
    }
}

/// The database rounds each time down to a millisecond, the log to a tenth of one; the metrics don't.
fn times(rig: &Rig, metrics: &Metrics) {
    let close = |what: &str, lower: f64, exact_s: f64, step_ms: f64, count: u64| {
        let (exact, slack) = (exact_s * 1e3, 1e-3);
        assert!(
            lower <= exact + slack && exact <= lower + step_ms * count as f64 + slack,
            "{what}: {lower} ms, exactly {exact} ms, of {count}"
        );
    };
    let stored = rows(
        rig.folder.path(),
        &format!("SELECT tier, sum(wait_ms) FROM job WHERE {HAD_A_SLOT} GROUP BY 1"),
    );
    let waited = metrics.by(
        "tiergate_queue_wait_seconds_sum",
        &["tier"],
        &[("result", "dispatched")],
    );
    for (tier, count) in &rig.sums.dispatched {
        close(
            &format!("wait of {tier}, log"),
            rig.sums.waited_ms[tier],
            waited[tier],
            0.1,
            *count,
        );
        close(
            &format!("wait of {tier}, database"),
            stored[tier] as f64,
            waited[tier],
            1.0,
            *count,
        );
    }
    let stored = rows(
        rig.folder.path(),
        "SELECT upstream, sum(service_ms) FROM job GROUP BY 1",
    );
    let held = metrics.by("tiergate_upstream_seconds_sum", &["upstream"], &[]);
    let count = rig.sums.dispatched.values().sum();
    close("slots held", stored["search"] as f64, held["search"], 1.0, count);
}

/// A server's failures are those that it noted itself, and whose end tiergate waited for.
fn failures_of_servers(rig: &Rig, metrics: &Metrics) {
    let failures = |reason| {
        let labels = ["upstream", "server"];
        metrics.counts(
            "tiergate_upstream_server_failures_total",
            &labels,
            &[("reason", reason)],
        )
    };
    within(
        "answers broken off: servers, metrics",
        &rig.sums.broken,
        &failures("broken"),
    );
    within(
        "answers too late: servers, metrics",
        &rig.sums.late,
        &failures("timeout"),
    );
    // Only the second server rests.
    let connect = failures("connect");
    assert!(
        connect
            .keys()
            .all(|server| server.ends_with(&rig.servers.addresses[1].to_string())),
        "{connect:?}"
    );
}

fn acts_of_the_operator(rig: &Rig, metrics: &Metrics) {
    let reloads = |result| metrics.sum("tiergate_config_reloads_total", &[("result", result)]) as u64;
    assert_eq!(reloads("applied"), rig.acts.applied, "edits: operator, metrics");
    // A wrong file may be read twice: by the operator's request, and by the watch.
    let failed = reloads("failed");
    assert!(
        (rig.acts.failed..=2 * rig.acts.failed).contains(&failed),
        "{failed} of {}",
        rig.acts.failed
    );
    let cancelled = metrics.sum("tiergate_jobs_total", &[("outcome", "cancelled_by_operator")]) as u64;
    let asked = rig.acts.audited.get("job_cancel").copied().unwrap_or(0);
    assert_eq!(cancelled, asked, "cancelled: metrics, operator");
}

/// Nothing is left over where nothing goes on.
async fn nothing_goes_on(rig: &mut Rig, metrics: &Metrics) {
    let gauges = [
        "tiergate_queue_depth",
        "tiergate_jobs_running",
        "tiergate_status_viewers",
    ];
    for gauge in gauges {
        assert_eq!(metrics.sum(gauge, &[]), 0.0, "{gauge}");
    }
    assert_eq!(metrics.sum("tiergate_upstream_server_slots", &[("state", "busy")]), 0.0);
    let operator = rig.operator();
    let queue = operator.told(200, "GET /queue").await;
    assert_eq!(
        (&queue["waiting"], &queue["running"]),
        (&Value::Array(vec![]), &Value::Array(vec![]))
    );
    let status = operator.told(200, "GET /status").await;
    assert_eq!(status["queue"]["waiting"], 0, "{status}");
    let sum = |list: &Value, name: &str| {
        list.as_array()
            .expect("a list")
            .iter()
            .map(|of| number(&of[name]))
            .sum::<u64>()
    };
    for name in ["waiting", "running"] {
        assert_eq!(
            (sum(&status["tiers"], name), sum(&status["upstreams"], name)),
            (0, 0),
            "{status}"
        );
    }
    rig.acts = operator.acts;
}

/// Refusals of 60 seconds, by the second: those of the first and of the last second may be in or out.
async fn refused_in_the_last_minute(rig: &mut Rig) {
    let now = || jiff::Timestamp::now().as_millisecond() as f64 / 1e3;
    let before = now();
    let operator = rig.operator();
    let status = operator.told(200, "GET /status").await;
    let after = now();
    rig.acts = operator.acts;
    for line in status["tiers"].as_array().expect("a list") {
        let tier = text(&line["tier"]);
        let since = |least: f64| {
            let all = rig.sums.refused_at.iter();
            all.filter(|(at, of)| of == tier && *at >= least).count() as u64
        };
        let bounds = Bounds {
            least: since(after - 58.0),
            most: since(before - 61.0),
        };
        let told = number(&line["refused_last_minute"]);
        assert!(
            bounds.contain(told),
            "refused in the last minute: log {bounds:?}, status {told} of {tier}"
        );
    }
    rig.sums.refused_at.retain(|(at, _)| *at >= before - 70.0);
}

/// `/me` tells each caller what its successes cost.
pub async fn me_tells_what_is_used(rig: &mut Rig) {
    for (at, caller) in CALLERS.iter().enumerate().filter(|(_, caller)| caller.connections > 0) {
        let id = format!("me-{at}-{}", rig.dice.below(u64::MAX));
        let me = rig.asker(at, id).page("/me", "").await;
        let used = number(&me["quotas"][0]["used"]);
        let known = rig.sums.callers[&caller.name()].units;
        assert!(
            known.contain(used),
            "units of {}: witnesses {known:?}, /me {used}",
            caller.name()
        );
        assert_eq!(
            (&me["running"], &me["waiting"], &me["quotas"][0]["held"]),
            (&0.into(), &0.into(), &0.into()),
            "{me}"
        );
        assert_eq!(me["quotaUsed"], used, "{me}");
    }
}

pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}

pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

/// Two sources tell the same.
#[track_caller]
pub fn same(what: &str, one: &Counts, other: &Counts) {
    let keys = one.keys().chain(other.keys());
    let differ = keys.filter(|key| one.get(*key) != other.get(*key));
    let differ: BTreeMap<_, _> = differ.map(|key| (key, (one.get(key), other.get(key)))).collect();
    assert!(differ.is_empty(), "{what}: {differ:?}");
}

/// A source tells what is known within bounds.
#[track_caller]
pub fn within(what: &str, known: &BTreeMap<String, Bounds>, told: &Counts) {
    let bounds = |key: &String| known.get(key).copied().unwrap_or_default();
    let count = |key: &String| told.get(key).copied().unwrap_or(0);
    let keys = known.keys().chain(told.keys());
    let differ = keys.filter(|key| !bounds(key).contain(count(key)));
    let differ: BTreeMap<_, _> = differ.map(|key| (key, (bounds(key), count(key)))).collect();
    assert!(differ.is_empty(), "{what}: {differ:?}");
}
