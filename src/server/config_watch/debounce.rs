//! Decides when a change of a file is reported: once the file is at rest. It counts polls, not time, so that a stalled machine
//! doesn't cut the rest short.

use super::file::Saved;

/// A file is at rest when this many polls in a row found the same bytes.
const SAME_LOOKS: u32 = 3;

/// After this many polls in a row without bytes, the file counts as empty or gone; after this many without rest, its current
/// content is reported.
const LOOKS_MAX: u32 = 16;

/// The content last reported, and the candidate for the next report.
#[derive(Debug)]
pub(super) struct Debounce {
    told: Saved,
    candidate: Option<Candidate>,
}

/// Content that differs from the last report.
#[derive(Debug)]
struct Candidate {
    found: Saved,
    /// Polls in a row that found exactly this.
    same: u32,
    /// Polls in a row that found no bytes, for whatever reason.
    without: u32,
    /// Polls in a row that differed from the last report.
    looks: u32,
}

impl Debounce {
    /// Starts with `told` as the last report.
    pub(super) fn new(told: Saved) -> Self {
        Self { told, candidate: None }
    }

    /// The content last reported.
    pub(super) fn told(&self) -> &Saved {
        &self.told
    }

    /// Whether the last poll matched the last report.
    pub(super) fn is_at_rest(&self) -> bool {
        self.candidate.is_none()
    }

    /// Whether to report what a poll found; if so, it becomes the last report.
    pub(super) fn judge(&mut self, found: Saved) -> bool {
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
            looks >= LOOKS_MAX || same >= SAME_LOOKS
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

    /// Makes `found` the last report, whatever earlier polls found.
    pub(super) fn tell(&mut self, found: Saved) {
        self.told = found;
        self.candidate = None;
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::super::file::Unreadable;
    use super::*;

    fn text(text: &str) -> Saved {
        Ok(text.as_bytes().to_vec())
    }

    /// The number of the poll that leads to a report, and the report.
    fn told(looks: impl IntoIterator<Item = Saved>) -> Option<(usize, Saved)> {
        let mut debounce = Debounce::new(text("old"));
        let mut looks = (1..).zip(looks);
        let (number, _) = looks.find(|(_, found)| debounce.judge(found.clone()))?;
        assert!(debounce.is_at_rest());
        Some((number, debounce.told().clone()))
    }

    #[test]
    fn three_equal_looks_in_a_row_are_reported() {
        assert_eq!(told([text("new"), text("new")]), None);
        assert_eq!(told(vec![text("new"); 3]), Some((3, text("new"))));
        let pieces = [text(""), text("n"), text("n"), text("new"), text("new"), text("new")];
        assert_eq!(told(pieces), Some((6, text("new"))));
    }

    #[test]
    fn what_was_reported_is_not_reported_again() {
        assert_eq!(told(vec![text("old"); 100]), None);
        let back = [text("new"), text("new"), text("old"), text("new"), text("new")];
        assert_eq!(told(back), None);
        let emptied = std::iter::repeat_n(text(""), 15).chain([text("old")]);
        assert_eq!(told(emptied.chain(vec![text(""); 15])), None);
    }

    #[test]
    fn a_file_that_never_settles_is_given_up_after_16_looks() {
        let gone = || Err(Unreadable::Gone);
        let refused = || Err(Unreadable::System(io::ErrorKind::PermissionDenied, "no".to_owned()));
        for without in [gone(), refused(), text("")] {
            assert_eq!(told(vec![without.clone(); 15]), None);
            assert_eq!(told(vec![without.clone(); 16]), Some((16, without)));
        }
        let changing = (0..16).map(|look| if look % 2 == 0 { gone() } else { text("") });
        assert_eq!(told(changing), Some((16, text(""))));
        let there_for_a_moment = std::iter::repeat_n(gone(), 15).chain([text("new")]);
        assert_eq!(told(there_for_a_moment), Some((16, text("new"))));
    }

    #[test]
    fn a_constantly_changing_file_is_reported_within_31_looks() {
        let counting = (0..).map(|look: u32| text(&look.to_string()));
        assert_eq!(told(counting), Some((16, text("15"))));
        // Bytes and no bytes alternate.
        for every in 2..20 {
            let flickering = (1..).map(|look: usize| match look % every {
                0 => text(&look.to_string()),
                _ => text(""),
            });
            let (number, _) = told(flickering).expect("it is told");
            assert!(number < 32, "every {every}: after {number} polls");
        }
    }
}
