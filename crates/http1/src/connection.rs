//! What a message says about its connection: `Connection`, `Upgrade`, `Expect` and `TE`.

use std::ops::Range;

use crate::HeadError;
use crate::bytes::{elements, is_space, is_token, trim};
use crate::head::Version;

/// Elements of all `Connection` lines of a message, empty ones included.
pub const CONNECTION_OPTIONS_MAX: usize = 32;

/// What a request wants to change to (RFC 9110 §7.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// `websocket` (RFC 6455 §4.1) is among the protocols.
    WebSocket,
    /// Only other protocols, which may be ignored.
    Other,
}

/// What a request expects before it sends its body (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// `100-continue`.
    Continue,
    /// Something else, which may be refused with 417.
    Other,
}

/// The options of a message's connection. Kept and used again, it allocates nothing.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    close: bool,
    keep_alive: bool,
    upgrade_option: bool,
    upgrade: Option<Upgrade>,
    expect: Option<Expect>,
    trailers: bool,
    count: usize,
    /// Where the names of fields lie that concern this connection only.
    nominated: Vec<Range<u32>>,
}

impl Connection {
    pub(crate) const fn new() -> Self {
        Self {
            close: false,
            keep_alive: false,
            upgrade_option: false,
            upgrade: None,
            expect: None,
            trailers: false,
            count: 0,
            nominated: Vec::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        let mut nominated = std::mem::take(&mut self.nominated);
        nominated.clear();
        *self = Self {
            nominated,
            ..Self::new()
        };
    }

    /// A `Connection` line whose value lies at `place` (RFC 9110 §7.6.1).
    pub(crate) fn options(&mut self, value: &[u8], place: u32) -> Result<(), HeadError> {
        // What nearly all messages say.
        if self.count == 0 && (value == b"keep-alive" || value == b"Keep-Alive") {
            (self.keep_alive, self.count) = (true, 1);
            return Ok(());
        }
        let mut at = 0;
        for element in value.split(|byte| *byte == b',') {
            self.count += 1;
            if self.count > CONNECTION_OPTIONS_MAX {
                return Err(HeadError::TooManyConnectionOptions);
            }
            let option = trim(element);
            let leading = element.iter().position(|byte| !is_space(*byte)).unwrap_or(0);
            let start = place + (at + leading) as u32;
            at += element.len() + 1;
            if option.is_empty() {
                continue;
            }
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade_option = true;
            } else if is_token(option) {
                self.nominated.push(start..start + option.len() as u32);
            } else {
                return Err(HeadError::InvalidConnectionOption);
            }
        }
        Ok(())
    }

    pub(crate) fn upgrade(&mut self, value: &[u8]) {
        let websocket = elements(value).any(|protocol| protocol.eq_ignore_ascii_case(b"websocket"));
        match (websocket, self.upgrade) {
            (true, _) => self.upgrade = Some(Upgrade::WebSocket),
            (false, None) => self.upgrade = Some(Upgrade::Other),
            (false, Some(_)) => {}
        }
    }

    pub(crate) fn expect(&mut self, value: &[u8]) {
        let known = value.eq_ignore_ascii_case(b"100-continue");
        let one = if known { Expect::Continue } else { Expect::Other };
        self.expect = Some(if self.expect.is_none_or(|before| before == one) {
            one
        } else {
            Expect::Other
        });
    }

    pub(crate) fn te(&mut self, value: &[u8]) {
        self.trailers |= elements(value).any(|coding| coding.eq_ignore_ascii_case(b"trailers"));
    }

    pub(crate) fn nominated(&self) -> &[Range<u32>] {
        &self.nominated
    }

    /// Whether the connection goes on after this message and its response (RFC 9112 §9.3): `close` ends it; without it, it
    /// goes on in HTTP/1.1, and in HTTP/1.0 only with `keep-alive`.
    ///
    /// A proxy that clients choose must not keep HTTP/1.0 connections (§9.3, Appendix C.2.2); a gateway, which clients take for
    /// the server, may.
    pub(crate) fn persists(&self, version: Version) -> bool {
        !self.close && (version == Version::Http11 || self.keep_alive)
    }

    /// Ignored in HTTP/1.0 and unless `Connection` has the option `upgrade` (RFC 9110 §7.8).
    pub(crate) fn upgrade_of(&self, version: Version) -> Option<Upgrade> {
        self.upgrade
            .filter(|_| self.upgrade_option && version == Version::Http11)
    }

    /// Ignored in HTTP/1.0 (RFC 9110 §10.1.1).
    pub(crate) fn expect_of(&self, version: Version) -> Option<Expect> {
        self.expect.filter(|_| version == Version::Http11)
    }

    /// Whether `TE` has `trailers` (RFC 9110 §10.1.4).
    pub(crate) fn takes_trailers(&self) -> bool {
        self.trailers
    }
}
