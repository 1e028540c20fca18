//! What must survive, whatever the disk does.

mod accounts;
mod disk;
mod house;
mod reopening;
