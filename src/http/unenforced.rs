//! Dry run: logs what unenforced limits and quotas would have refused, rarely enough that a flood doesn't fill the log. The
//! metric counts every one.

use std::sync::Arc;

use tracing::info;

use super::rare_log::RareLog;
use super::standing::Standing;
use crate::policy::rules::Rules;
use crate::policy::time::Timestamp;

/// The unenforced limits and quotas.
#[derive(Debug)]
pub struct Unenforced {
    of: Vec<(Arc<str>, RareLog)>,
}

impl Unenforced {
    /// The unenforced limits and quotas of these rules.
    pub fn new(rules: &Rules) -> Self {
        let of = rules.unenforced().into_iter().map(|name| (name, RareLog::default()));
        Self { of: of.collect() }
    }

    /// Logs that this limit or quota would have refused a request, if a line is due. Addresses of anonymous clients are not
    /// logged: they were not refused.
    pub fn note(&self, name: &str, standing: Option<&Standing>, now: Timestamp) {
        let known = self.of.iter().find(|(known, _)| **known == *name);
        let Some(requests) = known.and_then(|(_, log_state)| log_state.due(now)) else {
            return;
        };
        let account = standing.and_then(|standing| standing.account.as_ref());
        let last_caller = account.map_or("anonymous", |account| &account.name);
        info!(
            limit = name,
            requests,
            last_caller,
            "dry run: a limit that is not enforced would have refused requests since the last such line"
        );
    }
}
