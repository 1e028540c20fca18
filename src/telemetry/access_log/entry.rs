//! One request as a line of the access log. No line has a query or a key: an entry has no field for them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::text::{SecondText, escape, write_address, write_escaped, write_millis, write_number, write_time, write_to};
use crate::policy::time::{Span, UnixTime};

/// The format of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineFormat {
    /// A JSON object.
    #[default]
    Json,
    /// `key=value` pairs.
    Logfmt,
    /// The combined format of Apache and nginx, the referrer always `-`.
    Combined,
}

/// How clients' addresses are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AddressDisplay {
    /// The first 24 bits of an IPv4 address, 48 of an IPv6 address.
    #[default]
    Masked,
    /// As they are.
    Full,
    /// Not at all.
    None,
}

impl AddressDisplay {
    /// The address as it is to be written.
    pub fn shown(self, address: IpAddr) -> Option<IpAddr> {
        match (self, address.to_canonical()) {
            (Self::None, _) => None,
            (Self::Full, address) => Some(address),
            (Self::Masked, IpAddr::V4(address)) => Some(Ipv4Addr::from_bits(address.to_bits() & !0xff).into()),
            (Self::Masked, IpAddr::V6(address)) => Some(Ipv6Addr::from_bits(address.to_bits() >> 80 << 80).into()),
        }
    }
}

/// A finished request. Bytes are those of bodies.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// When it arrived.
    pub at: UnixTime,
    /// Its id.
    pub request_id: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The name of its account.
    pub account: Option<&'a str>,
    /// The name of its tier.
    pub tier: Option<&'a str>,
    /// The route, as in metrics.
    pub route: &'a str,
    /// Whether the route is metered.
    pub metered: bool,
    /// The method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The status; `None` if the client was gone before there was one.
    pub status: Option<u16>,
    /// The code of the reason of a refusal.
    pub reason: Option<&'static str>,
    /// Bytes of the request's body that were read.
    pub bytes_in: u64,
    /// Bytes of the answer's body that were handed to the connection.
    pub bytes_out: u64,
    /// The time in the queue.
    pub wait: Option<Span>,
    /// The name of the upstream.
    pub upstream: Option<&'a str>,
    /// The address of the upstream server.
    pub server: Option<&'a str>,
    /// From the slot to the head of the upstream's answer.
    pub service: Option<Span>,
    /// From the head of the request to the end of the answer.
    pub total: Span,
    /// The client's `User-Agent`, for the combined format only.
    pub user_agent: Option<&'a [u8]>,
}

impl Entry<'_> {
    /// Appends the request's line to `out`. `second` is kept from line to line.
    pub(super) fn write(
        &self,
        out: &mut String,
        format: LineFormat,
        addresses: AddressDisplay,
        second: &mut SecondText,
    ) {
        let second = second.of(self.at, format);
        match format {
            LineFormat::Json => self.pairs(addresses, second, &mut JsonLine::begin(out)),
            LineFormat::Logfmt => self.pairs(addresses, second, &mut LogfmtLine::begin(out)),
            LineFormat::Combined => self.combined(addresses, second, out),
        }
        out.push('\n');
    }

    fn pairs(&self, addresses: AddressDisplay, second: &str, line: &mut impl FieldWriter) {
        line.raw("time", |out| write_time(out, second, self.at));
        line.text("request_id", self.request_id);
        if let Some(client) = addresses.shown(self.client) {
            line.raw("client", |out| write_address(out, client));
        }
        line.optional("account", self.account);
        line.optional("tier", self.tier);
        line.text("route", self.route);
        line.text("method", self.method);
        line.text("path", self.path);
        if let Some(status) = self.status {
            line.number("status", status.into());
        }
        line.optional("reason", self.reason);
        line.number("bytes_in", self.bytes_in);
        line.number("bytes_out", self.bytes_out);
        line.millis("wait_ms", self.wait);
        line.optional("upstream", self.upstream);
        line.optional("server", self.server);
        line.millis("service_ms", self.service);
        line.millis("total_ms", Some(self.total));
        line.end();
    }

    fn combined(&self, addresses: AddressDisplay, second: &str, out: &mut String) {
        match addresses.shown(self.client) {
            Some(client) => write_address(out, client),
            None => out.push('-'),
        }
        out.push_str(" - ");
        match self.account {
            // A space would begin the next field.
            Some(account) => account.chars().for_each(|letter| match letter {
                ' ' => out.push('_'),
                letter => escape(out, letter),
            }),
            None => out.push('-'),
        }
        write_to(out, format_args!(" [{second}] \""));
        write_escaped(out, self.method);
        out.push(' ');
        write_escaped(out, self.path);
        // 499 is nginx' status for a client that has gone.
        let (status, bytes) = (self.status.unwrap_or(499), self.bytes_out);
        write_to(out, format_args!(" HTTP/1.1\" {status} {bytes} \"-\" \""));
        write_escaped(out, &String::from_utf8_lossy(self.user_agent.unwrap_or(b"-")));
        out.push('"');
    }
}

/// Appends the line that tells how many requests were not logged.
pub(super) fn write_omitted(out: &mut String, format: LineFormat, at: UnixTime, omitted: u64) {
    fn pairs(line: &mut impl FieldWriter, at: UnixTime, omitted: u64) {
        let mut second = SecondText::default();
        line.raw("time", |out| write_time(out, second.of(at, LineFormat::Json), at));
        line.number("omitted", omitted);
        line.end();
    }
    match format {
        LineFormat::Json => pairs(&mut JsonLine::begin(out), at, omitted),
        LineFormat::Logfmt => pairs(&mut LogfmtLine::begin(out), at, omitted),
        // Its readers know no other line than a request's; the metric tells.
        LineFormat::Combined => return,
    }
    out.push('\n');
}

/// A line of named values.
trait FieldWriter {
    /// A value that needs no escapes.
    fn raw(&mut self, name: &str, value: impl FnOnce(&mut String));
    fn text(&mut self, name: &str, value: &str);
    fn number(&mut self, name: &str, value: u64);
    fn millis(&mut self, name: &str, value: Option<Span>);
    fn end(&mut self) {}

    fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }
}

struct JsonLine<'o>(&'o mut String);

impl<'o> JsonLine<'o> {
    fn begin(out: &'o mut String) -> Self {
        out.push('{');
        Self(out)
    }

    fn name(&mut self, name: &str) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(name);
        self.0.push_str("\":");
    }
}

impl FieldWriter for JsonLine<'_> {
    fn raw(&mut self, name: &str, value: impl FnOnce(&mut String)) {
        self.name(name);
        self.0.push('"');
        value(self.0);
        self.0.push('"');
    }

    fn text(&mut self, name: &str, value: &str) {
        self.raw(name, |out| write_escaped(out, value));
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        write_number(self.0, value);
    }

    fn millis(&mut self, name: &str, value: Option<Span>) {
        if let Some(value) = value {
            self.name(name);
            write_millis(self.0, value);
        }
    }

    fn end(&mut self) {
        self.0.push('}');
    }
}

struct LogfmtLine<'o> {
    out: &'o mut String,
    begun: bool,
}

impl<'o> LogfmtLine<'o> {
    fn begin(out: &'o mut String) -> Self {
        Self { out, begun: false }
    }

    fn name(&mut self, name: &str) {
        if self.begun {
            self.out.push(' ');
        }
        self.begun = true;
        self.out.push_str(name);
        self.out.push('=');
    }
}

impl FieldWriter for LogfmtLine<'_> {
    fn raw(&mut self, name: &str, value: impl FnOnce(&mut String)) {
        self.name(name);
        value(self.out);
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'=' | b'\\');
        if !value.is_empty() && value.bytes().all(is_plain) {
            self.out.push_str(value);
        } else {
            self.out.push('"');
            write_escaped(self.out, value);
            self.out.push('"');
        }
    }

    fn number(&mut self, name: &str, value: u64) {
        self.name(name);
        write_number(self.out, value);
    }

    fn millis(&mut self, name: &str, value: Option<Span>) {
        if let Some(value) = value {
            self.name(name);
            write_millis(self.out, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry<'static> {
        Entry {
            at: UnixTime::from_millis(1_764_554_400_007),
            request_id: "7f3e",
            client: IpAddr::from([203, 0, 113, 77]),
            account: Some("acme"),
            tier: Some("$20"),
            route: "/search",
            metered: true,
            method: "POST",
            path: "/search",
            status: Some(200),
            reason: None,
            bytes_in: 1_500_000,
            bytes_out: 812,
            wait: Some(Span::from_nanos(12_550_000)),
            upstream: Some("search"),
            server: Some("127.0.0.1:8081"),
            service: Some(Span::from_millis(431)),
            total: Span::from_nanos(450_149_000),
            user_agent: None,
        }
    }

    fn line(entry: &Entry<'_>, format: LineFormat, addresses: AddressDisplay) -> String {
        let mut line = String::new();
        entry.write(&mut line, format, addresses, &mut SecondText::default());
        line
    }

    #[test]
    fn a_line_has_its_fields_in_their_order() {
        assert_eq!(
            line(&entry(), LineFormat::Json, AddressDisplay::Masked),
            "{\"time\":\"2025-12-01T02:00:00.007Z\",\"request_id\":\"7f3e\",\"client\":\"203.0.113.0\",\"account\":\"acme\",\
             \"tier\":\"$20\",\"route\":\"/search\",\"method\":\"POST\",\"path\":\"/search\",\"status\":200,\
             \"bytes_in\":1500000,\"bytes_out\":812,\"wait_ms\":12.5,\"upstream\":\"search\",\
             \"server\":\"127.0.0.1:8081\",\"service_ms\":431.0,\"total_ms\":450.1}\n"
        );
        assert_eq!(
            line(&entry(), LineFormat::Logfmt, AddressDisplay::Full),
            "time=2025-12-01T02:00:00.007Z request_id=7f3e client=203.0.113.77 account=acme tier=$20 route=/search method=POST \
             path=/search status=200 bytes_in=1500000 bytes_out=812 wait_ms=12.5 upstream=search server=127.0.0.1:8081 \
             service_ms=431.0 total_ms=450.1\n"
        );
        assert_eq!(
            line(
                &Entry {
                    user_agent: Some(b"curl/8 \"x\""),
                    ..entry()
                },
                LineFormat::Combined,
                AddressDisplay::None
            ),
            "- - acme [01/Dec/2025:02:00:00 +0000] \"POST /search HTTP/1.1\" 200 812 \"-\" \"curl/8 \\\"x\\\"\"\n"
        );
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let refused = Entry {
            account: None,
            tier: None,
            status: None,
            reason: Some("rate_limited"),
            wait: None,
            upstream: None,
            server: None,
            service: None,
            ..entry()
        };
        let line = line(&refused, LineFormat::Json, AddressDisplay::None);
        for name in [
            "client",
            "account",
            "tier",
            "status",
            "wait_ms",
            "upstream",
            "server",
            "service_ms",
            "null",
        ] {
            assert!(!line.contains(name), "{name} in {line}");
        }
        assert!(line.contains("\"reason\":\"rate_limited\",\"bytes_in\""), "{line}");
    }

    #[test]
    fn nothing_in_a_path_breaks_a_line() {
        let paths = [
            "/a\nb",
            "/\"x\\",
            "/\u{1b}[31m",
            "/\u{85}\u{7f}",
            "/\u{202e}gpj.exe",
            "/a b=c",
            "/ü",
        ];
        for path in paths {
            let entry = Entry { path, ..entry() };
            for format in [LineFormat::Json, LineFormat::Logfmt, LineFormat::Combined] {
                let line = line(&entry, format, AddressDisplay::Masked);
                let inner = line.strip_suffix('\n').expect("it is a line");
                assert!(
                    !inner.contains(|letter: char| letter.is_control() || letter == '\u{202e}'),
                    "{line:?}"
                );
            }
            let read: serde_json::Value =
                serde_json::from_str(&line(&entry, LineFormat::Json, AddressDisplay::Masked)).expect("it is JSON");
            assert_eq!(read["path"], path);
        }
        let long = "/".repeat(5_000);
        let line = line(
            &Entry { path: &long, ..entry() },
            LineFormat::Json,
            AddressDisplay::Masked,
        );
        assert!(line.len() < 1_600 && line.contains("/…\""), "{line}");
    }

    #[test]
    fn addresses_are_masked_to_their_network() {
        let masked = |text: &str| {
            let shown = AddressDisplay::Masked.shown(text.parse().expect("an address"));
            shown.map(|at| at.to_string())
        };
        assert_eq!(masked("198.51.100.255").as_deref(), Some("198.51.100.0"));
        assert_eq!(masked("2001:db8:1:2:3::4").as_deref(), Some("2001:db8:1::"));
        assert_eq!(masked("::ffff:198.51.100.7").as_deref(), Some("198.51.100.0"));
    }
}
