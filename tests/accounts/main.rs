//! Accounts, keys and networks in the database: what was acknowledged is there after a restart.

mod accounts;
mod audit;
#[path = "../support/database.rs"]
mod database;
#[path = "../support/folder.rs"]
mod folder;
mod import;
mod key_uses;
mod kit;
mod networks;
