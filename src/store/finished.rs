//! Finished jobs and refusals as rows of one kind: `usage`, `traffic` and all reports are sums of these.

use super::rows::INSTANCE;
use crate::policy::caller::Caller;

/// The outcome of refusals.
pub(super) const REFUSED: &str = "refused";
/// The columns that group `usage`, by caller.
pub(super) const USAGE_KEY: &str = "account, network, end_user, tier, upstream, outcome, status";
/// The columns that group `traffic`, over all callers.
pub(super) const TRAFFIC_KEY: &str = "tier, upstream, outcome, reason, status";

/// A query for the jobs and refusals that match those conditions. Its columns are `at` (the end of a job, or the start of the
/// minute of refusals), those of [`USAGE_KEY`] and [`TRAFFIC_KEY`], and the numbers `jobs`, `units`, `wait_ms` and `service_ms`.
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

/// The condition for rows that count for that caller; an account's include its users'. It always names `:account`, `:network`
/// and `:end_user`, since binding an unused parameter is an error.
pub(super) const fn of(whose: Option<Caller>) -> &'static str {
    match whose {
        None => ":account + :network + :end_user IS NOT NULL",
        Some(Caller::Account(_)) => "account = :account AND :network + :end_user IS NOT NULL",
        Some(_) => "account = :account AND network = :network AND end_user = :end_user",
    }
}
