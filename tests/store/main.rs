//! What must survive, whatever the disk does.

mod accounts;
