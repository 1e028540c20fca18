//! What happens to the screen, from three threads: answers of the server once a second, keys, and signals.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use ratatui::crossterm::event;
use tokio::signal::unix::{SignalKind, signal};

use super::app::Event;
use super::{brief, fetch};
use crate::cli::client::AdminClient;
use crate::cli::data;

/// From an answer to the next question.
const EVERY: Duration = Duration::from_secs(1);
/// The longest wait for an answer. Then the screen says that there is none.
pub const LONGEST: Duration = Duration::from_secs(5);

/// The events, for as long as the receiver lives. The threads end with the process.
pub fn start(client: AdminClient) -> std::io::Result<Receiver<Event>> {
    let (send, events) = channel();
    let (keys, signals) = (send.clone(), send.clone());
    thread::Builder::new()
        .name("poll".to_owned())
        .spawn(move || poll(&client, &send))?;
    thread::Builder::new()
        .name("keys".to_owned())
        .spawn(move || read_keys(&keys))?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || await_signal(&signals))?;
    Ok(events)
}

/// The time, for the screen.
pub fn time() -> String {
    let now = data::readable(data::now());
    let time = now.split(' ').nth(1).unwrap_or(&now);
    format!("{time} UTC")
}

fn poll(client: &AdminClient, send: &Sender<Event>) {
    // Nothing is ever sent: it is only for waiting.
    let (_never, pause) = channel::<()>();
    while pause.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
        let event = match fetch(client, LONGEST) {
            Ok((_, snapshot)) => Event::Answer(Box::new(snapshot), time()),
            Err(error) => Event::NoAnswer(brief(&error), time()),
        };
        if send.send(event).is_err() {
            return;
        }
    }
}

fn read_keys(send: &Sender<Event>) {
    loop {
        let event = match event::read() {
            Ok(event::Event::Key(key)) => Event::Key(key),
            Ok(event::Event::Resize(..)) => Event::Resized,
            Ok(_) => continue,
            Err(error) => Event::Lost(error),
        };
        let is_last = matches!(event, Event::Lost(_));
        if send.send(event).is_err() || is_last {
            return;
        }
    }
}

/// A signal must not end the process before the terminal is as it was. Ctrl-C is a key here.
fn await_signal(send: &Sender<Event>) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    runtime.block_on(async {
        let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()].map(signal);
        let [Ok(mut terminate), Ok(mut hangup), Ok(mut interrupt)] = kinds else {
            return;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
        }
        // Nobody receives it if the screen has ended.
        let _ = send.send(Event::End);
    });
}
