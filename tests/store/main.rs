//! What must survive, whatever the disk does.

mod account_faults;
mod accounts;
mod books;
mod disk;
mod faults;
mod flips;
mod house;
mod reopening;
mod statistics;
