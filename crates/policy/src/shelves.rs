//! A table by caller, split into parts: it grows and is swept part by part, so that no request waits for more than one.

use std::collections::hash_map::Entry;

use super::caller::{Caller, CallerMap};

/// Parts of a table.
pub(super) const SHELVES: usize = 256;

/// A table by caller, split into parts. The caller's number, which clients can't choose, determines its shelf.
#[derive(Debug)]
pub(super) struct Shelves<V> {
    shelves: Vec<CallerMap<V>>,
    /// Entries by kind: accounts, networks, users.
    pub(super) kinds: [usize; 3],
}

impl<V> Default for Shelves<V> {
    fn default() -> Self {
        Self {
            shelves: (0..SHELVES).map(|_| CallerMap::default()).collect(),
            kinds: [0; 3],
        }
    }
}

fn shelf(caller: &Caller) -> usize {
    let number = match caller {
        Caller::Account(account) => u64::from(account.0),
        Caller::Network(network) => network.0,
        Caller::User { user, .. } => user.0,
    };
    (number % SHELVES as u64) as usize
}

fn kind(caller: &Caller) -> usize {
    match caller {
        Caller::Account(_) => 0,
        Caller::Network(_) => 1,
        Caller::User { .. } => 2,
    }
}

impl<V> Shelves<V> {
    pub(super) fn get(&self, caller: &Caller) -> Option<&V> {
        self.shelves[shelf(caller)].get(caller)
    }

    pub(super) fn get_mut(&mut self, caller: &Caller) -> Option<&mut V> {
        self.shelves[shelf(caller)].get_mut(caller)
    }

    pub(super) fn or_default(&mut self, caller: Caller) -> &mut V
    where
        V: Default,
    {
        match self.shelves[shelf(&caller)].entry(caller) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.kinds[kind(&caller)] += 1;
                entry.insert(V::default())
            }
        }
    }

    /// Copies the entry of `from`, if there is one, to `to`.
    pub(super) fn copy(&mut self, from: &Caller, to: Caller)
    where
        V: Clone + Default,
    {
        if let Some(value) = self.get(from).cloned() {
            *self.or_default(to) = value;
        }
    }

    pub(super) fn remove(&mut self, caller: &Caller) {
        if self.shelves[shelf(caller)].remove(caller).is_some() {
            self.kinds[kind(caller)] -= 1;
        }
    }

    /// Keeps the entries of one of the [`SHELVES`] for which `keep` returns true.
    pub(super) fn retain_shelf(&mut self, shelf: usize, mut keep: impl FnMut(&mut V) -> bool) {
        let kinds = &mut self.kinds;
        let shelf = &mut self.shelves[shelf];
        shelf.retain(|caller, value| {
            let stays = keep(value);
            if !stays {
                kinds[kind(caller)] -= 1;
            }
            stays
        });
        if shelf.len() < shelf.capacity() / 4 {
            shelf.shrink_to_fit();
        }
    }
}
