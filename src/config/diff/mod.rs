//! What would change from one configuration to another, in the operator's words and the file's order.
//!
//! [`diff`] is empty if and only if the two are equal. The settings serialize themselves as a `tree`, `compare` walks two trees,
//! and `lists` matches list items. So a new setting needs no line here; `sentences` has the paths with wording of their own. Of
//! keys only the number is shown.

mod compare;
mod line;
mod lists;
mod sentences;
mod tree;

use std::fmt;

use super::{AdminSection, Config};

pub use line::DiffLine;
pub(super) use tree::{HIDDEN, Tree};

/// The changes, in the file's order. Empty if and only if the configurations are equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    differences: Vec<DiffLine>,
}

impl Diff {
    /// All differences, in the file's order.
    pub fn differences(&self) -> &[DiffLine] {
        &self.differences
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.differences.is_empty()
    }

    /// Changes that need a restart, in the file's order.
    pub fn needs_restart(&self) -> impl Iterator<Item = &DiffLine> {
        self.differences.iter().filter(|difference| difference.restart)
    }

    /// The lines to show, with the number of accounts per tier, if `accounts_of` knows it; changes that need a restart come last.
    pub fn describe(&self, accounts_of: &dyn Fn(&str) -> Option<usize>) -> Vec<DiffLine> {
        let live = self.differences.iter().filter(|difference| !difference.restart);
        let counted = |line: &DiffLine| DiffLine {
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
    /// This configuration with the running one's values where a change needs a restart: `listen`, `admin.listen`, `data_dir` and
    /// `cores`. It is what the server really runs after this one was applied.
    pub fn applied_to(self, running: &Self) -> Self {
        Self {
            listen: running.listen,
            admin: AdminSection {
                listen: running.admin.listen,
                ..self.admin
            },
            data_dir: running.data_dir.clone(),
            cores: running.cores,
            ..self
        }
    }
}

/// The changes from `old` to `new`. Empty if and only if they are equal.
pub fn diff(old: &Config, new: &Config) -> Diff {
    Diff {
        differences: compare::compare(&old.settings(), &new.settings()),
    }
}
