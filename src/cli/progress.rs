//! How far long work is, on a terminal; nothing anywhere else.

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

const BYTES: &str = "{bar:40} {bytes} of {total_bytes}, {eta} left";
const WAITING: &str = "{spinner} {msg} ({elapsed})";
/// How often a spinner turns.
const TURNS: Duration = Duration::from_millis(100);

/// A bar or a spinner. It goes when it is dropped.
#[derive(Debug)]
pub struct Progress(Option<ProgressBar>);

impl Progress {
    /// Work of which it is known how many bytes it has.
    pub fn of_bytes() -> Self {
        Self(styled(BYTES))
    }

    /// Work that somebody else does.
    pub fn waiting_for(what: String) -> Self {
        let spinner = styled(WAITING);
        if let Some(spinner) = &spinner {
            spinner.set_message(what);
            spinner.enable_steady_tick(TURNS);
        }
        Self(spinner)
    }

    /// So many bytes of about so many.
    pub fn told(&self, done: u64, total: u64) {
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
        let style = ProgressStyle::with_template(template).expect("the template is right, as a test shows");
        ProgressBar::new(0).with_style(style)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_right() {
        for template in [BYTES, WAITING] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
