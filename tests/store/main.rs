//! What must survive, shown to survive.

mod statistics;
