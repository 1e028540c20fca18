//! What must survive, whatever the disk does.

mod account_faults;
mod accounts;
