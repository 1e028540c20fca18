//! Values by id, in their own order: for tiers, windows and upstreams that of tiers.yaml.
//!
//! Ids stay the same for as long as the process runs (see [`Ids`](crate::ids::Ids)), so they have gaps: each name removed from
//! tiers.yaml leaves one. A look-up is still two array accesses; a gap costs two bytes.

use std::fmt;
use std::ops::{Index, IndexMut};

/// An id: a number that stands for one name.
pub trait Id: Copy + Eq + Ord + fmt::Debug {
    /// The id with that number; `None` if it exceeds the largest one.
    fn from_index(index: usize) -> Option<Self>;

    /// The number, from 0.
    fn index(self) -> usize;
}

/// Marks an id without an entry.
const NOWHERE: u16 = u16::MAX;

/// The maximum number of entries: an index is less than [`NOWHERE`].
const ENTRIES_MAX: usize = NOWHERE as usize;

/// Values by id.
#[derive(Clone)]
pub struct Table<I, T> {
    entries: Vec<(I, T)>,
    /// The index into `entries`, by id.
    places: Vec<u16>,
}

impl<I: Id, T> Table<I, T> {
    /// Values with the ids 0, 1, 2 and so on.
    ///
    /// # Panics
    /// If there are more values than ids.
    pub fn numbered(values: impl IntoIterator<Item = T>) -> Self {
        let ids = (0..).map(|index| I::from_index(index).expect("documented panic: more values than ids"));
        ids.zip(values).collect()
    }

    /// The value of that id.
    pub fn get(&self, id: I) -> Option<&T> {
        self.entries.get(self.place(id)?).map(|(_, value)| value)
    }

    /// The value of that id, mutable.
    pub fn get_mut(&mut self, id: I) -> Option<&mut T> {
        let place = self.place(id)?;
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    /// Whether the id has a value.
    pub fn contains(&self, id: I) -> bool {
        self.place(id).is_some()
    }

    /// Appends the value, or replaces the one that the id has.
    ///
    /// # Panics
    /// If there are 65,535 entries already.
    pub fn insert(&mut self, id: I, value: T) {
        if let Some(known) = self.get_mut(id) {
            *known = value;
            return;
        }
        if self.places.len() <= id.index() {
            self.places.resize(id.index() + 1, NOWHERE);
        }
        assert!(
            self.entries.len() < ENTRIES_MAX,
            "a table has at most {ENTRIES_MAX} entries"
        );
        self.places[id.index()] = self.entries.len() as u16;
        self.entries.push((id, value));
    }

    /// Appends the value with an id above all others.
    ///
    /// # Panics
    /// If there is no higher id.
    pub fn push(&mut self, value: T) -> I {
        let id = I::from_index(self.places.len()).expect("documented panic: no higher id");
        self.insert(id, value);
        id
    }

    /// Keeps the entries for which `keep` returns true.
    pub fn retain(&mut self, mut keep: impl FnMut(I, &mut T) -> bool) {
        self.entries.retain_mut(|(id, value)| keep(*id, value));
        self.places.fill(NOWHERE);
        for (place, (id, _)) in (0..).zip(&self.entries) {
            self.places[id.index()] = place;
        }
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The ids, in the table's order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = I> + ExactSizeIterator + Clone + '_ {
        self.entries.iter().map(|(id, _)| *id)
    }

    /// The values, in the table's order.
    pub fn iter(&self) -> Values<'_, I, T> {
        self.entries.iter().map(|(_, value)| value)
    }

    /// The values, in the table's order, mutable.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> + ExactSizeIterator {
        self.entries.iter_mut().map(|(_, value)| value)
    }

    /// The ids and values, in the table's order.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = (I, &T)> + ExactSizeIterator + Clone {
        self.entries.iter().map(|(id, value)| (*id, value))
    }

    /// The ids and mutable values, in the table's order.
    pub fn entries_mut(&mut self) -> impl DoubleEndedIterator<Item = (I, &mut T)> + ExactSizeIterator {
        self.entries.iter_mut().map(|(id, value)| (*id, value))
    }

    /// A table with the same ids and order, and other values.
    pub fn map<U>(&self, mut change: impl FnMut(I, &T) -> U) -> Table<I, U> {
        Table {
            entries: self.entries().map(|(id, value)| (id, change(id, value))).collect(),
            places: self.places.clone(),
        }
    }

    fn place(&self, id: I) -> Option<usize> {
        let place = *self.places.get(id.index())?;
        (place != NOWHERE).then_some(place.into())
    }
}

/// The values of a table.
pub type Values<'t, I, T> = std::iter::Map<std::slice::Iter<'t, (I, T)>, fn(&'t (I, T)) -> &'t T>;

impl<I: Id, T> Default for Table<I, T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            places: Vec::new(),
        }
    }
}

impl<I: Id, T: PartialEq> PartialEq for Table<I, T> {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<I: Id, T: Eq> Eq for Table<I, T> {}

/// If an id comes twice, its last value counts.
impl<I: Id, T> FromIterator<(I, T)> for Table<I, T> {
    fn from_iter<E: IntoIterator<Item = (I, T)>>(entries: E) -> Self {
        let mut table = Self::default();
        entries.into_iter().for_each(|(id, value)| table.insert(id, value));
        table
    }
}

impl<'t, I: Id, T> IntoIterator for &'t Table<I, T> {
    type Item = &'t T;
    type IntoIter = Values<'t, I, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<I: Id, T> From<Vec<T>> for Table<I, T> {
    fn from(values: Vec<T>) -> Self {
        Self::numbered(values)
    }
}

/// Panics if the id has no value.
impl<I: Id, T> Index<I> for Table<I, T> {
    type Output = T;

    fn index(&self, id: I) -> &T {
        self.get(id).unwrap_or_else(|| panic!("{id:?} has no value here"))
    }
}

impl<I: Id, T> IndexMut<I> for Table<I, T> {
    fn index_mut(&mut self, id: I) -> &mut T {
        self.get_mut(id).unwrap_or_else(|| panic!("{id:?} has no value here"))
    }
}

impl<I: fmt::Debug, T: fmt::Debug> fmt::Debug for Table<I, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.entries.iter().map(|(id, value)| (id, value)))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::TierId;

    fn ids(table: &Table<TierId, char>) -> Vec<(u16, char)> {
        table.entries().map(|(id, value)| (id.0, *value)).collect()
    }

    #[test]
    fn ids_keep_their_values_when_others_go() {
        let mut table = Table::numbered(['a', 'b', 'c']);
        table.retain(|_, value| *value != 'b');
        assert_eq!(ids(&table), [(0, 'a'), (2, 'c')]);
        assert_eq!((table.get(TierId(1)), table[TierId(2)]), (None, 'c'));
        assert_eq!(table.push('d'), TierId(3));
        table.insert(TierId(1), 'e');
        table.insert(TierId(0), 'A');
        assert_eq!(ids(&table), [(0, 'A'), (2, 'c'), (3, 'd'), (1, 'e')]);
    }
}
