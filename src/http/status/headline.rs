//! The state in a sentence: what the page says first.

use serde::Serialize;

use super::live::{AdmissionLine, How, Queue, UpstreamLine};
use crate::gate::Snapshot;

/// The state in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Headline {
    pub state: Mood,
    pub title: String,
    pub text: String,
}

/// How good that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mood {
    Ok,
    Warn,
    Bad,
}

impl Mood {
    /// As in the page's classes and icons.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

impl Headline {
    /// Of all upstreams, the one that is worst off.
    pub fn of(snapshot: &Snapshot, queue: &Queue, upstreams: &[UpstreamLine]) -> Self {
        if snapshot.is_closing {
            let text = "Requests that run are finished; new ones are refused.";
            return said(Mood::Bad, "Shutting down", text);
        }
        if snapshot.is_admission_stopped {
            let text = "New requests are refused for now. Queued and running ones go on.";
            return said(Mood::Bad, "Closed for the moment", text);
        }
        if snapshot.is_paused {
            let text = format!("{} Requests keep their places until it goes on.", places_taken(queue));
            return said(Mood::Warn, "Paused", text);
        }
        if !snapshot.is_recording {
            let text = "Usage can't be recorded, so requests are refused until it can.";
            return said(Mood::Bad, "Unavailable", text);
        }
        let all = upstreams
            .iter()
            .map(|upstream| (Self::of_upstream(snapshot, queue, upstream), upstream));
        // The first of the worst.
        let worst = all.reduce(|worst, other| if other.0.state > worst.0.state { other } else { worst });
        let Some((mut worst, upstream)) = worst else {
            return said(Mood::Ok, "Open", "No route is metered, so no request waits.");
        };
        if upstreams.len() > 1 && worst.state > Mood::Ok {
            worst.text = format!("{}: {}", upstream.routes.join(", "), worst.text);
        }
        worst
    }

    fn of_upstream(snapshot: &Snapshot, queue: &Queue, upstream: &UpstreamLine) -> Self {
        let (admitted, refused): (Vec<_>, Vec<_>) = upstream.admission.iter().partition(|line| line.admitted);
        let taken = places_taken(queue);
        if upstream.available == 0 {
            let wait = snapshot.rules.queue.max_wait.as_secs_ceil();
            let text = format!("Requests wait for one to come back, at most {wait} s. {taken}");
            return said(Mood::Bad, "No upstream server is up", text);
        }
        let Some(lowest) = admitted.last() else {
            let again = refused.last().and_then(|line| line.wait_s);
            let text = format!("{taken} Try again in about {}.", roughly(again));
            return said(Mood::Bad, "Full for everybody", text);
        };
        if let Some(out) = refused.last() {
            let title = if admitted.iter().all(|line| line.priority == 6) {
                "Busy: only priority 6 gets in".to_owned()
            } else {
                format!("Busy: priority {} and above get in", lowest.priority)
            };
            let text = format!(
                "{taken} {} should try again in about {}.",
                who(&refused),
                roughly(out.wait_s)
            );
            return said(Mood::Warn, title, text);
        }
        if lowest.how == How::Slot {
            let title = if queue.taken == 0 { "Open: no queue" } else { "Open" };
            return said(Mood::Ok, title, "A request goes straight to an upstream server.");
        }
        let wait = format!(
            "A request of priority {} would wait about {}.",
            lowest.priority,
            roughly(lowest.wait_s)
        );
        let title = if queue.taken == 0 {
            "Open: the next request waits for a slot"
        } else {
            "Open to everybody, with a short wait"
        };
        said(Mood::Ok, title, format!("{taken} {wait}"))
    }
}

fn said(state: Mood, title: impl Into<String>, text: impl Into<String>) -> Headline {
    Headline {
        state,
        title: title.into(),
        text: text.into(),
    }
}

fn places_taken(queue: &Queue) -> String {
    let (taken, length) = (grouped(queue.taken.into()), grouped(queue.length.into()));
    match (queue.taken, queue.length) {
        (_, 0) => "There is no queue.".to_owned(),
        (all, of) if all >= of && of > 1 => format!("All {length} places are taken."),
        (1, _) => format!("1 of {length} places is taken."),
        (0, _) => format!("None of {length} places is taken."),
        _ => format!("{taken} of {length} places are taken."),
    }
}

/// `Priority 2 and 0`, each once, highest first.
fn who(lines: &[&AdmissionLine]) -> String {
    let mut priorities: Vec<u8> = lines.iter().map(|line| line.priority).collect();
    priorities.dedup();
    let words: Vec<String> = priorities.iter().map(u8::to_string).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("Priorities {} and {last}", rest.join(", ")),
        _ => format!("Priority {}", words.concat()),
    }
}

/// An estimate, in whole seconds.
pub fn roughly(seconds: Option<f64>) -> String {
    match seconds {
        None => "unknown".to_owned(),
        Some(seconds) if seconds < 1.0 => "under 1 s".to_owned(),
        Some(seconds) if seconds < 99.5 => format!("{seconds:.0} s"),
        Some(seconds) => format!("{:.0} min", seconds / 60.0),
    }
}

/// `12,345`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
