//! What must survive, whatever the disk does.

mod books;
mod disk;
mod faults;
mod filling;
mod flips;
#[path = "../support/folder.rs"]
mod folder;
mod house;
mod pace;
mod reopening;
mod scenarios;
mod statistics;
