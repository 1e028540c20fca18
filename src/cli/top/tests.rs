//! The screen, drawn on a terminal in memory; and the keys.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};

use super::app::{App, Flow};
use super::callers::Callers;
use super::tables::{self, Pane};
use super::theme::Theme;
use super::{Snapshot, check_terminal, screen};
use crate::cli::status::report::StatusReport;

fn server(address: &str, (busy, slots): (u64, u64), up: Option<bool>) -> Value {
    json!({ "upstream": "search", "server": address, "listed": true, "slots": slots, "running": busy, "up": up,
            "available": if up == Some(true) { slots } else { 0 }, "drained": false,
            "why_down": (up == Some(false)).then_some("connection refused") })
}

fn tier(name: &str, priority: u8, (waiting, running): (u64, u64), refused: u64) -> Value {
    json!({ "tier": name, "priority": priority, "waiting": waiting, "running": running, "refused_last_minute": refused })
}

fn caller(name: &str, tier: Option<&str>, (waiting, running): (u64, u64), used: Option<[u64; 3]>) -> Value {
    let used = used.map_or([Value::Null, Value::Null, Value::Null], |used| used.map(Value::from));
    let [units, jobs, refused] = used;
    json!({ "caller": name, "tier": tier, "waiting": waiting, "running": running,
            "units": units, "jobs": jobs, "refused": refused })
}

/// `GET /status` of a server where all is well.
fn quiet() -> Value {
    json!({
        "version": "0.1.0", "uptime_s": 11_520.5, "paused": false, "admission_stopped": false, "shutting_down": false,
        "queue": { "seats": 8, "waiting": 0, "by_priority": [0, 0, 0, 0, 0, 0, 0], "oldest_s": null },
        "tiers": [tier("free", 0, (0, 0), 0), tier("$5", 2, (0, 0), 0), tier("$100", 6, (0, 0), 0)],
        "upstreams": [{ "upstream": "search", "servers": [server("127.0.0.1:8081", (0, 4), Some(true))] }],
        "database": { "available": true },
        "config": { "file": "/etc/tiergate/tiers.yaml", "since": "2026-12-01T03:11:29Z", "restart": [],
                    "last": { "at": "2026-12-01T03:11:29Z", "result": "started", "wrong": null } },
        "problems": [],
    })
}

/// One with a full queue, and much that is wrong.
fn busy() -> Value {
    let mut status = quiet();
    status["paused"] = true.into();
    status["queue"] = json!({ "seats": 8, "waiting": 8, "by_priority": [3, 0, 2, 0, 0, 1, 2], "oldest_s": 74.2 });
    status["tiers"] = json!([
        tier("free", 0, (3, 2), 1_204),
        tier("$1", 1, (0, 0), 12),
        tier("$5", 2, (2, 3), 7),
        tier("$10", 3, (0, 0), 0),
        tier("$20", 4, (0, 0), 0),
        tier("$50", 5, (1, 0), 0),
        tier("$100", 6, (2, 1), 0),
    ]);
    let mut drained = server("10.0.0.4:8081", (1, 4), Some(true));
    (drained["drained"], drained["available"]) = (true.into(), 0.into());
    status["upstreams"] = json!([
        { "upstream": "search", "servers": [
            server("10.0.0.2:8081", (4, 4), Some(true)), server("10.0.0.3:8081", (0, 4), Some(false)), drained,
            server("10.0.0.5:8081", (1, 0), None) ] },
        { "upstream": "a-long-upstream-name", "servers": [server("upload-1.search.example:9001", (2, 64), Some(true))] },
    ]);
    status["database"] = json!({ "available": false });
    status["config"]["restart"] =
        json!([{ "subject": "cores", "change": "2 → 1", "tier": null, "accounts": null, "restart": true }]);
    let problem = |error: &str| json!({ "reason": "x", "error": error });
    status["problems"] = json!([
        problem("dispatch is paused: no queued search gets a slot until `tiergate resume`"),
        problem("the database can't be written: metered requests are refused"),
        problem("the configuration file last read is invalid; the previous configuration stays in force"),
        problem("server 10.0.0.3:8081 of upstream search is down: connection refused"),
    ]);
    status
}

fn callers() -> Value {
    let mut callers = vec![
        caller("acme", Some("$100"), (2, 1), Some([4_310, 4_350, 0])),
        caller(
            "a school with a long name, really",
            Some("$5"),
            (0, 3),
            Some([900, 1_000, 7]),
        ),
        caller("192.0.2.77", Some("free"), (1, 0), Some([12, 14, 2_400])),
        caller("2001:db8:1234:5678::/64", Some("free"), (1, 0), None),
    ];
    let more = |number: u64| {
        caller(
            &format!("network {number:016x}"),
            None,
            (0, 0),
            Some([12 - number, 12, number]),
        )
    };
    callers.extend((0..12).map(more));
    json!({ "since": "2026-12-01T02:11:29Z", "callers": callers, "callers_total": 431 })
}

fn app(status: &Value, callers: &Value) -> App {
    let snapshot = Snapshot {
        report: StatusReport::of(status).expect("a status"),
        callers: Callers::of(callers).expect("callers"),
    };
    App::new("127.0.0.1:9090".to_owned(), snapshot, "03:11:29 UTC".to_owned())
}

fn drawn(app: &mut App, theme: Theme, (width, height): (u16, u16)) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("memory");
    terminal.draw(|frame| screen::draw(app, theme, frame)).expect("memory");
    terminal.backend().clone()
}

fn coloured() -> Theme {
    Theme::of(None)
}

fn press(app: &mut App, codes: &[KeyCode]) {
    for code in codes {
        assert_eq!(app.key(KeyEvent::from(*code)), Flow::Draw);
    }
}

#[track_caller]
fn snapshot(name: &str, drawn: &TestBackend) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../../tests/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(format!("top__{name}"), drawn));
}

fn names(app: &App, pane: Pane) -> Vec<String> {
    let rows = tables::rows(pane, &app.latest.0, app.sort(pane));
    rows.into_iter().map(|row| row.cells[0].text.clone()).collect()
}

#[test]
fn a_quiet_server_fits_80_by_24() {
    let nobody = json!({ "callers": [], "callers_total": 0 });
    snapshot("quiet_80x24", &drawn(&mut app(&quiet(), &nobody), coloured(), (80, 24)));
}

#[test]
fn a_busy_server_with_problems_fits_80_by_24() {
    snapshot(
        "busy_80x24",
        &drawn(&mut app(&busy(), &callers()), coloured(), (80, 24)),
    );
}

#[test]
fn more_room_shows_more_rows() {
    snapshot(
        "busy_120x40",
        &drawn(&mut app(&busy(), &callers()), coloured(), (120, 40)),
    );
}

#[test]
fn a_long_queue_is_drawn_to_scale() {
    let mut status = quiet();
    status["queue"] =
        json!({ "seats": 1_000, "waiting": 402, "by_priority": [400, 0, 0, 0, 0, 1, 1], "oldest_s": 3.25 });
    snapshot(
        "long_queue_80x24",
        &drawn(&mut app(&status, &callers()), coloured(), (80, 24)),
    );
}

#[test]
fn the_smallest_terminal_is_drawn_and_a_smaller_one_says_so() {
    let mut app = app(&busy(), &callers());
    snapshot("busy_72x16", &drawn(&mut app, coloured(), screen::SMALLEST));
    let small = drawn(&mut app, coloured(), (50, 10)).to_string();
    assert!(small.contains("too small: 72×16 needed, this is 50×10"), "{small}");
    for width in 0..100 {
        for height in 0..40 {
            drawn(&mut app, coloured(), (width, height));
        }
    }
}

#[test]
fn silence_is_shown_with_its_beginning() {
    let mut app = app(&quiet(), &callers());
    app.failed(
        "no server is running at 127.0.0.1:9090".to_owned(),
        "03:11:30 UTC".to_owned(),
    );
    app.failed("it took too long".to_owned(), "03:11:31 UTC".to_owned());
    let silent = drawn(&mut app, coloured(), (120, 24)).to_string();
    let expected = "! no answer since 03:11:30 UTC, this is from 03:11:29 UTC: it took too long";
    assert!(silent.contains(expected) && !silent.contains("all is well"), "{silent}");
    let snapshot = app.latest.0.clone();
    app.answered(snapshot, "03:11:32 UTC".to_owned());
    assert!(
        drawn(&mut app, coloured(), (80, 24))
            .to_string()
            .contains("all is well")
    );
}

/// When the database fails, the rest is what an operator needs.
#[test]
fn unknown_callers_hide_nothing_else() {
    let mut app = app(&busy(), &callers());
    app.latest.0.callers = Callers::unknown("the database can't be read: disk I/O error".to_owned());
    let screen = drawn(&mut app, coloured(), (80, 24)).to_string();
    for part in [
        "Callers: not known",
        "! the database can't be read: disk I/O error",
        "[6][6][5][2][2][0][0][0]",
    ] {
        assert!(screen.contains(part), "{part} is not in {screen}");
    }
}

#[test]
fn without_colours_every_sign_is_there() {
    let plain = drawn(&mut app(&busy(), &callers()), Theme::of(Some("1")), (80, 24));
    let coloured = drawn(&mut app(&busy(), &callers()), Theme::of(Some("")), (80, 24));
    assert_eq!(
        plain.to_string(),
        coloured.to_string(),
        "colours add no letter and hide none"
    );
    let has_colour = |backend: &TestBackend| {
        let cells = backend.buffer().content();
        cells
            .iter()
            .any(|cell| (cell.fg, cell.bg) != (Color::Reset, Color::Reset))
    };
    assert!(has_colour(&coloured) && !has_colour(&plain));
    let reversed = plain
        .buffer()
        .content()
        .iter()
        .filter(|cell| cell.modifier.contains(Modifier::REVERSED));
    assert_eq!(reversed.count(), 8 * 3 + 80, "8 places, and the line of keys");
}

#[test]
fn columns_sort_the_table_that_the_keys_are_for() {
    let mut app = app(&busy(), &callers());
    assert_eq!(
        names(&app, Pane::Callers)[..3],
        ["acme", "a school with a long name, really", "192.0.2.77"]
    );
    // Units, jobs, refused.
    press(&mut app, &[KeyCode::Right, KeyCode::Right]);
    assert_eq!(names(&app, Pane::Callers)[0], "192.0.2.77");
    press(&mut app, &[KeyCode::Char('r')]);
    assert_eq!(
        names(&app, Pane::Callers)[0],
        "2001:db8:1234:5678::/64",
        "what is not known is least"
    );
    let given = ["free", "$1", "$5", "$10", "$20", "$50", "$100"];
    press(&mut app, &[KeyCode::Tab, KeyCode::Tab]);
    assert_eq!(
        (app.focus, names(&app, Pane::Tiers)),
        (Pane::Tiers, given.map(str::to_owned).to_vec())
    );
    press(&mut app, &[KeyCode::Left]);
    assert_eq!(
        names(&app, Pane::Tiers)[..3],
        ["free", "$1", "$5"],
        "by refusals, most first"
    );
    press(&mut app, &[KeyCode::Left, KeyCode::Left, KeyCode::Left]);
    assert_eq!(names(&app, Pane::Tiers)[0], "$100", "by priority, highest first");
    press(&mut app, &[KeyCode::Left, KeyCode::Left]);
    assert_eq!(names(&app, Pane::Tiers), given, "as tiers.yaml has them");
    assert_eq!(
        names(&app, Pane::Callers)[0],
        "2001:db8:1234:5678::/64",
        "the others stay as they were"
    );
    press(&mut app, &[KeyCode::BackTab, KeyCode::Right, KeyCode::Right]);
    assert_eq!(
        names(&app, Pane::Servers)[0],
        "search/10.0.0.3:8081",
        "by state: what is down comes first"
    );
}

#[test]
fn scrolling_stops_at_the_ends() {
    let mut app = app(&busy(), &callers());
    let top = |app: &mut App| {
        let screen = drawn(app, coloured(), (80, 24)).to_string();
        let line = screen
            .lines()
            .find(|line| line.contains("Callers"))
            .expect("a title")
            .to_owned();
        let (_, range) = line.split_once("hour  ").expect("a range");
        range.split('–').next().expect("a number").to_owned()
    };
    assert_eq!(top(&mut app), "1");
    press(&mut app, &[KeyCode::Up, KeyCode::Down, KeyCode::Down]);
    assert_eq!(top(&mut app), "3");
    press(&mut app, &[KeyCode::End, KeyCode::Down]);
    let last = top(&mut app);
    press(&mut app, &[KeyCode::Up]);
    let number = |text: &str| text.parse::<usize>().expect("a number");
    assert_eq!(
        number(&top(&mut app)),
        number(&last) - 1,
        "what was scrolled in vain is forgotten"
    );
    press(&mut app, &[KeyCode::Home]);
    assert_eq!(top(&mut app), "1");
}

#[test]
fn frozen_it_keeps_the_snapshot() {
    let mut app = app(&quiet(), &callers());
    press(&mut app, &[KeyCode::Char(' ')]);
    let busy = self::app(&busy(), &callers()).latest.0;
    app.answered(busy.clone(), "03:11:30 UTC".to_owned());
    let frozen = drawn(&mut app, coloured(), (80, 24)).to_string();
    assert!(
        frozen.contains("FROZEN at 03:11:29 UTC") && frozen.contains("all is well"),
        "{frozen}"
    );
    press(&mut app, &[KeyCode::Char(' ')]);
    app.answered(busy, "03:11:31 UTC".to_owned());
    assert!(
        drawn(&mut app, coloured(), (80, 24))
            .to_string()
            .contains("dispatch is paused")
    );
}

#[test]
fn q_and_ctrl_c_end_it() {
    let mut app = app(&quiet(), &callers());
    assert_eq!(app.key(KeyEvent::from(KeyCode::Char('q'))), Flow::End);
    assert_eq!(
        app.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)),
        Flow::End
    );
    assert_eq!(app.key(KeyEvent::from(KeyCode::Char('c'))), Flow::Draw);
}

#[test]
fn only_a_terminal_is_drawn_on() {
    assert!(check_terminal(true, true, "xterm-256color").is_ok());
    for (input, output, term, why) in [
        (true, false, "xterm", "standard output is not a terminal"),
        (false, true, "xterm", "standard input is not a terminal"),
        (true, true, "dumb", "TERM=dumb"),
    ] {
        let error = check_terminal(input, output, term)
            .expect_err("no terminal")
            .to_string();
        assert!(error.contains(why) && error.contains("tiergate top --json"), "{error}");
    }
}
