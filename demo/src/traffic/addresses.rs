//! The addresses that simulated clients send from, since tiergate counts requests by address.

use std::net::{IpAddr, Ipv4Addr, TcpListener};

/// Addresses of strangers, who take turns. At the most arrivals that the demo has
/// ([`SEARCHES_PER_S_MAX`](super::plan::SEARCHES_PER_S_MAX)), one comes back after more than an hour.
pub const STRANGERS: u32 = 1 << 18;

/// How clients get addresses of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Their connections come from 127.1.0.0 and above.
    Loopback,
    /// They say 10.1.0.0 and above in `X-Forwarded-For`, as if a proxy stood between, which tiergate is to trust.
    Forwarded,
}

/// Where a client sends from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A connection from that address.
    Loopback(Ipv4Addr),
    /// A connection from any, and that address in `X-Forwarded-For`.
    Forwarded(Ipv4Addr),
}

impl Sources {
    /// Addresses of their own, if clients of `proxy` can have them on this system: macOS knows only 127.0.0.1.
    pub fn of_clients(proxy: IpAddr) -> Self {
        let is_loopback = matches!(proxy, IpAddr::V4(proxy) if proxy.is_loopback());
        match TcpListener::bind((Self::Loopback.address(0), 0)) {
            Ok(_) if is_loopback => Self::Loopback,
            _ => Self::Forwarded,
        }
    }

    /// The address of the sponsor of that number.
    pub fn sponsor(self, number: usize) -> Source {
        self.source(u32::try_from(number).unwrap_or(0) % STRANGERS)
    }

    /// The address of the stranger of that number.
    pub fn stranger(self, number: u64) -> Source {
        let among = u32::try_from(number % u64::from(STRANGERS)).expect("less than their number");
        self.source(STRANGERS + among)
    }

    fn source(self, number: u32) -> Source {
        match self {
            Self::Loopback => Source::Loopback(self.address(number)),
            Self::Forwarded => Source::Forwarded(self.address(number)),
        }
    }

    fn address(self, number: u32) -> Ipv4Addr {
        let first = match self {
            Self::Loopback => Ipv4Addr::new(127, 1, 0, 0),
            Self::Forwarded => Ipv4Addr::new(10, 1, 0, 0),
        };
        Ipv4Addr::from_bits(first.to_bits() + number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn clients_do_not_share_addresses() {
        for sources in [Sources::Loopback, Sources::Forwarded] {
            let sponsors = (0..3000).map(|number| sources.sponsor(number));
            let strangers = (0..3000).map(|number| sources.stranger(number));
            let different: HashSet<_> = sponsors.chain(strangers).map(|source| format!("{source:?}")).collect();
            assert_eq!(different.len(), 6000);
        }
        assert_eq!(
            Sources::Loopback.sponsor(0),
            Source::Loopback(Ipv4Addr::new(127, 1, 0, 0))
        );
        // The last of them is still a loopback address.
        let last = Sources::Loopback.stranger(u64::from(STRANGERS) - 1);
        assert_eq!(last, Source::Loopback(Ipv4Addr::new(127, 8, 255, 255)));
    }

    #[test]
    fn only_loopback_clients_have_addresses_of_their_own() {
        for proxy in ["::1", "192.0.2.1"] {
            assert_eq!(Sources::of_clients(proxy.parse().unwrap()), Sources::Forwarded);
        }
    }
}
