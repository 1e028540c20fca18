//! Matches the items of two lists.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The items of two lists, matched.
#[derive(Debug)]
pub(super) struct Matched<'c, T> {
    /// The new list's items in order, each with its old item; `None`: added.
    pub(super) now: Vec<(Option<&'c T>, &'c T)>,
    /// Removed items, in the old order.
    pub(super) removed: Vec<&'c T>,
    /// Whether the common items changed their order.
    pub(super) reordered: bool,
}

/// Matches items with the same key. With duplicate keys, the first matches the first, and so on.
pub(super) fn matched<'c, T, K: Eq + Hash>(old: &'c [T], new: &'c [T], key: impl Fn(&'c T) -> K) -> Matched<'c, T> {
    matched_by(old, new, 1, |_, item| key(item))
}

/// The same with several numbered keys: the second matches what the first leaves over, and so on.
pub(super) fn matched_by<'c, T, K: Eq + Hash>(
    old: &'c [T],
    new: &'c [T],
    keys: usize,
    key: impl Fn(usize, &'c T) -> K,
) -> Matched<'c, T> {
    let mut was: Vec<Option<usize>> = vec![None; new.len()];
    let mut taken = vec![false; old.len()];
    for number in 0..keys {
        let mut free: HashMap<K, VecDeque<usize>> = HashMap::new();
        for (at, item) in old.iter().enumerate().filter(|(at, _)| !taken[*at]) {
            free.entry(key(number, item)).or_default().push_back(at);
        }
        for (was, item) in was.iter_mut().zip(new).filter(|(was, _)| was.is_none()) {
            *was = free.get_mut(&key(number, item)).and_then(VecDeque::pop_front);
            if let Some(at) = *was {
                taken[at] = true;
            }
        }
    }
    Matched {
        reordered: !was.iter().flatten().is_sorted(),
        now: was.iter().map(|was| was.map(|at| &old[at])).zip(new).collect(),
        removed: old
            .iter()
            .zip(taken)
            .filter(|(_, taken)| !taken)
            .map(|(item, _)| item)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lists_are_equal_if_and_only_if_nothing_became_of_their_items(
            old in prop::collection::vec(0_u8..4, 0..6),
            new in prop::collection::vec(0_u8..4, 0..6),
        ) {
            let matched = matched(&old, &new, |item| *item);
            let same = matched.now.iter().all(|(was, is)| *was == Some(*is));
            prop_assert_eq!(old == new, same && matched.removed.is_empty() && !matched.reordered);
            prop_assert_eq!(matched.now.len(), new.len());
            let kept = matched.now.iter().filter(|(was, _)| was.is_some()).count();
            prop_assert_eq!(kept + matched.removed.len(), old.len());
        }
    }

    #[test]
    fn entries_unmatched_by_one_key_are_matched_by_the_next() {
        let (old, new) = ([(1, 'a'), (2, 'b'), (3, 'c')], [(2, 'b'), (1, 'x'), (4, 'y')]);
        let matched = matched_by(&old, &new, 2, |number, item| (item.0, (number == 0).then_some(item.1)));
        assert_eq!(
            matched.now,
            [(Some(&old[1]), &new[0]), (Some(&old[0]), &new[1]), (None, &new[2])]
        );
        assert_eq!(matched.removed, [&old[2]]);
        assert!(matched.reordered);
    }
}
