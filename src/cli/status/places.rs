//! The queue drawn as a row of places: each taken one with the digit of its priority, first served on the left.
//!
//! A short queue is a row of boxes, a longer one a row of digits. One that is longer than the line is drawn to scale.

use super::report::QueueReport;
use crate::policy::rules::Priority;

/// Queues up to this length are drawn as boxes, if the line is long enough.
const BOXES_MAX: usize = 16;
/// Stands for a free place in a row of digits.
const FREE: char = '·';

/// The colours of the priorities, of the 256 that terminals have: ground and digit. A ground of its own makes the digit readable on
/// dark and on light terminals.
pub const COLOURS: [(u8, u8); Priority::COUNT] = [
    (254, 16),
    (147, 16),
    (25, 231),
    (36, 16),
    (178, 16),
    (130, 231),
    (53, 231),
];

/// A piece of a drawing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What is printed.
    pub text: String,
    /// What it stands for.
    pub mark: Mark,
}

/// What a piece of a drawing stands for, and so how it is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// Places with jobs of that priority.
    Taken(u8),
    /// Free places.
    Free,
    /// Words.
    Words,
}

/// The lines of a drawing that is at most `width` columns wide.
pub fn draw(queue: &QueueReport, width: usize) -> Vec<Vec<Piece>> {
    let waiting = queue.waiting() as usize;
    // After a reload that made the queue shorter, there may be more jobs than places.
    let places = waiting.max(queue.capacity as usize);
    let counts = counts(queue, places - waiting);
    if places <= BOXES_MAX && places * 3 <= width {
        let boxes = |(mark, count): (Mark, usize)| std::iter::repeat_n(boxed(mark), count);
        return vec![counts.into_iter().flat_map(boxes).collect()];
    }
    let cells = match places <= width {
        true => counts.clone(),
        false => scaled(&counts, width),
    };
    let row = cells.iter().map(|(mark, cells)| Piece {
        text: std::iter::repeat_n(digit(*mark), *cells).collect(),
        mark: *mark,
    });
    vec![row.collect(), legend(&counts)]
}

/// How the queue is filled, in words.
pub fn words(queue: &QueueReport) -> String {
    let oldest = match queue.oldest {
        Some(age) => format!(", the oldest for {}", super::report::readable(age)),
        None => String::new(),
    };
    format!("{} of {} places taken{oldest}", queue.waiting(), queue.capacity)
}

/// Queued jobs by priority, the highest first, and last the free places. Without zeros.
fn counts(queue: &QueueReport, free: usize) -> Vec<(Mark, usize)> {
    let taken = (0..Priority::COUNT).rev().map(|priority| {
        let count = queue.by_priority[priority] as usize;
        // There are 7 priorities.
        (Mark::Taken(priority as u8), count)
    });
    let all = taken.chain([(Mark::Free, free)]);
    all.filter(|(_, count)| *count > 0).collect()
}

fn boxed(mark: Mark) -> Piece {
    let text = match mark {
        Mark::Taken(priority) => format!("[{priority}]"),
        Mark::Free | Mark::Words => "[ ]".to_owned(),
    };
    Piece { text, mark }
}

fn digit(mark: Mark) -> char {
    match mark {
        Mark::Taken(priority) => char::from_digit(priority.into(), 10).unwrap_or('?'),
        Mark::Free | Mark::Words => FREE,
    }
}

/// What the row of digits is too small to tell: how many there are of each.
fn legend(counts: &[(Mark, usize)]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (mark, count) in counts {
        let name = match mark {
            Mark::Taken(priority) => format!("[{priority}]"),
            Mark::Free | Mark::Words => "free".to_owned(),
        };
        pieces.push(Piece {
            text: name,
            mark: *mark,
        });
        pieces.push(Piece {
            text: format!(" {count}  "),
            mark: Mark::Words,
        });
    }
    pieces
}

/// Cells for each count, `width` in all: in proportion, and at least one for each.
fn scaled(counts: &[(Mark, usize)], width: usize) -> Vec<(Mark, usize)> {
    let total: usize = counts.iter().map(|(_, count)| count).sum();
    let mut cells: Vec<usize> = counts
        .iter()
        .map(|(_, count)| (count * width / total.max(1)).max(1))
        .collect();
    // Rounding leaves less than a cell for each of at most 8 counts.
    while cells.iter().sum::<usize>() < width {
        let missing = |place: &usize| counts[*place].1 * width - (cells[*place] * total).min(counts[*place].1 * width);
        let Some(most) = (0..cells.len()).max_by_key(missing) else {
            break;
        };
        cells[most] += 1;
    }
    while cells.iter().sum::<usize>() > width {
        let Some(most) = (0..cells.len()).max_by_key(|place| cells[*place]) else {
            break;
        };
        if cells[most] <= 1 {
            break;
        }
        cells[most] -= 1;
    }
    counts
        .iter()
        .zip(cells)
        .map(|((mark, _), cells)| (*mark, cells))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(capacity: u32, by_priority: [u32; Priority::COUNT]) -> QueueReport {
        QueueReport {
            capacity,
            by_priority,
            oldest: None,
        }
    }

    fn lines(queue: &QueueReport, width: usize) -> Vec<String> {
        let line = |line: Vec<Piece>| line.into_iter().map(|piece| piece.text).collect::<String>();
        draw(queue, width).into_iter().map(line).collect()
    }

    #[test]
    fn a_short_queue_is_a_row_of_boxes() {
        let mixed = queue(8, [2, 0, 1, 0, 0, 1, 1]);
        assert_eq!(lines(&mixed, 65), ["[6][5][2][0][0][ ][ ][ ]"]);
        assert_eq!(lines(&queue(3, [0; 7]), 65), ["[ ][ ][ ]"]);
        assert_eq!(
            lines(&queue(1, [3, 0, 0, 0, 0, 0, 0]), 65),
            ["[0][0][0]"],
            "more than there are places"
        );
    }

    #[test]
    fn a_longer_queue_is_a_row_of_digits() {
        let mixed = queue(20, [2, 0, 1, 0, 0, 1, 1]);
        let expected = ["65200···············", "[6] 1  [5] 1  [2] 1  [0] 2  free 15  "];
        assert_eq!(lines(&mixed, 65), expected);
    }

    #[test]
    fn a_long_queue_is_drawn_to_scale() {
        let long = queue(1_000, [500, 0, 0, 0, 0, 0, 1]);
        let drawn = lines(&long, 20);
        assert_eq!(drawn, ["60000000000·········", "[6] 1  [0] 500  free 499  "]);
        for width in 8..100 {
            for waiting in [[1; 7], [1_000, 1, 1, 1, 1, 1, 1], [3, 700, 0, 0, 90, 0, 1]] {
                let row = &lines(&queue(2_000, waiting), width)[0];
                assert_eq!(row.chars().count(), width);
                for (priority, count) in waiting.iter().enumerate() {
                    assert_eq!(row.contains(&priority.to_string()), *count > 0, "{row}");
                }
            }
        }
    }
}
