//! Compares two trees of settings by path, and by name in lists.

use std::borrow::Cow;
use std::collections::HashSet;

use super::DiffLine;
use super::lists::{Matched, matched, matched_by};
use super::sentences::{Sentence, count, sentence};
use super::tree::{HIDDEN, Tree};
use crate::config::secret::without_credentials;
use crate::config::snippet::printable;

/// The most characters of a value that are shown.
const SHOWN_CHARS_MAX: usize = 80;
/// The most characters shown before the first difference, if a value must be cut.
const BEFORE_CHARS_MAX: usize = 20;

/// The differences, in the order of the settings.
pub(super) fn compare(old: &Tree, new: &Tree) -> Vec<DiffLine> {
    let mut walk = Walk {
        all: (old, new),
        path: Vec::new(),
        found: Vec::new(),
    };
    walk.part(old, new, "");
    walk.found
}

struct Walk<'t> {
    /// All settings before and after.
    all: (&'t Tree, &'t Tree),
    /// The current path.
    path: Vec<String>,
    found: Vec<DiffLine>,
}

/// A part and its name.
type NamedTree<'t> = (Cow<'t, str>, &'t Tree);

impl Walk<'_> {
    /// Compares the values at the path; `beside` is what changes with it.
    fn part(&mut self, old: &Tree, new: &Tree, beside: &str) {
        if old == new {
            return;
        }
        let said = sentence(&self.path);
        if let Some(show) = said.added
            && (*old == Tree::Nothing || *new == Tree::Nothing)
        {
            let told = match (said.removed, old) {
                (_, Tree::Nothing) => format!("added: {}", show(new)),
                (Some(told), _) => format!("removed: {}", told(self.all.1)),
                (None, _) => format!("removed: {}", show(old)),
            };
            let (_, what) = self.called();
            return self.say(format!("{what} {told}").trim_start());
        }
        let entries = said.whole.is_none().then(|| entries(old, said).zip(entries(new, said)));
        match (old, new, said.each, entries.flatten()) {
            (Tree::List(old), Tree::List(new), Some(noun), _) => self.items(old, new, noun),
            (.., Some((old, new))) => self.entries(&old, &new, said),
            _ => {
                let (old, new) = (shown(old, new, said), shown(new, old, said));
                self.say(changed(&self.called().1, &old, &new) + beside);
            }
        }
    }

    /// The fields of a section, or entries with names.
    fn entries(&mut self, old: &[NamedTree<'_>], new: &[NamedTree<'_>], said: &Sentence) {
        let levels = said.known_by.len().max(1);
        let Matched {
            now,
            removed,
            reordered,
        } = matched_by(old, new, levels, |level, (name, of)| {
            said.known_by
                .get(level)
                .map_or_else(|| name.to_string(), |known| known(of))
        });
        let renamed = said.renamed && self.renamed(&now, &removed);
        let pairs: Vec<_> = now
            .iter()
            .map(|(was, (name, now))| (name, was.map_or(&Tree::Nothing, |(_, was)| *was), *now))
            .collect();
        let led = self.led(&pairs);
        let gone = removed.iter().map(|(name, was)| (name, *was, &Tree::Nothing));
        for (name, was, now) in pairs.iter().copied().chain(gone) {
            let one_sided = *was == Tree::Nothing || *now == Tree::Nothing;
            let is_told = led.iter().any(|(follower, ..)| *follower == name) || (renamed && one_sided);
            if !is_told {
                let beside = led.iter().find(|(_, leader, _)| leader == name);
                let beside = beside.map_or("", |(.., beside)| beside);
                self.at(name, |walk| walk.part(was, now, beside));
            }
        }
        if reordered {
            self.say_reordered("");
        }
    }

    /// Reports one removed and one added entry as one change, if that is all.
    fn renamed(&mut self, now: &[(Option<&NamedTree<'_>>, &NamedTree<'_>)], removed: &[&NamedTree<'_>]) -> bool {
        let mut come = now.iter().filter(|(was, _)| was.is_none()).map(|(_, now)| *now);
        let ([gone], Some(come), None) = (removed, come.next(), come.next()) else {
            return false;
        };
        let [gone, come] = [*gone, come].map(|(name, of)| {
            let (what, said) = self.at(name, |walk| (walk.called().1, sentence(&walk.path)));
            format!("{what} {}", shown(of, &Tree::Nothing, said))
        });
        self.say(changed("", &gone, &come));
        true
    }

    /// Fields that only follow another field, that field, and the text beside it.
    fn led<'n>(&mut self, pairs: &[(&'n Cow<'n, str>, &Tree, &Tree)]) -> Vec<(&'n Cow<'n, str>, &'static str, String)> {
        let mut led = Vec::new();
        for (name, was, now) in pairs {
            let Some((leader, times)) = self.at(name, |walk| sentence(&walk.path)).follows else {
                continue;
            };
            let Some((_, old, new)) = pairs.iter().find(|(name, ..)| *name == leader) else {
                continue;
            };
            let follows = |of: &Tree, leader: &Tree| match (of, leader) {
                (Tree::Value(of), Tree::Value(leader)) if times > 1 => {
                    let number = leader.parse::<u64>().map(|number| number.saturating_mul(times));
                    number.is_ok_and(|number| number.to_string() == *of)
                }
                (of, leader) => of == leader,
            };
            if old != new && follows(was, old) && follows(now, new) {
                let usual = sentence(&self.path);
                let beside = match times {
                    1 => format!(" ({name} as well)"),
                    _ => format!(" ({})", changed(name, &shown(was, now, usual), &shown(now, was, usual))),
                };
                led.push((*name, leader, beside));
            }
        }
        led
    }

    /// Reports added and removed items one by one, and only the number of secret ones.
    fn items(&mut self, old: &[Tree], new: &[Tree], noun: &str) {
        let Matched {
            now,
            removed,
            reordered,
        } = matched(old, new, |item| item);
        let added: Vec<&Tree> = now
            .iter()
            .filter(|(was, _)| was.is_none())
            .map(|(_, now)| *now)
            .collect();
        let is_hidden = |item: &Tree| matches!(item, Tree::Value(text) if text.starts_with(HIDDEN));
        let are_hidden = old.iter().chain(new).any(is_hidden);
        for (items, others, done, again) in [
            (added, old, "added", " once more"),
            (removed, new, "removed", " once, and listed still"),
        ] {
            if are_hidden && !items.is_empty() {
                self.say(format!("{} {done}", count(items.len() as u64, noun)));
                continue;
            }
            let others: HashSet<&Tree> = others.iter().collect();
            for item in items {
                let again = if others.contains(item) { again } else { "" };
                let item = item.text().unwrap_or_default();
                self.say(format!("{noun} {item} {done}{again}").trim_start());
            }
        }
        if reordered {
            self.say_reordered(noun);
        }
    }

    fn say_reordered(&mut self, noun: &str) {
        let told = match (self.path.len(), noun, self.path.last()) {
            (0 | 1, ..) | (.., None) => "their order changed".to_owned(),
            (_, "", Some(name)) => format!("the order of its {name} changed"),
            (_, noun, _) => format!("the order of its {noun}s changed"),
        };
        self.say(told);
    }

    /// Runs `work` at a part of the path.
    fn at<T>(&mut self, name: &str, act: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(name.to_owned());
        let done = act(self);
        self.path.pop();
        done
    }

    /// The subject: the section or the entry, and what of it.
    fn called(&self) -> (String, String) {
        let (mut subject, mut what, mut joint) = (String::new(), String::new(), "");
        for (at, name) in self.path.iter().enumerate() {
            let called = sentence(&self.path[..=at]).called;
            let called = called.map(|called| called.replace("{}", name));
            match (at, called) {
                (0, _) => subject.clone_from(name),
                (1, Some(called)) => subject = called,
                (_, Some(called)) => (what, joint) = (called, ": "),
                (_, None) => {
                    what = format!("{what}{joint}{name}");
                    joint = ".";
                }
            }
        }
        (subject, what)
    }

    /// Reports a change at the path.
    fn say(&mut self, change: impl AsRef<str>) {
        let (mut subject, _) = self.called();
        let mut tier = None;
        if let [section, name, ..] = self.path.as_slice()
            && section == "tiers"
        {
            let (old, new) = self.all;
            let is_there = *new.get("tiers").get(name) != Tree::Nothing;
            let of = if is_there { new } else { old };
            // A change of the anonymous tier affects all callers without an account, so a number of accounts says nothing.
            if of.get("anonymous").text().as_ref() == Some(name) {
                subject = format!("anonymous {subject}");
            }
            tier = Some(name.clone());
        }
        self.found.push(DiffLine {
            subject: without_credentials(&subject),
            change: printable(&without_credentials(change.as_ref())),
            tier,
            accounts: None,
            restart: sentence(&self.path).restart,
        });
    }
}

/// The parts of a section or list of entries, with their names; `None` for anything else.
fn entries<'t>(tree: &'t Tree, said: &Sentence) -> Option<Vec<NamedTree<'t>>> {
    match tree {
        Tree::Nothing => Some(Vec::new()),
        Tree::Map(fields) => Some(fields.iter().map(|(name, of)| (name.into(), of)).collect()),
        Tree::List(items) => items
            .iter()
            .map(|item| {
                let [(_, first), ..] = item.fields() else { return None };
                let name = said
                    .known_by
                    .first()
                    .map_or_else(|| first.text(), |known| Some(known(item)));
                Some((name.unwrap_or_default().into(), item))
            })
            .collect(),
        Tree::Value(_) => None,
    }
}

/// The text for one side; `other` is the other side.
fn shown(tree: &Tree, other: &Tree, said: &Sentence) -> String {
    let text = match (tree, said.whole) {
        (Tree::Nothing, _) => None,
        (tree, Some(show)) => Some(show(tree, other)),
        (tree, None) => tree.text(),
    };
    text.unwrap_or_else(|| said.absent.to_owned())
}

/// `what old → new`. Different values with the same text are marked as such.
fn changed(what: &str, old: &str, new: &str) -> String {
    let (old, new) = apart(old, new);
    let new = if old == new {
        "another that reads the same"
    } else {
        &new
    };
    format!("{what} {old} → {new}").trim_start().to_owned()
}

/// Both texts, printable, without credentials and cut to a line; the difference is never cut.
fn apart(old: &str, new: &str) -> (String, String) {
    let chars = |text: &str| printable(&without_credentials(text)).chars().collect::<Vec<_>>();
    let (old, new) = (chars(old), chars(new));
    if old.len().max(new.len()) <= SHOWN_CHARS_MAX {
        return (old.iter().collect(), new.iter().collect());
    }
    let alike = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let first = alike.saturating_sub(BEFORE_CHARS_MAX);
    let cut = |text: &[char]| {
        let last = text.len().min(first + SHOWN_CHARS_MAX);
        let before = if first > 0 { "…" } else { "" };
        let after = if last < text.len() { "…" } else { "" };
        let shown: String = text[first..last].iter().collect();
        format!("{before}{shown}{after}")
    };
    (cut(&old), cut(&new))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn different_values_that_read_alike_are_marked() {
        let tree = |text: &str| Tree::Map(vec![("name".to_owned(), Tree::Value(text.to_owned()))]);
        let change = |old: &str, new: &str| {
            let found = compare(&tree(old), &tree(new));
            found.into_iter().map(|found| found.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(change("8", "8"), [""; 0]);
        assert_eq!(change("8", "9"), ["name: 8 → 9"]);
        assert_eq!(change("a\tb", "a b"), ["name: a b → another that reads the same"]);
    }

    #[test]
    fn changed_secrets_are_reported_and_not_shown() {
        let tree = |text: &str| Tree::Map(vec![("token".to_owned(), Tree::Value(format!("{HIDDEN}{text}")))]);
        let found = compare(&tree("hunter2"), &tree("hunter3"));
        assert_eq!(found[0].to_string(), "token: *** → another that reads the same");
    }

    proptest! {
        #[test]
        fn what_differs_is_not_cut_away(start in "[a-z]{0,200}", old in "[a-z]{0,90}", new in "[a-z]{0,90}", end in "[a-z]{0,200}") {
            let (a, b) = (format!("{start}{old}{end}"), format!("{start}{new}{end}"));
            let (shown_a, shown_b) = apart(&a, &b);
            prop_assert_eq!(a == b, shown_a == shown_b, "{} {}", shown_a, shown_b);
            prop_assert!(shown_a.chars().count() <= SHOWN_CHARS_MAX + 2);
        }
    }
}
