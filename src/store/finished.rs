//! Finished jobs and refusals as rows of one kind, which add up: `usage`, `traffic` and every report are sums of these.

use super::rows::INSTANCE;
use crate::policy::caller::Caller;

/// The outcome of refusals.
pub(super) const REFUSED: &str = "refused";
/// By what those add up whose callers are told apart.
pub(super) const USAGE_KEY: &str = "account, network, end_user, tier, upstream, outcome, status";
/// By what everybody's add up.
pub(super) const TRAFFIC_KEY: &str = "tier, upstream, outcome, reason, status";

/// A query for the jobs and the refusals of which those conditions hold. Its columns are `at` (when a job ended, or the minute of
/// refusals began), those of [`USAGE_KEY`] and [`TRAFFIC_KEY`], and the numbers `jobs`, `units`, `wait_ms` and `service_ms`.
pub(super) fn finished(jobs: &str, refusals: &str) -> String {
    format!(
        "SELECT ended AS at, account, network, end_user, tier, upstream, outcome, '' AS reason, status, \
                1 AS jobs, units, wait_ms, service_ms \
           FROM job WHERE instance = {INSTANCE} AND {jobs} \
         UNION ALL \
         SELECT minute, account, network, end_user, tier, '', '{REFUSED}', reason, status, count, 0, 0, 0 \
           FROM refusal WHERE instance = {INSTANCE} AND {refusals}"
    )
}

/// The condition that a row counts for that caller; an account's include its users'. It names `:account`, `:network` and
/// `:end_user`, whether they matter or not.
pub(super) const fn of(whose: Option<Caller>) -> &'static str {
    match whose {
        None => ":account + :network + :end_user IS NOT NULL",
        Some(Caller::Account(_)) => "account = :account AND :network + :end_user IS NOT NULL",
        Some(_) => "account = :account AND network = :network AND end_user = :end_user",
    }
}
