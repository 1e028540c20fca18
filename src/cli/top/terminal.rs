//! Shows the screen on the terminal, and leaves the terminal as it was: after an error and a panic too.

use std::io;
use std::sync::mpsc::Receiver;

use ratatui::DefaultTerminal;

use super::app::{App, Event, Flow};
use super::poll::{self, LONGEST};
use super::theme::Theme;
use super::{fetch, screen};
use crate::cli::CliError;
use crate::cli::client::AdminClient;

/// Shows the screen until the operator ends it.
///
/// # Errors
/// The server does not answer at first, or the terminal can't be used.
pub fn show(client: AdminClient) -> Result<(), CliError> {
    // Before the terminal is taken, so that an error is an ordinary one.
    let (_, first) = fetch(&client, LONGEST)?;
    let mut app = App::new(client.name(), first, poll::time());
    let theme = Theme::of(std::env::var("NO_COLOR").ok().as_deref());
    let mut terminal = ratatui::try_init().map_err(|error| {
        // It may have been taken in part.
        ratatui::restore();
        CliError::Terminal(error.to_string())
    })?;
    let done = poll::start(client).and_then(|events| run(&mut app, theme, &mut terminal, &events));
    let restored = ratatui::try_restore();
    done.and(restored).map_err(CliError::Output)
}

fn run(app: &mut App, theme: Theme, terminal: &mut DefaultTerminal, events: &Receiver<Event>) -> io::Result<()> {
    loop {
        terminal.draw(|frame| screen::draw(app, theme, frame))?;
        // All senders are gone only if all threads have panicked.
        let first = events.recv().map_err(io::Error::other)?;
        // What has come meanwhile needs no drawing of its own.
        for event in std::iter::once(first).chain(events.try_iter()) {
            match event {
                Event::Answer(snapshot, at) => app.answered(*snapshot, at),
                Event::NoAnswer(why, at) => app.failed(why, at),
                Event::Key(key) if app.key(key) == Flow::End => return Ok(()),
                Event::Key(_) | Event::Resized => {}
                Event::End => return Ok(()),
                Event::Lost(error) => return Err(error),
            }
        }
    }
}
