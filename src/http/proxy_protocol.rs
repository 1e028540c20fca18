//! The PROXY protocol, versions 1 and 2: a load balancer that forwards bytes says, before them, whose they are. It is expected
//! of the peers that are listed, and of nobody else: from others such a header is no HTTP.
//!
//! Absent on purpose: what else such a header may tell (TLS, names), and the headers of requests (`address`).

use std::io;
use std::net::SocketAddr;

use ipnet::IpNet;
use proxy_header::{Error, ParseConfig, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::address::Networks;

/// Bytes that a header may have, of either version. One of version 1 has at most 107, and addresses need at most 232 of version
/// 2: the rest is for what else it may tell.
pub const HEADER_BYTES_MAX: usize = 4 << 10;

const PARSED: ParseConfig = ParseConfig {
    include_tlvs: false,
    allow_v1: true,
    allow_v2: true,
};

/// The peers that speak it.
#[derive(Clone, Debug, Default)]
pub struct ProxyProtocol(Networks);

impl ProxyProtocol {
    /// Peers with addresses in these networks.
    pub fn new(peers: Vec<IpNet>) -> Self {
        Self(Networks::new(peers))
    }

    /// Whether this peer begins its connections so.
    pub fn is_spoken_by(&self, peer: SocketAddr) -> bool {
        self.0.contain(peer.ip())
    }

    /// Reads the header with which that peer begins its connection. Answers with the address for which it speaks, or its own if
    /// it speaks for itself, and with what came after the header.
    ///
    /// # Errors
    /// The system's; or there is no header, or none that can be read.
    pub async fn greeted(&self, stream: &mut TcpStream, peer: SocketAddr) -> io::Result<(SocketAddr, Vec<u8>)> {
        let mut read = Vec::with_capacity(256);
        loop {
            match ProxyHeader::parse(&read, PARSED) {
                Ok((header, length)) => {
                    let spoken_for = header.proxied_address().map_or(peer, |proxied| proxied.source);
                    return Ok((spoken_for, read.split_off(length)));
                }
                Err(Error::BufferTooShort) if read.len() < HEADER_BYTES_MAX => {}
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            }
            let room = HEADER_BYTES_MAX - read.len();
            if (&mut *stream).take(room as u64).read_buf(&mut read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
