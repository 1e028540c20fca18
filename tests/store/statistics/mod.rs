//! Statistics, over real files in a folder of the test's own.
//!
//! Time is a number here: months pass in seconds. A failure names its seed; `TIERGATE_SEED=n` replays it.

mod damage;
mod folder;
mod histories;
mod model;
mod racing;
mod space;
mod speed;
