//! Traffic and service times, over databases in folders of the tests' own.
//!
//! Time is a number here: months pass in seconds. A failure names its seed; `TIERGATE_SEED=n` replays it.

mod histories;
pub mod model;
mod racing;
mod space;
pub mod speed;
