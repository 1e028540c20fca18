//! Every reason to say yes or no.
pub mod caller;
pub mod rules;
pub mod time;
