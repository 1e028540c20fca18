//! What was said so far, and how a change of one value is said.
//!
//! Absent on purpose: which values there are, and what a URL among them holds beside host and path.

use super::Difference;
use super::words::apart;
use crate::config::secret::without_credentials;

/// The differences that were found, in the order in which they were.
#[derive(Debug, Default)]
pub(super) struct Said {
    differences: Vec<Difference>,
}

impl Said {
    /// To say something of a section or setting, or of what else has no other words.
    pub(super) fn about(&mut self, subject: impl Into<String>) -> About<'_> {
        About {
            said: self,
            subject: without_credentials(&subject.into()),
            tier: None,
            restart: false,
        }
    }

    /// To say something of the tier of that name.
    pub(super) fn about_tier(&mut self, subject: String, name: &str) -> About<'_> {
        About {
            tier: Some(name.to_owned()),
            ..self.about(subject)
        }
    }

    /// How much was said.
    pub(super) fn len(&self) -> usize {
        self.differences.len()
    }

    /// All of it.
    pub(super) fn into_differences(self) -> Vec<Difference> {
        self.differences
    }
}

/// Of what is spoken.
#[derive(Debug)]
pub(super) struct About<'s> {
    said: &'s mut Said,
    subject: String,
    tier: Option<String>,
    restart: bool,
}

impl About<'_> {
    /// The same, of which every change takes a restart.
    pub(super) fn after_restart(self) -> Self {
        Self { restart: true, ..self }
    }

    /// Says a change.
    pub(super) fn change(&mut self, change: impl Into<String>) {
        self.said.differences.push(Difference {
            subject: self.subject.clone(),
            change: without_credentials(&change.into()),
            tier: self.tier.clone(),
            restart: self.restart,
        });
    }

    /// Says `what old → new`, if they differ; `what` is empty where the subject is the setting itself.
    pub(super) fn field<T: PartialEq + ?Sized>(&mut self, what: &str, old: &T, new: &T, show: impl Fn(&T) -> String) {
        if old != new {
            self.change(changed(what, &show(old), &show(new)));
        }
    }
}

/// Says each field that differs, in this order: `name: show`, or `name("what"): show` where it is called otherwise. Every field of the
/// struct is named, behind `;` those that are compared elsewhere: a new one does not compile until it is.
macro_rules! fields {
    ($about:expr, $old:expr, $new:expr, $type:ident {
        $($field:ident $(($what:literal))?: $show:expr),* $(,)? $(; $($elsewhere:ident),+)?
    }) => {{
        let $type { $($field: _,)* $($($elsewhere: _),+)? } = $old;
        $($about.field(fields!(@what $field $($what)?), &$old.$field, &$new.$field, $show);)*
    }};
    (@what $field:ident) => { stringify!($field) };
    (@what $field:ident $what:literal) => { $what };
}
pub(super) use fields;

/// `what old → new`. Two values that differ and read alike are told as such.
pub(super) fn changed(what: &str, old: &str, new: &str) -> String {
    let (old, new) = apart(old, new);
    let what = if what.is_empty() {
        String::new()
    } else {
        format!("{what} ")
    };
    if old == new {
        format!("{what}{old} → another that reads the same")
    } else {
        format!("{what}{old} → {new}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_differ_and_read_alike_are_told_as_such() {
        let mut said = Said::default();
        let mut about = said.about("queue");
        about.field("length", &8, &8, i32::to_string);
        about.field("length", &8, &9, i32::to_string);
        about.field("", &"a\tb", &"a b", |text| (*text).to_owned());
        let changes: Vec<String> = said.into_differences().into_iter().map(|said| said.change).collect();
        assert_eq!(changes, ["length 8 → 9", "a b → another that reads the same"]);
    }
}
