//! A progress bar for indexing, on terminals only.

use std::io::{IsTerminal, stderr};

use indicatif::{ProgressBar, ProgressStyle};

const PICTURES: &str = "{bar:40} {pos} of {len} pictures, {eta} left";

/// How many pictures are indexed. The bar is cleared when this is dropped.
#[derive(Debug)]
pub struct IndexProgress(ProgressBar);

impl IndexProgress {
    /// A bar on standard error, if that is a terminal.
    pub fn on_terminal() -> Self {
        if !stderr().is_terminal() {
            return Self::hidden();
        }
        let style = ProgressStyle::with_template(PICTURES).expect("a test checks the template");
        Self(ProgressBar::new(0).with_style(style))
    }

    /// One that nobody sees.
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// How many there will be.
    pub fn expect(&self, pictures: usize) {
        self.0.set_length(u64::try_from(pictures).unwrap_or(u64::MAX));
    }

    /// One more is done.
    pub fn one_done(&self) {
        self.0.inc(1);
    }

    /// How many are done.
    pub fn done(&self) -> u64 {
        self.0.position()
    }
}

impl Drop for IndexProgress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_valid() {
        assert!(ProgressStyle::with_template(PICTURES).is_ok());
    }
}
