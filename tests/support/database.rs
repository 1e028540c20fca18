//! A database of a test's own.

use std::path::Path;
use std::sync::Arc;

use tiergate::clock::Clock;
use tiergate::policy::rules::Window;
use tiergate::policy::time::{Span, UnixTime};
use tiergate::store::{DataDir, Database, History, LedgerSettings, OpenError};
use tiergate::telemetry::DatabaseMeters;

/// Opens the database in that folder, whose wall clock reads as `wall` says; tries again at once after a failure.
pub fn open(
    folder: &Path,
    windows: &[Window],
    wall: impl Fn() -> UnixTime + Send + Sync + 'static,
) -> Result<Arc<Database>, OpenError> {
    let settings = LedgerSettings {
        retry_after: Span::from_millis(1),
        ..LedgerSettings::new(Clock::start(), Arc::new(wall), DatabaseMeters::unobserved())
    };
    let dir = DataDir::take(folder)?;
    Database::open(dir, settings, windows, History::default()).map(Arc::new)
}

/// The same in a folder that can be used, at that time.
pub fn open_at(folder: &Path, wall: UnixTime) -> Arc<Database> {
    open(folder, &[], move || wall).expect("the folder can be used")
}
