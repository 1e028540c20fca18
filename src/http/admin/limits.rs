//! Numbers of somebody's own for request limits in JSON, and whether the rules have such limits.
//!
//! Absent on purpose: how large a number may be, which the store knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::policy::rules::{Limit, Raise, Rules};

/// `300`, or `{ "limit": 5000, "lifts": "network" }` (semantics §7.3).
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum RaiseLine {
    /// It lifts nothing else.
    Number(u32),
    /// It may lift the number of the account's network too.
    Lifting(Lifting),
}

/// A number, and what it lifts beside itself.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lifting {
    limit: u32,
    lifts: Option<Lifts>,
}

/// What a number of an account's own lifts.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum Lifts {
    Network,
}

impl From<Raise> for RaiseLine {
    fn from(raise: Raise) -> Self {
        let limit = raise.number;
        match raise.lifts_network {
            false => Self::Number(limit),
            true => Self::Lifting(Lifting {
                limit,
                lifts: Some(Lifts::Network),
            }),
        }
    }
}

impl From<RaiseLine> for Raise {
    fn from(line: RaiseLine) -> Self {
        match line {
            RaiseLine::Number(number) => Self {
                number,
                lifts_network: false,
            },
            RaiseLine::Lifting(Lifting { limit, lifts }) => Self {
                number: limit,
                lifts_network: lifts.is_some(),
            },
        }
    }
}

/// What is said by name, as the store has it.
pub fn by_name<T, U>(said: BTreeMap<String, T>, of: impl Fn(T) -> U) -> Vec<(Arc<str>, U)> {
    said.into_iter().map(|(name, value)| (name.into(), of(value))).collect()
}

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
