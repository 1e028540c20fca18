//! Checks that request limits exist and allow individual numbers. How large the numbers may be is for the store to check.

use super::problem::Problem;
use crate::policy::rules::{Limit, Rules};

/// Checks that these limits count accounts or networks: a limit that counts everybody together allows no individual numbers.
/// Clients without an account are counted by network, so a limit of either kind counts both.
///
/// # Errors
/// One of them does not; the message lists those that do. An unknown name is not repeated: in an import it may be a key in the
/// wrong column.
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
                    [] => "tiers.yaml has no request limits that allow individual numbers".to_owned(),
                    known => format!("there is no such request limit, only {}", known.join(", ")),
                }
            }
        };
        return Err(Problem::bad_request(error));
    }
    Ok(())
}
