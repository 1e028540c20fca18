//! Whether a contestant does what it is measured for, before it is measured.

use super::Contestant;
use crate::Result;
use crate::backend::Backend;
use crate::callers::{Callers, address};
use crate::load::{Client, Job, Target};
use crate::setup::Setup;

/// Headers of all answers, refusals too.
const REFUSAL_HEADERS: [&str; 5] = [
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "ratelimit-policy",
    "ratelimit",
];
/// Headers of requests as the upstream server sees them.
const REQUEST_HEADERS: [&str; 6] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-tiergate-account",
    "x-tiergate-tier",
    "x-tiergate-priority",
];

/// Fails unless searches are answered with what tells of limits, the upstream server is told the caller, and keys are checked.
pub async fn validate(contestant: Contestant, target: Target, setup: &Setup, backend: &Backend) -> Result<()> {
    let mut client = Client::new(target, 0);
    let caller = Callers::first(setup, 1).next().expect("there is one");
    backend.keep_head();
    client.send(&Job::search(), caller).await?;
    let request = backend.take_head().ok_or("the upstream server got no request")?;
    if contestant.adds_headers() {
        ensure_headers(&request, &REQUEST_HEADERS)?;
        if value(&request, "x-tiergate-account") != Some(&caller.account().name()) {
            return Err(format!("the upstream server is told another account:\n{request}").into());
        }
        if value(&request, "x-api-key").is_some() {
            return Err(format!("the key is forwarded:\n{request}").into());
        }
    }
    let known = format!("key-{:06}-0123456789abcdef0123", setup.accounts - 1);
    let (status, answer) = client.send_raw(&head(&known, "198.51.100.7")).await?;
    ensure_status(status, 200, &answer)?;
    if contestant.adds_headers() {
        ensure_headers(&answer, &[REFUSAL_HEADERS.as_slice(), &["server-timing"]].concat())?;
    }
    if contestant.knows_keys() {
        let (status, answer) = client.send_raw(&head("key-nobody-has", "198.51.100.8")).await?;
        ensure_status(status, 403, &answer)?;
    }
    Ok(())
}

/// Fails unless a caller that has used up its limit or quota is refused, with headers.
pub async fn validate_refusal(contestant: Contestant, target: Target, status: u16) -> Result<()> {
    let key = "key-000000-0123456789abcdef0123";
    let mut client = Client::new(target, 0);
    let (found, answer) = client.send_raw(&head(key, &address(0).to_string())).await?;
    ensure_status(found, status, &answer)?;
    match contestant.adds_headers() {
        true => ensure_headers(&answer, &REFUSAL_HEADERS),
        false => Ok(()),
    }
}

/// A request of that account, from that address.
fn head(key: &str, address: &str) -> String {
    format!("GET /search HTTP/1.1\r\nhost: search.example\r\nx-api-key: {key}\r\nx-forwarded-for: {address}\r\n\r\n")
}

fn ensure_status(status: u16, expected: u16, answer: &str) -> Result<()> {
    match status == expected {
        true => Ok(()),
        false => Err(format!("expected {expected}, but got:\n{answer}").into()),
    }
}

fn ensure_headers(head: &str, names: &[&str]) -> Result<()> {
    match names.iter().find(|name| value(head, name).is_none()) {
        Some(name) => Err(format!("{name} is missing in:\n{head}").into()),
        None => Ok(()),
    }
}

/// The value of a header.
fn value<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut headers = head.lines().skip(1).map_while(|line| line.split_once(':'));
    headers.find_map(|(known, value)| known.eq_ignore_ascii_case(name).then(|| value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_in_any_case_and_not_in_bodies() {
        let text = "HTTP/1.1 200 OK\r\nRateLimit: a\r\n\r\nx-reset: b\r\n";
        assert_eq!(value(text, "ratelimit"), Some("a"));
        assert_eq!(value(text, "x-reset"), None);
        assert!(ensure_headers(text, &["ratelimit", "server-timing"]).is_err());
    }
}
