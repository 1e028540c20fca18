//! Numbers of callers, within some time, in memory.
//!
//! Absent on purpose: their bound. Several tables share one, so whoever holds them keeps it.

use std::collections::HashMap;

use super::counted::{Column, Counted, Counts, Key};

/// By caller and column: most callers have one or two. A cell takes about 24 bytes, up to 48 right after the table has grown.
#[derive(Debug, Default)]
pub(super) struct Callers {
    /// Callers are strangers, so the map keeps the standard library's hasher. Numbers are at least 1.
    cells: HashMap<(Key, Column), u32>,
}

impl Callers {
    /// Counts an entry for its callers. Takes new cells from `room`; whether there was enough of it.
    pub fn add(&mut self, counted: &Counted, room: &mut usize) -> bool {
        let mut counts = true;
        for key in counted.callers.into_iter().flatten() {
            let of = (key, counted.column);
            if let Some(count) = self.cells.get_mut(&of) {
                *count = count.saturating_add(counted.count);
            } else if *room > 0 {
                self.cells.insert(of, counted.count);
                *room -= 1;
            } else {
                counts = false;
            }
        }
        counts
    }

    /// Takes out what was counted before, as far as it was. Gives the cell back to `room` if nothing is left.
    pub fn subtract(&mut self, key: Key, column: Column, less: u32, room: &mut usize) {
        if let Some(count) = self.cells.get_mut(&(key, column)) {
            *count = count.saturating_sub(less);
            if *count == 0 {
                self.cells.remove(&(key, column));
                *room += 1;
            }
        }
    }

    /// A caller's numbers.
    pub fn of(&self, key: Key) -> Counts {
        let mut counts = Counts::default();
        for column in Column::all() {
            counts[column.place()] = self.cells.get(&(key, column)).copied().unwrap_or(0).into();
        }
        counts
    }

    /// Cells that are taken.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}
