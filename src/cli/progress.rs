//! Progress of long operations, on terminals only.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const BYTES: &str = "{bar:40} {bytes} of {total_bytes}, {eta} left";
const WAITING: &str = "{spinner} {msg} ({elapsed})";
/// Interval of the spinner.
const TURNS: Duration = Duration::from_millis(100);

/// A progress bar or spinner; cleared when dropped.
#[derive(Debug)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// For work of a known number of bytes.
    pub fn of_bytes() -> Self {
        Self(styled(BYTES))
    }

    /// For work on the server.
    pub fn waiting_for(what: String) -> Self {
        let spinner = styled(WAITING);
        if let Some(spinner) = &spinner {
            spinner.set_message(what);
            spinner.enable_steady_tick(TURNS);
        }
        Self(spinner)
    }

    /// Updates the bar to `done` of about `total` bytes.
    pub fn update(&self, done: u64, total: u64) {
        if let Some(bar) = &self.0 {
            bar.set_length(total.max(done));
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn styled(template: &str) -> Option<ProgressBar> {
    stderr().is_terminal().then(|| {
        let style = ProgressStyle::with_template(template).expect("a test checks the templates");
        ProgressBar::new(0).with_style(style)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [BYTES, WAITING] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
