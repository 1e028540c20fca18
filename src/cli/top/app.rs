//! The state of the screen, changed by keys and by answers. Pure: no terminal and no clock.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::Snapshot;
use super::tables::{Pane, SortOrder};

/// Rows by which a page key scrolls.
const PAGE: usize = 10;

/// What the screen shows.
#[derive(Clone, Debug)]
pub struct App {
    /// The server's address.
    pub server: String,
    /// The last snapshot, and when it arrived, in words.
    pub latest: (Snapshot, String),
    /// Why there has been no answer since, and since when.
    pub failure: Option<(String, String)>,
    /// Whether new snapshots are ignored.
    pub is_frozen: bool,
    /// The table that the keys are for.
    pub focus: Pane,
    sorts: [SortOrder; Pane::ALL.len()],
    /// The first row of each table that is shown. May be too large: see [`Self::scroll_within`].
    scrolls: [usize; Pane::ALL.len()],
}

/// Something that happens to the screen.
#[derive(Debug)]
pub enum Event {
    /// The server has answered; and the time, in words.
    Answer(Box<Snapshot>, String),
    /// It has not: why; and the time, in words.
    NoAnswer(String, String),
    /// A key.
    Key(KeyEvent),
    /// The terminal's size has changed.
    Resized,
    /// A signal says to end.
    End,
    /// The terminal can't be read any more.
    Lost(std::io::Error),
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Draw again.
    Draw,
    /// Leave the screen.
    End,
}

impl App {
    /// The screen for that server.
    pub fn new(server: String, first: Snapshot, at: String) -> Self {
        Self {
            server,
            latest: (first, at),
            failure: None,
            is_frozen: false,
            focus: Pane::Callers,
            sorts: Pane::ALL.map(Pane::first_sort),
            scrolls: [0; Pane::ALL.len()],
        }
    }

    /// The order of that table.
    pub fn sort(&self, pane: Pane) -> SortOrder {
        self.sorts[pane as usize]
    }

    /// The first row of that table to show, of so many of which so many fit. Keeps it, so that a key scrolls from there.
    pub fn scroll_within(&mut self, pane: Pane, rows: usize, fit: usize) -> usize {
        let scroll = &mut self.scrolls[pane as usize];
        *scroll = (*scroll).min(rows.saturating_sub(fit));
        *scroll
    }

    /// A snapshot has arrived.
    pub fn answered(&mut self, snapshot: Snapshot, at: String) {
        self.failure = None;
        if !self.is_frozen {
            self.latest = (snapshot, at);
        }
    }

    /// No snapshot has arrived. The first failure's time is kept.
    pub fn failed(&mut self, why: String, at: String) {
        let since = self.failure.take().map_or(at, |(_, since)| since);
        self.failure = Some((why, since));
    }

    /// A key was pressed.
    pub fn key(&mut self, key: KeyEvent) -> Flow {
        if key.kind == KeyEventKind::Release {
            return Flow::Draw;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Flow::End,
            KeyCode::Char('q') => return Flow::End,
            KeyCode::Char(' ') => self.is_frozen = !self.is_frozen,
            KeyCode::Char('r') => self.sorts[self.focus as usize].descending ^= true,
            KeyCode::Tab => self.focus = self.pane_after(1),
            KeyCode::BackTab => self.focus = self.pane_after(Pane::ALL.len() - 1),
            KeyCode::Right => self.sort_by_next(1),
            KeyCode::Left => self.sort_by_next(self.focus.columns().len()),
            KeyCode::Down => self.scroll(|first| first.saturating_add(1)),
            KeyCode::Up => self.scroll(|first| first.saturating_sub(1)),
            KeyCode::PageDown => self.scroll(|first| first.saturating_add(PAGE)),
            KeyCode::PageUp => self.scroll(|first| first.saturating_sub(PAGE)),
            KeyCode::Home => self.scroll(|_| 0),
            KeyCode::End => self.scroll(|_| usize::MAX),
            _ => {}
        }
        Flow::Draw
    }

    fn pane_after(&self, steps: usize) -> Pane {
        Pane::ALL[(self.focus as usize + steps) % Pane::ALL.len()]
    }

    /// Goes through the columns, and between the last and the first through the server's order.
    fn sort_by_next(&mut self, steps: usize) {
        let columns = self.focus.columns();
        // Zero stands for the server's order.
        let now = self.sort(self.focus).column.map_or(0, |column| column + 1);
        let column = ((now + steps) % (columns.len() + 1)).checked_sub(1);
        self.sorts[self.focus as usize] = SortOrder {
            column,
            descending: column.is_some_and(|column| columns[column].is_number),
        };
        self.scroll(|_| 0);
    }

    fn scroll(&mut self, change: impl FnOnce(usize) -> usize) {
        let scroll = &mut self.scrolls[self.focus as usize];
        *scroll = change(*scroll);
    }
}
