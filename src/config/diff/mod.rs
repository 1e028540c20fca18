//! What would change if one configuration took the place of another, in the operator's words and the file's order.
//!
//! The promise: [`diff`] is empty if and only if the two are equal. The settings write themselves as a `tree`, `compare` walks two of
//! them, and `lists` says what became of the items of a list. So a new setting is compared without a line here; `sentences` has
//! the paths that deserve words of their own. Of keys only their number is told.

mod compare;
mod line;
mod lists;
mod sentences;
mod tree;

use std::fmt;

use super::{Admin, Config};

pub use line::Line;
pub(super) use tree::{HIDDEN, Tree};

/// What would change, in the file's order. Empty if and only if nothing would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    differences: Vec<Line>,
}

impl Diff {
    /// All differences, in the file's order.
    pub fn differences(&self) -> &[Line] {
        &self.differences
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    /// What a running server can't change, in the file's order.
    pub fn needs_restart(&self) -> impl Iterator<Item = &Line> {
        self.differences.iter().filter(|difference| difference.restart)
    }

    /// The lines to show, with how many accounts each tier has, as far as `accounts_of` knows; what needs a restart comes last.
    pub fn describe(&self, accounts_of: &dyn Fn(&str) -> Option<usize>) -> Vec<Line> {
        let live = self.differences.iter().filter(|difference| !difference.restart);
        let counted = |line: &Line| Line {
            accounts: line.tier.as_deref().and_then(accounts_of),
            ..line.clone()
        };
        live.chain(self.needs_restart()).map(counted).collect()
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.describe(&|_| None)
            .iter()
            .try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Config {
    /// This configuration with the running one's values where a change takes a restart: `listen`, `admin.listen`, `data_dir`
    /// and `cores`. It is what a server that runs the other really runs once this one was applied to it.
    pub fn applied_to(self, running: &Self) -> Self {
        Self {
            listen: running.listen,
            admin: Admin {
                listen: running.admin.listen,
                ..self.admin
            },
            data_dir: running.data_dir.clone(),
            cores: running.cores,
            ..self
        }
    }
}

/// What would change if `new` took the place of `old`. Empty if and only if they are equal.
pub fn diff(old: &Config, new: &Config) -> Diff {
    Diff {
        differences: compare::compare(&old.settings(), &new.settings()),
    }
}
