//! Whether the rules have the request limits for which somebody is to have numbers of their own. How large these may be the store
//! knows.

use super::problem::Problem;
use crate::policy::rules::{Limit, Rules};

/// Whether these are limits that count accounts or networks: of those that count everybody together nobody can have a number of
/// its own. Who has no account is counted by its network, so a limit of either kind counts both.
///
/// # Errors
/// One isn't; and which there are. A name that isn't known is not repeated: in an import it may be a key in the wrong place.
pub fn check<'n>(names: impl Iterator<Item = &'n String>, rules: &Rules) -> Result<(), Problem> {
    let counts_one = |limit: &&Limit| limit.per.network || limit.per.account;
    for name in names {
        let limit = rules.limits.iter().find(|limit| *limit.name == **name);
        let error = match limit {
            Some(limit) if counts_one(&limit) => continue,
            Some(limit) => format!(
                "the limit {} counts everybody together: no account and no network can have a number of its own",
                limit.name
            ),
            None => {
                let known = rules.limits.iter().filter(counts_one).map(|limit| &*limit.name);
                match known.collect::<Vec<_>>().as_slice() {
                    [] => "tiers.yaml has no request limits of which one could have a number of one's own".to_owned(),
                    known => format!("there is no such request limit; there are {}", known.join(", ")),
                }
            }
        };
        return Err(Problem::bad_request(error));
    }
    Ok(())
}
