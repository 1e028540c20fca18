//! What became of the searches, and how it is printed.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::time::Duration;

use http::StatusCode;

use super::client::{Answer, QueueState};

/// The seconds that a line sums up.
pub const RECENT_S: usize = 5;
/// Places of the queue that are drawn one by one.
const DRAWN_MAX: usize = 16;

/// The results of a tier's searches.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// The tier's name.
    pub tier: String,
    /// Searches without an answer yet.
    pub in_flight: u64,
    /// All answered since the beginning.
    pub total: Counts,
    /// Of those served: the first match was the original.
    pub right: u64,
    /// Of those served: the time from the request to the answer, together.
    pub took: Duration,
    /// Everything else, by reason or status.
    pub others: BTreeMap<String, u64>,
    /// The counts of the last seconds, the latest last.
    recent: VecDeque<Counts>,
}

/// Answered searches, by result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// 200.
    pub served: u64,
    /// 503 on arrival: the queue was full.
    pub refused: u64,
    /// 503 after some time in the queue: a higher priority took the place.
    pub displaced: u64,
    /// Everything else.
    pub other: u64,
}

impl Counts {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.served + self.refused + self.displaced + self.other
    }

    fn add(&mut self, more: Self) {
        self.served += more.served;
        self.refused += more.refused;
        self.displaced += more.displaced;
        self.other += more.other;
    }
}

impl Tally {
    /// That of a tier that has sent nothing yet.
    pub fn new(tier: &str) -> Self {
        Self {
            tier: tier.to_owned(),
            recent: VecDeque::from([Counts::default()]),
            ..Self::default()
        }
    }

    /// Counts an answer to a search for a copy of `original`, or that there was none.
    pub fn note(&mut self, answer: Option<&Answer>, original: &str, took: Duration) {
        let mut one = Counts::default();
        match answer {
            Some(answer) if answer.status == StatusCode::OK => {
                one.served = 1;
                self.took += took;
                self.right += u64::from(answer.first_match.as_deref() == Some(original));
            }
            Some(answer) => match answer.reason.as_deref() {
                Some("queue_full") => one.refused = 1,
                Some("displaced") => one.displaced = 1,
                reason => {
                    one.other = 1;
                    let reason = reason.map_or_else(|| answer.status.as_u16().to_string(), str::to_owned);
                    *self.others.entry(reason).or_default() += 1;
                }
            },
            None => {
                one.other = 1;
                *self.others.entry("no answer".to_owned()).or_default() += 1;
            }
        }
        self.total.add(one);
        if let Some(this_second) = self.recent.back_mut() {
            this_second.add(one);
        }
    }

    /// The share of searches that were served, from 0 to 1.
    pub fn success(&self) -> f64 {
        self.total.served as f64 / self.total.sum().max(1) as f64
    }

    /// A second has passed.
    fn next_second(&mut self) {
        self.recent.push_back(Counts::default());
        if self.recent.len() > RECENT_S {
            self.recent.pop_front();
        }
    }

    /// `2:3/12/4`: in flight; served, refused and displaced in the last seconds. `!7` of any other result.
    fn cell(&self) -> String {
        let mut sum = Counts::default();
        self.recent.iter().for_each(|second| sum.add(*second));
        let other = if sum.other > 0 {
            format!("!{}", sum.other)
        } else {
            String::new()
        };
        let Counts {
            served,
            refused,
            displaced,
            ..
        } = sum;
        format!("{}:{served}/{refused}/{displaced}{other}", self.in_flight)
    }
}

/// Width of a tier's column, without the space that follows.
const COLUMN: usize = 9;

/// The lines above the columns.
pub fn head(tallies: &[Tally], queue: &QueueState) -> String {
    let names = tallies
        .iter()
        .map(|tally| format!("{:COLUMN$} ", tally.tier))
        .collect::<String>();
    format!(
        "\nA digit is the priority of a waiting search. Tiers: in flight:served/refused/displaced in the last {RECENT_S} s\n \
         time  {:width$}  slots  {}",
        "queue",
        names.trim_end(),
        width = drawing(queue).chars().count()
    )
}

/// One line: the queue, the slots, and each tier.
pub fn line(tallies: &mut [Tally], queue: &QueueState, second: u64) -> String {
    let running: u32 = queue.pools.iter().map(|pool| pool.running).sum();
    let slots: u32 = queue.pools.iter().map(|pool| pool.slots).sum();
    let cells = tallies
        .iter()
        .map(|tally| format!("{:COLUMN$} ", tally.cell()))
        .collect::<String>();
    tallies.iter_mut().for_each(Tally::next_second);
    let time = format!("{}:{:02}", second / 60, second % 60);
    let slots = format!("{running}/{slots}");
    format!("{time:>5}  {}  {slots:5}  {}", drawing(queue), cells.trim_end())
}

/// The places, the next to be served first: the priority of who waits there, or a dot.
fn drawing(queue: &QueueState) -> String {
    let waiting = queue.waiting.iter().map(|job| char::from(b'0' + job.priority.min(9)));
    let places = queue.seats as usize;
    if places > DRAWN_MAX {
        return format!("{:>5}/{places}", queue.waiting.len());
    }
    let free = places.saturating_sub(queue.waiting.len());
    waiting.chain(std::iter::repeat_n('·', free)).collect()
}

/// What became of all searches, by tier.
pub fn summary(tallies: &[Tally]) -> String {
    let mut table = String::from("\ntier        sent  served    %  mean ms  right  refused  displaced  other\n");
    for tally in tallies {
        let Counts {
            served,
            refused,
            displaced,
            ..
        } = tally.total;
        let mean_ms = tally.took.as_secs_f64() * 1e3 / served.max(1) as f64;
        let others = tally.others.iter().map(|(reason, count)| format!("{reason} {count}"));
        let others = others.collect::<Vec<_>>().join(", ");
        writeln!(
            table,
            "{:<8} {:>7} {served:>7} {:>4.0} {mean_ms:>8.0} {:>6} {refused:>8} {displaced:>10}  {others}",
            tally.tier,
            tally.total.sum(),
            tally.success() * 100.0,
            tally.right,
        )
        .expect("writing to a string doesn't fail");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, reason: Option<&str>) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            reason: reason.map(str::to_owned),
            first_match: Some("a.jpg".to_owned()),
            upstream: None,
        }
    }

    fn queue(priorities: &[u8], seats: u32) -> QueueState {
        let waiting: Vec<_> = priorities
            .iter()
            .map(|priority| serde_json::json!({ "priority": priority }))
            .collect();
        let state = serde_json::json!({ "seats": seats, "waiting": waiting, "pools": [{ "slots": 2, "running": 1 }] });
        serde_json::from_value(state).unwrap()
    }

    #[test]
    fn a_line_sums_up_the_last_seconds() {
        let mut tallies = vec![Tally::new("free"), Tally::new("$100")];
        let free = &mut tallies[0];
        free.note(Some(&answer(200, None)), "a.jpg", Duration::from_secs(1));
        free.note(Some(&answer(503, Some("queue_full"))), "a.jpg", Duration::ZERO);
        free.note(Some(&answer(503, Some("displaced"))), "a.jpg", Duration::ZERO);
        free.note(Some(&answer(429, Some("rate_limited"))), "a.jpg", Duration::ZERO);
        free.in_flight = 3;
        let state = queue(&[6, 5, 0], 8);
        assert_eq!(
            line(&mut tallies, &state, 65),
            " 1:05  650·····  1/2    3:1/1/1!1 0:0/0/0"
        );
        for _ in 1..RECENT_S {
            assert!(line(&mut tallies, &state, 66).contains("3:1/1/1!1"));
        }
        assert!(line(&mut tallies, &state, 70).contains("3:0/0/0"));
        assert!(line(&mut tallies, &queue(&[6], 20), 0).contains("    1/20"));
    }

    #[test]
    fn the_head_stands_above_its_columns() {
        let mut tallies = vec![Tally::new("free"), Tally::new("$100")];
        let state = queue(&[], 8);
        let (head, line) = (head(&tallies, &state), line(&mut tallies, &state, 0));
        let at = |text: &str, what: &str| text.find(what).map(|at| text[..at].chars().count());
        let names = head.lines().last().unwrap();
        assert_eq!(at(names, "free"), at(&line, "0:0/0/0"));
        assert_eq!(at(names, "queue"), at(&line, "·"));
    }

    #[test]
    fn the_summary_names_every_result() {
        let mut tally = Tally::new("free");
        tally.note(Some(&answer(200, None)), "a.jpg", Duration::from_millis(500));
        tally.note(Some(&answer(502, None)), "a.jpg", Duration::ZERO);
        tally.note(None, "a.jpg", Duration::ZERO);
        assert_eq!(tally.total.sum(), 3);
        let table = summary(&[tally]);
        assert!(
            table.contains("502 1, no answer 1") && table.contains(" 33 ") && table.contains(" 500 "),
            "{table}"
        );
    }
}
