//! When what is found in a file is worth telling: once it has come to rest.
//!
//! It counts looks and not time, so that a machine which stands still for a while does not make a moment last.
//!
//! Absent on purpose: looking, and how far apart looks are (`watch`).

use super::look::Saved;

/// So many looks in a row that find the same bytes, and they are at rest.
const SAME_LOOKS: u32 = 3;

/// So many looks in a row that find no bytes, and there are none. So many looks, and what does not come to rest is told as it
/// is.
const LOOKS_MAX: u32 = 16;

/// What was told of a file, and what may be told next.
#[derive(Debug)]
pub(super) struct Settling {
    told: Saved,
    candidate: Option<Candidate>,
}

/// Something that differs from what was told.
#[derive(Debug)]
struct Candidate {
    found: Saved,
    /// Looks in a row that found just this.
    same: u32,
    /// Looks in a row that found no bytes, for whatever reasons.
    without: u32,
    /// Looks in a row that found anything but what was told.
    looks: u32,
}

impl Settling {
    /// With what was told.
    pub(super) fn new(told: Saved) -> Self {
        Self { told, candidate: None }
    }

    /// What was told last.
    pub(super) fn told(&self) -> &Saved {
        &self.told
    }

    /// Whether the last look found what was told.
    pub(super) fn is_at_rest(&self) -> bool {
        self.candidate.is_none()
    }

    /// Whether what a look has found is to be told; then it is what was told last. `is_written`: somebody is writing it.
    pub(super) fn judge(&mut self, found: Saved, is_written: bool) -> bool {
        if found == self.told {
            self.candidate = None;
            return false;
        }
        let holds_bytes = found.as_ref().is_ok_and(|bytes| !bytes.is_empty());
        let before = self.candidate.as_ref();
        let same = 1 + before.map_or(0, |before| if before.found == found { before.same } else { 0 });
        let looks = 1 + before.map_or(0, |before| before.looks);
        let without = if holds_bytes {
            0
        } else {
            1 + before.map_or(0, |before| before.without)
        };
        let told = if holds_bytes {
            looks >= LOOKS_MAX || (same >= SAME_LOOKS && !is_written)
        } else {
            without >= LOOKS_MAX
        };
        if told {
            self.tell(found);
        } else {
            self.candidate = Some(Candidate {
                found,
                same,
                without,
                looks,
            });
        }
        told
    }

    /// That was told, whatever the looks before it found.
    pub(super) fn tell(&mut self, found: Saved) {
        self.told = found;
        self.candidate = None;
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::look::Unreadable;
    use super::*;

    fn text(text: &str) -> Saved {
        Ok(text.as_bytes().to_vec())
    }

    /// The number of the look at which something is told, and that.
    fn told(looks: impl IntoIterator<Item = (Saved, bool)>) -> Option<(usize, Saved)> {
        let mut settling = Settling::new(text("old"));
        let mut looks = (1..).zip(looks);
        let (number, _) = looks.find(|(_, (found, is_written))| settling.judge(found.clone(), *is_written))?;
        assert!(settling.is_at_rest());
        Some((number, settling.told().clone()))
    }

    fn unwritten(looks: impl IntoIterator<Item = Saved>) -> impl Iterator<Item = (Saved, bool)> {
        looks.into_iter().map(|found| (found, false))
    }

    #[test]
    fn what_three_looks_in_a_row_find_is_told() {
        assert_eq!(told(unwritten([text("new"), text("new")])), None);
        assert_eq!(told(unwritten(vec![text("new"); 3])), Some((3, text("new"))));
        let pieces = [text(""), text("n"), text("n"), text("new"), text("new"), text("new")];
        assert_eq!(told(unwritten(pieces)), Some((6, text("new"))));
    }

    #[test]
    fn what_was_told_is_not_told_again_and_begins_anew() {
        assert_eq!(told(unwritten(vec![text("old"); 100])), None);
        let back = [text("new"), text("new"), text("old"), text("new"), text("new")];
        assert_eq!(told(unwritten(back)), None);
        let emptied = std::iter::repeat_n(text(""), 15).chain([text("old")]);
        assert_eq!(told(unwritten(emptied.chain(vec![text(""); 15]))), None);
    }

    #[test]
    fn while_somebody_writes_nothing_is_told_for_16_looks() {
        let writing = |looks| std::iter::repeat_n((text("half"), true), looks);
        assert_eq!(told(writing(15)), None);
        assert_eq!(
            told(writing(15).chain([(text("whole"), true)])),
            Some((16, text("whole")))
        );
        let closed = writing(5).chain([(text("half"), false)]);
        assert_eq!(told(closed), Some((6, text("half"))));
    }

    #[test]
    fn no_bytes_are_told_after_16_looks_in_a_row_whatever_the_reasons() {
        let gone = || Err(Unreadable::Gone);
        let refused = || Err(Unreadable::System(io::ErrorKind::PermissionDenied, "no".to_owned()));
        for without in [gone(), refused(), text("")] {
            assert_eq!(told(unwritten(vec![without.clone(); 15])), None);
            assert_eq!(told(unwritten(vec![without.clone(); 16])), Some((16, without)));
        }
        let changing = (0..16).map(|look| if look % 2 == 0 { gone() } else { text("") });
        assert_eq!(told(unwritten(changing)), Some((16, text(""))));
        let there_for_a_moment = std::iter::repeat_n(gone(), 15).chain([text("new")]);
        assert_eq!(told(unwritten(there_for_a_moment)), Some((16, text("new"))));
    }

    #[test]
    fn what_never_rests_is_told_within_31_looks() {
        let counting = (0..).map(|look: u32| text(&look.to_string()));
        assert_eq!(told(unwritten(counting)), Some((16, text("15"))));
        // Sometimes there are bytes, and sometimes there are none.
        for every in 2..20 {
            let flickering = (1..).map(|look: usize| match look % every {
                0 => text(&look.to_string()),
                _ => text(""),
            });
            let (number, _) = told(unwritten(flickering)).expect("it is told");
            assert!(number < 32, "every {every}: after {number} looks");
        }
    }
}
