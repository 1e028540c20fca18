//! Decides when a change of a file is reported: once the file is at rest. It counts polls, not time, so that a stalled machine
//! doesn't cut the rest short.

use super::file::Saved;

/// A file is at rest when this many polls in a row found the same bytes.
const SAME_POLLS: u32 = 3;

/// After this many polls in a row without bytes, the file counts as empty or gone; after this many without rest, its current
/// content is reported.
const POLLS_MAX: u32 = 16;

/// The content last reported, and the candidate for the next report.
#[derive(Debug)]
pub(super) struct Debounce {
    reported: Saved,
    candidate: Option<Candidate>,
}

/// Content that differs from the last report.
#[derive(Debug)]
struct Candidate {
    found: Saved,
    /// Polls in a row that found exactly this.
    same: u32,
    /// Polls in a row that found no bytes, for whatever reason.
    empty: u32,
    /// Polls in a row that differed from the last report.
    polls: u32,
}

impl Debounce {
    /// Starts with `told` as the last report.
    pub(super) fn new(reported: Saved) -> Self {
        Self {
            reported,
            candidate: None,
        }
    }

    /// The content last reported.
    pub(super) fn reported(&self) -> &Saved {
        &self.reported
    }

    /// Whether the last poll matched the last report.
    pub(super) fn is_at_rest(&self) -> bool {
        self.candidate.is_none()
    }

    /// Whether to report what a poll found; if so, it becomes the last report.
    pub(super) fn judge(&mut self, found: Saved) -> bool {
        if found == self.reported {
            self.candidate = None;
            return false;
        }
        let holds_bytes = found.as_ref().is_ok_and(|bytes| !bytes.is_empty());
        let before = self.candidate.as_ref();
        let same = 1 + before.map_or(0, |before| if before.found == found { before.same } else { 0 });
        let polls = 1 + before.map_or(0, |before| before.polls);
        let empty = if holds_bytes {
            0
        } else {
            1 + before.map_or(0, |before| before.empty)
        };
        let reported = if holds_bytes {
            polls >= POLLS_MAX || same >= SAME_POLLS
        } else {
            empty >= POLLS_MAX
        };
        if reported {
            self.report(found);
        } else {
            self.candidate = Some(Candidate {
                found,
                same,
                empty,
                polls,
            });
        }
        reported
    }

    /// Makes `found` the last report, whatever earlier polls found.
    pub(super) fn report(&mut self, found: Saved) {
        self.reported = found;
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
    fn reported(polls: impl IntoIterator<Item = Saved>) -> Option<(usize, Saved)> {
        let mut debounce = Debounce::new(text("old"));
        let mut polls = (1..).zip(polls);
        let (number, _) = polls.find(|(_, found)| debounce.judge(found.clone()))?;
        assert!(debounce.is_at_rest());
        Some((number, debounce.reported().clone()))
    }

    #[test]
    fn three_equal_polls_report_a_change() {
        assert_eq!(reported([text("new"), text("new")]), None);
        assert_eq!(reported(vec![text("new"); 3]), Some((3, text("new"))));
        let pieces = [text(""), text("n"), text("n"), text("new"), text("new"), text("new")];
        assert_eq!(reported(pieces), Some((6, text("new"))));
    }

    #[test]
    fn reported_content_is_not_reported_again() {
        assert_eq!(reported(vec![text("old"); 100]), None);
        let back = [text("new"), text("new"), text("old"), text("new"), text("new")];
        assert_eq!(reported(back), None);
        let emptied = std::iter::repeat_n(text(""), 15).chain([text("old")]);
        assert_eq!(reported(emptied.chain(vec![text(""); 15])), None);
    }

    #[test]
    fn a_file_that_never_settles_is_given_up_after_16_looks() {
        let gone = || Err(Unreadable::Gone);
        let refused = || Err(Unreadable::System(io::ErrorKind::PermissionDenied, "no".to_owned()));
        for empty in [gone(), refused(), text("")] {
            assert_eq!(reported(vec![empty.clone(); 15]), None);
            assert_eq!(reported(vec![empty.clone(); 16]), Some((16, empty)));
        }
        let changing = (0..16).map(|poll| if poll % 2 == 0 { gone() } else { text("") });
        assert_eq!(reported(changing), Some((16, text(""))));
        let there_for_a_moment = std::iter::repeat_n(gone(), 15).chain([text("new")]);
        assert_eq!(reported(there_for_a_moment), Some((16, text("new"))));
    }

    #[test]
    fn a_file_that_keeps_changing_is_reported_within_31_polls() {
        let counting = (0..).map(|poll: u32| text(&poll.to_string()));
        assert_eq!(reported(counting), Some((16, text("15"))));
        // Bytes and no bytes alternate.
        for every in 2..20 {
            let flickering = (1..).map(|poll: usize| match poll % every {
                0 => text(&poll.to_string()),
                _ => text(""),
            });
            let (number, _) = reported(flickering).expect("it is reported");
            assert!(number < 32, "every {every}: after {number} polls");
        }
    }
}
