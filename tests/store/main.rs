//! What must survive, whatever happens: the ledger, its windows and statistics over the database.

mod crashes;
mod filling;
#[path = "../support/folder.rs"]
mod folder;
mod folders;
mod kit;
mod pace;
mod reopening;
mod scenarios;
mod statistics;
