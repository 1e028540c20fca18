//! Interned strings that many accounts share, such as the names of their tiers.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// The number of strings before the first removal of unused ones.
const STRINGS_MIN: usize = 64;

/// A set of interned strings.
#[derive(Debug, Default)]
pub(super) struct Interner {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    strings: HashSet<Arc<str>>,
    /// The number of strings at which unused ones are removed.
    full: usize,
}

impl Interner {
    /// The shared copy of that string.
    pub fn share(&self, text: &str) -> Arc<str> {
        let mut held = self.held.lock();
        if let Some(shared) = held.strings.get(text) {
            return Arc::clone(shared);
        }
        if held.strings.len() >= held.full {
            held.strings.retain(|string| Arc::strong_count(string) > 1);
            held.full = (2 * held.strings.len()).max(STRINGS_MIN);
        }
        let shared: Arc<str> = text.into();
        held.strings.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_stored_once_and_dropped_with_its_last_user() {
        let interner = Interner::default();
        let kept = interner.share("kept");
        assert!(Arc::ptr_eq(&kept, &interner.share("kept")));
        for number in 0..10 * STRINGS_MIN {
            interner.share(&number.to_string());
        }
        assert!(interner.held.lock().strings.len() <= STRINGS_MIN + 1);
        assert!(Arc::ptr_eq(&kept, &interner.share("kept")));
    }
}
