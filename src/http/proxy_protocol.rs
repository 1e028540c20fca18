//! The PROXY protocol, versions 1 and 2: before any HTTP, a load balancer sends the client's address. It is accepted from the
//! listed peers only; from others such a header is invalid HTTP.
//!
//! A header is parsed only once it is complete, so its meaning does not depend on how the bytes were split.
//!
//! Other data in the header (TLS, names) is ignored.

use std::io;
use std::net::SocketAddr;

use ipnet::IpNet;
use proxy_header::{ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::address::NetworkSet;

/// The most bytes of a header of either version. Version 1 has at most [`LINE_BYTES_MAX`], and addresses need at most 232 in
/// version 2; the rest is for its other data.
pub const HEADER_BYTES_MAX: usize = 4 << 10;

/// The most bytes of a version 1 header, with its CRLF.
pub const LINE_BYTES_MAX: usize = 107;

const LINE_BEGIN: &[u8] = b"PROXY ";
const LINE_END: &[u8] = b"\r\n";

/// The first bytes of a version 2 header.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family, and the length of what follows.
const FIXED_BYTES: usize = SIGNATURE.len() + 4;
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const PARSED: ParseConfig = ParseConfig {
    include_tlvs: false,
    allow_v1: true,
    allow_v2: true,
};

/// A PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its length in bytes, at most [`HEADER_BYTES_MAX`].
    pub length: usize,
    /// The client's address. `None`: the peer speaks for itself, or the client has no internet address.
    pub source: Option<SocketAddr>,
}

/// These bytes are not the beginning of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHeader;

/// The header at the beginning of these bytes; `None` if it is incomplete.
///
/// # Errors
/// There is no header.
pub fn header(bytes: &[u8]) -> Result<Option<Header>, NoHeader> {
    let source = match bytes {
        [b'P', ..] => line_length(bytes)?.map(|length| (length, line_source(&bytes[..length]))),
        [b'\r', ..] => binary_length(bytes)?.map(|length| (length, binary_source(&bytes[..length]))),
        [] => None,
        _ => return Err(NoHeader),
    };
    let Some((length, source)) = source else {
        return Ok(None);
    };
    let source = source?;
    Ok(Some(Header { length, source }))
}

/// The length of a version 1 header, if it is complete.
fn line_length(bytes: &[u8]) -> Result<Option<usize>, NoHeader> {
    begins(bytes, LINE_BEGIN)?;
    let line = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    match line.windows(LINE_END.len()).position(|two| two == LINE_END) {
        Some(end) => Ok(Some(end + LINE_END.len())),
        None if bytes.len() < LINE_BYTES_MAX => Ok(None),
        None => Err(NoHeader),
    }
}

/// The source address in a complete version 1 header.
fn line_source(line: &[u8]) -> Result<Option<SocketAddr>, NoHeader> {
    let mut words = line[..line.len() - LINE_END.len()].split(|byte| *byte == b' ').skip(1);
    match words.next() {
        // The rest of the line is ignored.
        Some(b"UNKNOWN") => Ok(None),
        Some(b"TCP4" | b"TCP6") if words.by_ref().skip(2).all(is_port) => parsed(line),
        _ => Err(NoHeader),
    }
}

/// Digits without leading zeros.
fn is_port(word: &[u8]) -> bool {
    word == b"0" || (!word.starts_with(b"0") && word.iter().all(u8::is_ascii_digit))
}

/// The length of a version 2 header, if it is complete.
fn binary_length(bytes: &[u8]) -> Result<Option<usize>, NoHeader> {
    begins(bytes, SIGNATURE)?;
    let Some(fixed) = bytes.first_chunk::<FIXED_BYTES>() else {
        return Ok(None);
    };
    let [.., command, _, high, low] = *fixed;
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if !matches!(command, LOCAL | PROXY) || length > HEADER_BYTES_MAX {
        return Err(NoHeader);
    }
    Ok((bytes.len() >= length).then_some(length))
}

/// The source address in a complete version 2 header.
fn binary_source(header: &[u8]) -> Result<Option<SocketAddr>, NoHeader> {
    // The family and what follows are ignored then.
    if header[SIGNATURE.len()] == LOCAL {
        return Ok(None);
    }
    parsed(header)
}

/// Whether the bytes begin with `so`, as far as they go.
fn begins(bytes: &[u8], so: &[u8]) -> Result<(), NoHeader> {
    let common = bytes.len().min(so.len());
    if bytes[..common] == so[..common] {
        Ok(())
    } else {
        Err(NoHeader)
    }
}

fn parsed(whole: &[u8]) -> Result<Option<SocketAddr>, NoHeader> {
    let (header, _) = ProxyHeader::parse(whole, PARSED).map_err(|_| NoHeader)?;
    Ok(header.proxied_address().map(|proxied| proxied.source))
}

/// The peers that use the protocol.
#[derive(Clone, Debug, Default)]
pub struct ProxyProtocol(NetworkSet);

impl ProxyProtocol {
    /// Peers with addresses in these networks.
    pub fn new(peers: Vec<IpNet>) -> Self {
        Self(NetworkSet::new(peers))
    }

    /// Whether this peer uses the protocol.
    pub fn is_expected_from(&self, peer: SocketAddr) -> bool {
        self.0.contain(peer.ip())
    }

    /// Reads the header from that peer. Returns the client's address, or the peer's if it speaks for itself, and the bytes after
    /// the header.
    ///
    /// # Errors
    /// I/O errors, or a missing or invalid header.
    pub async fn read_from(&self, stream: &mut TcpStream, peer: SocketAddr) -> io::Result<(SocketAddr, Vec<u8>)> {
        let mut read = Vec::with_capacity(256);
        loop {
            match header(&read) {
                Ok(Some(Header { length, source })) => return Ok((source.unwrap_or(peer), read.split_off(length))),
                Ok(None) => {}
                Err(NoHeader) => return Err(io::ErrorKind::InvalidData.into()),
            }
            // Never 0: with that many bytes `header` has always decided.
            let room = HEADER_BYTES_MAX - read.len();
            if (&mut *stream).take(room as u64).read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(bytes: &[u8]) -> Result<Option<String>, NoHeader> {
        let header = header(bytes)?.expect("the header is complete");
        assert_eq!(header.length, bytes.len());
        Ok(header.source.map(|source| source.to_string()))
    }

    /// Regression: a line in one piece was accepted at any length, with `+80`, 080 or anything at all between `PROXY` and `TCP4`.
    /// The same line in two pieces might be refused.
    #[test]
    fn a_version_1_line_is_read_as_specified() {
        assert_eq!(
            source(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\r\n"),
            Ok(Some("192.0.2.7:4711".to_owned()))
        );
        assert_eq!(
            source(b"PROXY TCP6 2001:db8::7 ::1 0 65535\r\n"),
            Ok(Some("[2001:db8::7]:0".to_owned()))
        );
        assert_eq!(source(b"PROXY UNKNOWN\r\n"), Ok(None));
        let longest = |fill: usize| [b"PROXY UNKNOWN ", vec![b'x'; fill].as_slice(), b"\r\n"].concat();
        assert_eq!(source(&longest(LINE_BYTES_MAX - 16)), Ok(None));
        assert_eq!(source(&longest(LINE_BYTES_MAX - 15)), Err(NoHeader));
        for wrong in [
            "PROXY TCP4 192.0.2.7 192.0.2.1 +4711 80",
            "PROXY TCP4 192.0.2.7 192.0.2.1 4711 080",
            "PROXY TCP4 192.0.2.7 192.0.2.1 4711 65536",
            "PROXY TCP4 192.0.2.7 192.0.2.1 4711",
            "PROXY TCP4 192.0.2.7 192.0.2.1 4711 80 1",
            "PROXY TCP4 192.0.2.7  192.0.2.1 4711 80",
            "PROXY TCP4 2001:db8::7 ::1 4711 80",
            "PROXY TCP6 192.0.2.7 192.0.2.1 4711 80",
            "PROXYxTCP4 192.0.2.7 192.0.2.1 4711 80",
            "PROXY UNKNOWNED",
            "PROXY ",
        ] {
            assert_eq!(header(format!("{wrong}\r\n").as_bytes()), Err(NoHeader), "{wrong}");
        }
        assert_eq!(header(b"PROXY TCP4 192.0.2.7 192.0.2.1 4711 80\n"), Ok(None));
        assert_eq!(
            header(b"PRIVATE"),
            Err(NoHeader),
            "rejected at once, not after the timeout"
        );
    }

    /// Regression: a balancer's health check (LOCAL) may keep the family of its last client, without addresses. The rest of the
    /// header was then expected in the request, which was rejected as garbage.
    #[test]
    fn a_balancers_own_connection_may_name_any_family() {
        for family in [0x00, 0x11, 0x21, 0x31, 0xff] {
            assert_eq!(source(&[SIGNATURE, &[LOCAL, family, 0, 0]].concat()), Ok(None));
        }
        for (family, block) in [(0x11, 11), (0x21, 35), (0x31, 215), (0x10, 216), (0x41, 216)] {
            let bytes = [SIGNATURE, &[PROXY, family, 0, block], &[0; 216][..usize::from(block)]].concat();
            assert_eq!(header(&bytes), Err(NoHeader), "{family:x} with {block} bytes");
        }
    }

    #[test]
    fn a_too_long_header_is_not_waited_for() {
        let length = |length: u16| length.to_be_bytes();
        let [high, low] = length((HEADER_BYTES_MAX - FIXED_BYTES) as u16);
        assert_eq!(header(&[SIGNATURE, &[PROXY, 0x11, high, low]].concat()), Ok(None));
        let [high, low] = length((HEADER_BYTES_MAX - FIXED_BYTES + 1) as u16);
        assert_eq!(header(&[SIGNATURE, &[PROXY, 0x11, high, low]].concat()), Err(NoHeader));
    }
}
