//! Draws the screen, from 72 columns and 16 rows on. At 80 × 24 every part has room; more room goes to the callers.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::app::App;
use super::tables::{self, Pane, Row, TableColumn};
use super::theme::Theme;
use crate::cli::status::places;
use crate::cli::status::report::{StatusReport, readable};

/// The smallest terminal that is drawn on, in columns and rows.
pub const SMALLEST: (u16, u16) = (72, 16);
/// The most lines of alerts; on a terminal of 30 rows or more.
const ALERTS_MAX: [usize; 2] = [3, 8];
/// Lines of a table besides its rows: title and headings.
const TABLE_HEAD: u16 = 2;
/// Lines that the callers have at least, title and headings included.
const CALLERS_MIN: u16 = 4;
/// The last line.
const KEYS: &str = " q quit  Tab next table  ←→ sort by  r reverse  ↑↓ scroll  Space freeze";

/// Draws all of it.
pub fn draw(app: &mut App, theme: Theme, frame: &mut Frame<'_>) {
    let (area, buffer) = (frame.area(), frame.buffer_mut());
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let (width, height) = SMALLEST;
        let text = format!(
            "too small: {width}×{height} needed, this is {}×{}; q quits",
            area.width, area.height
        );
        put(buffer, area, 0, &text, theme.strong());
        return;
    }
    let mut rest = area;
    head(app, theme, buffer, take(&mut rest, 1));
    for (text, is_bad) in alerts(app, ALERTS_MAX[usize::from(area.height >= 30)]) {
        let style = if is_bad { theme.bad() } else { theme.good() };
        put(buffer, take(&mut rest, 1), 0, &text, style);
    }
    queue(&app.latest.0.report, theme, buffer, &mut rest);
    let foot = take_last(&mut rest, 2);
    put(buffer, row_of(foot, 0), 0, &footer(&app.latest.0.report), theme.quiet());
    keys(theme, buffer, row_of(foot, 1));
    let report = &app.latest.0.report;
    let needed = report.servers().count().max(report.tiers.len());
    let most = (rest.height * 3 / 5).min(rest.height.saturating_sub(CALLERS_MIN));
    let needed = u16::try_from(needed)
        .unwrap_or(u16::MAX)
        .saturating_add(TABLE_HEAD)
        .min(most);
    let middle = take(&mut rest, needed);
    let left = Rect {
        width: middle.width * 11 / 20,
        ..middle
    };
    let right = Rect {
        x: left.x + left.width + 1,
        width: middle.width - left.width - 1,
        ..middle
    };
    table(app, Pane::Servers, theme, buffer, left);
    table(app, Pane::Tiers, theme, buffer, right);
    table(app, Pane::Callers, theme, buffer, rest);
}

fn head(app: &App, theme: Theme, buffer: &mut Buffer, area: Rect) {
    let (snapshot, at) = &app.latest;
    let report = &snapshot.report;
    let uptime = readable(report.uptime);
    let text = format!("tiergate {}   up {uptime}   {}", report.version, app.server);
    put(buffer, area, 0, &text, theme.strong());
    let frozen = if app.is_frozen { "FROZEN at " } else { "" };
    put_right(buffer, area, &format!("{frozen}{at}"), theme.strong());
}

/// The lines below the first one, and whether something is wrong: what is, or that nothing is.
fn alerts(app: &App, most: usize) -> Vec<(String, bool)> {
    let (snapshot, at) = &app.latest;
    let mut lines: Vec<String> = Vec::new();
    if let Some((why, since)) = &app.failure {
        lines.push(format!("! no answer since {since}, this is from {at}: {why}"));
    }
    let problems = &snapshot.report.problems;
    lines.extend(problems.iter().map(|problem| format!("! {problem}")));
    if lines.is_empty() {
        return vec![("all is well".to_owned(), false)];
    }
    if lines.len() > most {
        let hidden = lines.len() - (most - 1);
        lines.truncate(most - 1);
        lines.push(format!("! and {hidden} more: see `tiergate status`"));
    }
    lines.into_iter().map(|line| (line, true)).collect()
}

fn queue(report: &StatusReport, theme: Theme, buffer: &mut Buffer, rest: &mut Rect) {
    let title = format!("Queue: {}", places::words(&report.queue));
    rule(buffer, take(rest, 1), &title, theme.strong());
    for line in places::draw(&report.queue, rest.width.into()) {
        let area = take(rest, 1);
        let mut x = 0;
        for piece in line {
            x = put(buffer, area, x, &piece.text, theme.place(piece.mark));
        }
    }
}

fn footer(report: &StatusReport) -> String {
    let database = match report.database_available {
        true => "database can be written",
        false => "! DATABASE CAN'T BE WRITTEN",
    };
    let config = &report.config;
    let restart = match config.restart.len() {
        0 => String::new(),
        1 => ", 1 change needs a restart".to_owned(),
        many => format!(", {many} changes need a restart"),
    };
    let (file, last, at) = (&config.file, &config.last_result, &config.last_at);
    format!("{database} · configuration {last} at {at}{restart} · {file}")
}

fn keys(theme: Theme, buffer: &mut Buffer, area: Rect) {
    buffer.set_style(area, theme.keys());
    put(buffer, area, 0, KEYS, theme.keys());
}

/// A table: title, headings, and the rows that fit.
fn table(app: &mut App, pane: Pane, theme: Theme, buffer: &mut Buffer, area: Rect) {
    let rows = tables::rows(pane, &app.latest.0, app.sort(pane));
    let fit = usize::from(area.height.saturating_sub(TABLE_HEAD));
    let first = app.scroll_within(pane, rows.len(), fit);
    let shown = &rows[first..(first + fit).min(rows.len())];
    let is_focused = app.focus == pane;
    let style = if is_focused { theme.focus() } else { theme.strong() };
    let sign = if is_focused { "▶ " } else { "" };
    let range = match rows.len() > fit {
        true => format!("  {}–{} of {}", first + 1, first + shown.len(), rows.len()),
        false => String::new(),
    };
    rule(
        buffer,
        row_of(area, 0),
        &format!("{sign}{}{range}", title(app, pane)),
        style,
    );
    headings(app, pane, theme, buffer, row_of(area, 1));
    if rows.is_empty() {
        put(buffer, row_of(area, 2), 0, &nothing(app, pane), theme.quiet());
    }
    for (number, row) in (TABLE_HEAD..).zip(shown) {
        let style = if row.is_bad { theme.bad() } else { Style::new() };
        cells(pane, row, buffer, row_of(area, number), style);
    }
}

fn title(app: &App, pane: Pane) -> String {
    match pane {
        Pane::Servers => "Upstream servers".to_owned(),
        Pane::Tiers => "Tiers".to_owned(),
        Pane::Callers => match &app.latest.0.callers.unknown {
            None => format!("Callers, {} in the last hour", app.latest.0.callers.total),
            Some(_) => "Callers: not known".to_owned(),
        },
    }
}

/// What stands in an empty table.
fn nothing(app: &App, pane: Pane) -> String {
    match (pane, &app.latest.0.callers.unknown) {
        (Pane::Servers, _) => "no upstream servers".to_owned(),
        (Pane::Tiers, _) => "no tiers".to_owned(),
        (Pane::Callers, None) => "no caller in the last hour, and none in flight".to_owned(),
        (Pane::Callers, Some(why)) => format!("! {why}"),
    }
}

fn headings(app: &App, pane: Pane, theme: Theme, buffer: &mut Buffer, area: Rect) {
    let sort = app.sort(pane);
    for (number, (column, span)) in spans(pane, area).enumerate() {
        let sign = match (sort.column == Some(number), sort.descending) {
            (false, _) => "",
            (true, true) => "▼",
            (true, false) => "▲",
        };
        let text = format!("{}{sign}", column.head);
        let style = if sign.is_empty() { theme.quiet() } else { theme.strong() };
        put_aligned(buffer, span, column, &text, style);
    }
}

fn cells(pane: Pane, row: &Row, buffer: &mut Buffer, area: Rect, style: Style) {
    for ((column, span), cell) in spans(pane, area).zip(&row.cells) {
        // What tells servers apart is the end of their names.
        let is_server = pane == Pane::Servers && !column.is_number;
        let text = if is_server {
            end_of(&cell.text, span.width.into())
        } else {
            cell.text.clone()
        };
        put_aligned(buffer, span, column, &text, style);
    }
}

/// The columns and their areas, with a space between them. The first takes what room the others leave.
fn spans(pane: Pane, area: Rect) -> impl Iterator<Item = (&'static TableColumn, Rect)> {
    let columns = pane.columns();
    let wide = |column: &TableColumn| u16::try_from(column.width).unwrap_or(u16::MAX);
    let others: u16 = columns[1..].iter().map(|column| wide(column) + 1).sum();
    let mut x = area.x;
    columns.iter().enumerate().map(move |(number, column)| {
        let width = if number == 0 {
            area.width.saturating_sub(others)
        } else {
            wide(column)
        };
        let span = Rect { x, width, ..area };
        x = x.saturating_add(width + 1);
        (column, span)
    })
}

/// The end of a text that is too long.
fn end_of(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width || width == 0 {
        return text.to_owned();
    }
    let end = text.chars().skip(count - (width - 1));
    std::iter::once('…').chain(end).collect()
}

fn put_aligned(buffer: &mut Buffer, span: Rect, column: &TableColumn, text: &str, style: Style) {
    match column.is_number {
        true => put_right(buffer, span, text, style),
        false => {
            put(buffer, span, 0, text, style);
        }
    }
}

/// Puts a text into a line, `x` columns after its start, and says where it ends. One that is too long ends in `…`.
fn put(buffer: &mut Buffer, area: Rect, x: u16, text: &str, style: Style) -> u16 {
    let room = area.width.saturating_sub(x);
    if area.height == 0 || room == 0 {
        return x;
    }
    let (end, _) = buffer.set_stringn(area.x + x, area.y, text, room.into(), style);
    if ratatui::text::Span::raw(text).width() > usize::from(room) {
        buffer.set_string(area.x + area.width - 1, area.y, "…", style);
    }
    end - area.x
}

fn put_right(buffer: &mut Buffer, area: Rect, text: &str, style: Style) {
    let width = u16::try_from(ratatui::text::Span::raw(text).width()).unwrap_or(u16::MAX);
    put(buffer, area, area.width.saturating_sub(width), text, style);
}

/// A line across, with a title in it.
fn rule(buffer: &mut Buffer, area: Rect, title: &str, style: Style) {
    let line = "─".repeat(area.width.into());
    put(buffer, area, 0, &line, Style::new());
    put(buffer, area, 1, &format!(" {title} "), style);
}

/// Cuts that many rows off the top.
fn take(rest: &mut Rect, rows: u16) -> Rect {
    let rows = rows.min(rest.height);
    let top = Rect { height: rows, ..*rest };
    rest.y += rows;
    rest.height -= rows;
    top
}

/// Cuts that many rows off the bottom.
fn take_last(rest: &mut Rect, rows: u16) -> Rect {
    rest.height = rest.height.saturating_sub(rows);
    Rect {
        y: rest.y + rest.height,
        height: rows,
        ..*rest
    }
}

/// A row of the area; empty if it has no such row.
fn row_of(area: Rect, row: u16) -> Rect {
    Rect {
        y: area.y + row.min(area.height),
        height: u16::from(row < area.height),
        ..area
    }
}
