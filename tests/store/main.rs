//! What must survive, whatever happens: the ledger, its windows and statistics over the database.

mod backfill;
mod clock;
mod commit_settings;
mod crashes;
#[path = "../support/folder.rs"]
mod folder;
mod folders;
mod histories;
mod kit;
mod reopening;
mod retention;
#[path = "../../crates/policy/tests/support/rules.rs"]
mod rules;
mod scenarios;
mod statistics;
