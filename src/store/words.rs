//! Interned strings that many accounts share, such as the names of their tiers.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

/// The number of strings before the first removal of unused ones.
const WORDS_MIN: usize = 64;

/// A set of interned strings.
#[derive(Debug, Default)]
pub(super) struct Words {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    words: HashSet<Arc<str>>,
    /// The number of strings at which unused ones are removed.
    full: usize,
}

impl Words {
    /// The shared copy of that string.
    pub fn share(&self, word: &str) -> Arc<str> {
        let mut held = self.held.lock();
        if let Some(shared) = held.words.get(word) {
            return Arc::clone(shared);
        }
        if held.words.len() >= held.full {
            held.words.retain(|word| Arc::strong_count(word) > 1);
            held.full = (2 * held.words.len()).max(WORDS_MIN);
        }
        let shared: Arc<str> = word.into();
        held.words.insert(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_stored_once_and_dropped_with_its_last_user() {
        let words = Words::default();
        let kept = words.share("kept");
        assert!(Arc::ptr_eq(&kept, &words.share("kept")));
        for number in 0..10 * WORDS_MIN {
            words.share(&number.to_string());
        }
        assert!(words.held.lock().words.len() <= WORDS_MIN + 1);
        assert!(Arc::ptr_eq(&kept, &words.share("kept")));
    }
}
