//! The access log: one line for each finished request.
//!
//! A request's thread appends the line to a buffer in memory; a thread of the log's own writes the buffer out every
//! [`FLUSH_EVERY`]. So a request never waits for the output. What the output can't take is dropped and counted, and so is what
//! exceeds the lines of a second: a flood of refusals may take half of them, so that it doesn't hide what was served.

mod entry;
mod output;
mod text;

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Key, KeyName, Label, Level, Metadata, Recorder};
use parking_lot::{Condvar, Mutex};
use tracing::error;

pub use entry::{AddressDisplay, Entry, LineFormat};
use output::{Output, WriteError};
use text::SecondText;

use crate::clock::Clock;
use crate::policy::time::Timestamp;

/// How often lines are written out.
pub const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// The most bytes that wait to be written out; further lines are dropped.
pub const BUFFER_BYTES_MAX: usize = 4 << 20;
/// How long the end of the program waits for the last lines.
pub const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// Which requests are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// All.
    #[default]
    All,
    /// Those on metered routes.
    Metered,
    /// Those answered with 400 and above, or not at all.
    Errors,
}

/// The settings of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// Which requests it has.
    pub which: Which,
    /// The format of its lines.
    pub format: LineFormat,
    /// How addresses are written.
    pub addresses: AddressDisplay,
    /// The file; standard output otherwise.
    pub file: Option<PathBuf>,
    /// The most lines a second, at least 2.
    pub lines_per_second_max: u32,
}

/// Counts lines that were not written, by reason.
#[derive(Clone, Debug)]
pub struct DroppedLines {
    /// More than `max_per_second`.
    rate: Counter,
    /// The output was too slow: the buffer was full.
    blocked: Counter,
    /// The output could not be opened or written.
    failed: Counter,
}

impl DroppedLines {
    /// Registers `tiergate_access_log_dropped_total`.
    pub fn register(recorder: &impl Recorder) -> Self {
        const NAME: &str = "tiergate_access_log_dropped_total";
        const METADATA: Metadata<'static> = Metadata::new("tiergate", Level::INFO, None);
        let about = "Requests that the access log should have and has not, by reason.";
        recorder.describe_counter(KeyName::from_const_str(NAME), None, about.into());
        let counter =
            |reason| recorder.register_counter(&Key::from_parts(NAME, vec![Label::new("reason", reason)]), &METADATA);
        Self {
            rate: counter("rate"),
            blocked: counter("blocked"),
            failed: counter("failed"),
        }
    }
}

thread_local! {
    /// A thread's line in the making, and its second: lines are made outside of the lock.
    static LINE: RefCell<(String, SecondText)> = RefCell::default();
}

/// An access log. Its thread ends, with the last lines written, after this is dropped.
#[derive(Debug)]
pub struct AccessLog {
    settings: AccessLogSettings,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    buffer: Mutex<Buffer>,
    /// The thread is to end, or has ended.
    changed: Condvar,
    dropped: DroppedLines,
}

#[derive(Debug, Default)]
struct Buffer {
    lines: String,
    /// How many lines that is.
    count: u64,
    /// The second of the two next fields, by the monotonic clock.
    second: u64,
    /// Lines of this second.
    taken: u32,
    /// Of these, refusals.
    refusals: u32,
    /// Lines beyond the rate that no line has told yet.
    omitted: u64,
    is_closing: bool,
    has_ended: bool,
}

/// The name of that file, or of standard output, in messages.
pub fn name(file: Option<&Path>) -> String {
    file.map_or_else(|| "standard output".to_owned(), |file| file.display().to_string())
}

impl AccessLog {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// The file can't be opened, or the thread can't be started.
    pub fn open(settings: AccessLogSettings, dropped: DroppedLines, clock: Clock) -> std::io::Result<Arc<Self>> {
        let output = Output::open(settings.file.clone(), clock)?;
        let shared = Arc::new(Shared {
            buffer: Mutex::default(),
            changed: Condvar::new(),
            dropped,
        });
        let writer = Arc::clone(&shared);
        let format = settings.format;
        std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.write_out(output, format))?;
        Ok(Arc::new(Self { settings, shared }))
    }

    /// Its settings.
    pub fn settings(&self) -> &AccessLogSettings {
        &self.settings
    }

    /// Whether lines have the client's `User-Agent`.
    pub fn has_user_agent(&self) -> bool {
        self.settings.format == LineFormat::Combined
    }

    /// Logs a request that has ended at `now`, unless it is not of those that are logged.
    pub fn record(&self, entry: &Entry<'_>, now: Timestamp) {
        let is_error = entry.status.is_none_or(|status| status >= 400);
        let is_wanted = match self.settings.which {
            Which::All => true,
            Which::Metered => entry.metered,
            Which::Errors => is_error,
        };
        if !is_wanted {
            return;
        }
        if !self.claim(now, entry.reason.is_some()) {
            return;
        }
        LINE.with_borrow_mut(|(line, second)| {
            line.clear();
            entry.write(line, self.settings.format, self.settings.addresses, second);
            let mut buffer = self.shared.buffer.lock();
            buffer.count += 1;
            buffer.lines.push_str(line);
        });
    }

    /// Whether one more line may be written at `now`; if not, that is counted.
    fn claim(&self, now: Timestamp, is_refusal: bool) -> bool {
        let mut buffer = self.shared.buffer.lock();
        if !buffer.has_room(now, is_refusal, self.settings.lines_per_second_max) {
            buffer.omitted += 1;
            self.shared.dropped.rate.increment(1);
            return false;
        }
        let is_blocked = buffer.lines.len() >= BUFFER_BYTES_MAX;
        if is_blocked {
            self.shared.dropped.blocked.increment(1);
        }
        !is_blocked
    }

    /// Writes out what is left, and waits for it, at most [`CLOSE_PATIENCE`].
    pub fn close(&self) {
        let mut buffer = self.shared.buffer.lock();
        buffer.is_closing = true;
        self.shared.changed.notify_all();
        self.shared
            .changed
            .wait_while_for(&mut buffer, |buffer| !buffer.has_ended, CLOSE_PATIENCE);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.shared.buffer.lock().is_closing = true;
        self.shared.changed.notify_all();
    }
}

impl Buffer {
    /// Takes one of this second's lines. Refusals get at most half of them.
    fn has_room(&mut self, now: Timestamp, is_refusal: bool, lines_max: u32) -> bool {
        let second = now.since(Timestamp::ZERO).as_millis() / 1_000;
        if self.second != second {
            (self.second, self.taken, self.refusals) = (second, 0, 0);
        }
        if self.taken >= lines_max || (is_refusal && self.refusals >= lines_max / 2) {
            return false;
        }
        self.taken += 1;
        self.refusals += u32::from(is_refusal);
        true
    }
}

impl Shared {
    /// The thread's body: writes the buffer out until the log is closed.
    fn write_out(&self, mut output: Output, format: LineFormat) {
        let mut lines = String::new();
        let mut is_failing = false;
        loop {
            let (count, omitted, is_closing) = {
                let mut buffer = self.buffer.lock();
                if !buffer.is_closing {
                    self.changed.wait_for(&mut buffer, FLUSH_EVERY);
                }
                std::mem::swap(&mut lines, &mut buffer.lines);
                let mut omitted = 0;
                if buffer.omitted > 0 && (buffer.is_closing || output.may_tell_omitted()) {
                    omitted = std::mem::take(&mut buffer.omitted);
                    entry::write_omitted(&mut lines, format, output.now(), omitted);
                }
                (std::mem::take(&mut buffer.count), omitted, buffer.is_closing)
            };
            match output.write(lines.as_bytes()) {
                Ok(()) => is_failing = false,
                Err(WriteError { lines, cause }) => {
                    self.dropped.failed.increment(count.saturating_sub(lines));
                    // The line that tells of them is the last.
                    self.buffer.lock().omitted += omitted;
                    if !std::mem::replace(&mut is_failing, true) {
                        error!(file = %output.name(), error = %cause, "writing the access log failed; dropping its lines");
                    }
                }
            }
            lines.clear();
            if is_closing {
                self.buffer.lock().has_ended = true;
                self.changed.notify_all();
                return;
            }
        }
    }
}
