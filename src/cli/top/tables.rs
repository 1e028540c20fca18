//! The three tables of the screen: their columns, and their rows in order.

use super::callers::CallerRow;
use crate::cli::status::report::{ReportedState, TierReport};
use crate::cli::status::text::slots_drawn;
use crate::cli::top::Snapshot;

/// A table of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pane {
    /// The upstream servers.
    Servers,
    /// The tiers.
    Tiers,
    /// The callers who use most.
    Callers,
}

impl Pane {
    /// All tables, in the order in which the keys go through them.
    pub const ALL: [Self; 3] = [Self::Servers, Self::Tiers, Self::Callers];

    /// Its columns; the first one takes what room the others leave.
    pub const fn columns(self) -> &'static [TableColumn] {
        match self {
            Self::Servers => &SERVERS,
            Self::Tiers => &TIERS,
            Self::Callers => &CALLERS,
        }
    }

    /// How it is sorted at first. Servers and tiers stand in the order of tiers.yaml.
    pub const fn first_sort(self) -> SortOrder {
        match self {
            Self::Servers | Self::Tiers => SortOrder {
                column: None,
                descending: false,
            },
            Self::Callers => SortOrder {
                column: Some(4),
                descending: true,
            },
        }
    }
}

const SERVERS: [TableColumn; 4] = [
    TableColumn::first("SERVER"),
    TableColumn::text("STATE", 7),
    TableColumn::number("BUSY", 5),
    TableColumn::number("SLOTS", 8),
];
const TIERS: [TableColumn; 5] = [
    TableColumn::first("TIER"),
    TableColumn::number("PRIO", 5),
    TableColumn::number("WAIT", 5),
    TableColumn::number("RUN", 5),
    TableColumn::number("REF/MIN", 8),
];
const CALLERS: [TableColumn; 7] = [
    TableColumn::first("CALLER"),
    TableColumn::text("TIER", 10),
    TableColumn::number("WAIT", 5),
    TableColumn::number("RUN", 5),
    TableColumn::number("UNITS/H", 9),
    TableColumn::number("JOBS/H", 8),
    TableColumn::number("REFUSED/H", 10),
];

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct TableColumn {
    /// Its heading.
    pub head: &'static str,
    /// Its width, with room for the sign of the order beside its heading. Zero for a first column.
    pub width: usize,
    /// Whether it has numbers: aligned to the right, and the largest first.
    pub is_number: bool,
}

impl TableColumn {
    const fn first(head: &'static str) -> Self {
        Self::text(head, 0)
    }

    const fn text(head: &'static str, width: usize) -> Self {
        Self {
            head,
            width,
            is_number: false,
        }
    }

    const fn number(head: &'static str, width: usize) -> Self {
        Self {
            head,
            width,
            is_number: true,
        }
    }
}

/// The order of a table's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortOrder {
    /// By which column; `None`: as the server tells them.
    pub column: Option<usize>,
    /// Whether the largest comes first.
    pub descending: bool,
}

/// What a cell is compared by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A number; an unknown one is less than all.
    Number(Option<u64>),
    /// A text, in lower case.
    Text(String),
}

/// A cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What is shown.
    pub text: String,
    /// What it is compared by.
    pub key: Key,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// A cell for each column.
    pub cells: Vec<Cell>,
    /// Whether something is wrong with it.
    pub is_bad: bool,
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            key: Key::Text(text.to_lowercase()),
            text,
        }
    }

    fn number(number: u64) -> Self {
        Self {
            text: number.to_string(),
            key: Key::Number(Some(number)),
        }
    }

    /// A number that may be unknown.
    fn known(number: Option<u64>) -> Self {
        number.map_or_else(
            || Self {
                text: "-".to_owned(),
                key: Key::Number(None),
            },
            Self::number,
        )
    }
}

/// The rows of a table, in that order.
pub fn rows(pane: Pane, snapshot: &Snapshot, sort: SortOrder) -> Vec<Row> {
    let mut rows: Vec<Row> = match pane {
        Pane::Servers => servers(snapshot),
        Pane::Tiers => snapshot.report.tiers.iter().map(tier).collect(),
        Pane::Callers => snapshot.callers.rows.iter().map(caller).collect(),
    };
    if let Some(column) = sort.column {
        // The sort is stable: equal rows stay in the server's order.
        rows.sort_by(|one, other| {
            let order = one.cells[column].key.cmp(&other.cells[column].key);
            if sort.descending { order.reverse() } else { order }
        });
    }
    rows
}

fn servers(snapshot: &Snapshot) -> Vec<Row> {
    let several = snapshot.report.upstreams.len() > 1;
    let row = |(upstream, server): (&str, &crate::cli::status::report::ServerReport)| {
        let name = match several {
            true => format!("{upstream}/{}", server.address),
            false => server.address.clone(),
        };
        let mut slots = Cell::number(server.slots);
        let drawn = slots_drawn(server);
        if !drawn.is_empty() {
            slots.text = drawn;
        }
        let mut state = Cell::text(server.state.word());
        if server.state != ReportedState::Up {
            state.text = state.text.to_uppercase();
        }
        let mut busy = Cell::number(server.busy);
        busy.text = format!("{}/{}", server.busy, server.slots);
        Row {
            cells: vec![Cell::text(name), state, busy, slots],
            is_bad: server.state != ReportedState::Up,
        }
    };
    snapshot.report.servers().map(row).collect()
}

fn tier(tier: &TierReport) -> Row {
    let numbers = [u64::from(tier.priority), tier.waiting, tier.running, tier.refused];
    let cells = std::iter::once(Cell::text(&tier.name)).chain(numbers.map(Cell::number));
    Row {
        cells: cells.collect(),
        is_bad: false,
    }
}

fn caller(caller: &CallerRow) -> Row {
    let used = |of: fn(&super::callers::HourOfUse) -> u64| Cell::known(caller.used.as_ref().map(of));
    Row {
        cells: vec![
            Cell::text(&caller.name),
            Cell::text(&caller.tier),
            Cell::number(caller.waiting),
            Cell::number(caller.running),
            used(|used| used.units),
            used(|used| used.jobs),
            used(|used| used.refused),
        ],
        is_bad: false,
    }
}
