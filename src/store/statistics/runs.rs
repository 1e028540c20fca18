//! Which segments of the journal something covers: runs of numbers, since most follow one another.
//!
//! Absent on purpose: taking segments out again. What is covered stays so.

/// Segments by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs(Vec<(u64, u64)>);

impl Runs {
    /// That one alone.
    pub fn one(segment: u64) -> Self {
        Self(vec![(segment, segment)])
    }

    /// From first and last numbers; `None` unless they are in order and apart.
    pub fn from_parts(runs: Vec<(u64, u64)>) -> Option<Self> {
        let apart = runs.is_sorted_by(|one, next| one.1 < next.0);
        (apart && runs.iter().all(|(first, last)| first <= last)).then_some(Self(runs))
    }

    /// First and last numbers, in order.
    pub fn parts(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// The lowest number.
    pub fn first(&self) -> Option<u64> {
        self.0.first().map(|run| run.0)
    }

    /// The highest number.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|run| run.1)
    }

    /// How many segments. Saturates.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |count: u64, (first, last)| {
            count.saturating_add((last - first).saturating_add(1))
        })
    }

    /// Whether that one is among them.
    pub fn contains(&self, segment: u64) -> bool {
        self.has(segment, segment)
    }

    /// Whether all of the other's are among them.
    pub fn contains_all(&self, other: &Self) -> bool {
        other.0.iter().all(|(first, last)| self.has(*first, *last))
    }

    /// Whether any of the other's is among them.
    pub fn meets(&self, other: &Self) -> bool {
        other.0.iter().any(|(first, last)| {
            let place = self.0.partition_point(|run| run.1 < *first);
            self.0.get(place).is_some_and(|run| run.0 <= *last)
        })
    }

    /// Takes in the other's.
    pub fn add(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
        self.0.sort_unstable();
        self.0.dedup_by(|next, one| {
            let joined = next.0 <= one.1.saturating_add(1);
            if joined {
                one.1 = one.1.max(next.1);
            }
            joined
        });
    }

    fn has(&self, first: u64, last: u64) -> bool {
        let place = self.0.partition_point(|run| run.1 < first);
        self.0.get(place).is_some_and(|run| run.0 <= first && last <= run.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_what_was_added_and_nothing_else() {
        let mut runs = Runs::default();
        for segment in [5, 1, 2, 9, 3, u64::MAX, 2] {
            runs.add(&Runs::one(segment));
        }
        assert_eq!(runs.parts(), [(1, 3), (5, 5), (9, 9), (u64::MAX, u64::MAX)]);
        assert_eq!((runs.first(), runs.last(), runs.count()), (Some(1), Some(u64::MAX), 6));
        assert!(runs.contains(2) && !runs.contains(4) && !runs.contains(0));
        let some = Runs::from_parts(vec![(1, 2), (5, 5)]).expect("in order");
        assert!(runs.contains_all(&some) && !some.contains_all(&runs));
        assert!(some.meets(&runs) && !some.meets(&Runs::from_parts(vec![(3, 4), (6, 99)]).expect("in order")));
        assert_eq!(Runs::from_parts(vec![(2, 1)]), None);
        assert_eq!(Runs::from_parts(vec![(1, 3), (3, 4)]), None);
    }
}
