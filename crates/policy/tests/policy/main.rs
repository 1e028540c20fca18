//! The policy, shown to be right: against a model that is obviously right (`histories`), and rule by rule.
//!
//! Time is a number here: nothing sleeps, and every failure can be replayed (CONTRIBUTING.md).

mod aggregation;
mod clock;
mod controls;
mod debits;
mod displacement;
mod fairness;
mod harness;
mod histories;
mod limits;
mod limits_aggregated;
mod limits_model;
mod limits_reloaded;
mod limits_side_by_side;
mod model;
mod outlook;
mod promises;
mod quota;
mod relocation;
#[path = "../support/request.rs"]
mod request;
#[path = "../support/rules.rs"]
mod rules;
#[path = "../support/seeded.rs"]
mod seeded;
mod side_by_side;
mod uploads;
mod wait;
