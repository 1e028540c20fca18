//! A flood of anonymous requests through the request limits (rules §7.9), half of them out of an IPv4 /8, the others out of
//! an IPv6 /32, at full speed; with requests from other prefixes all the while.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tiergate::gate::Limiter;
use tiergate::policy::caller::Network;
use tiergate::policy::limits::{Counter, Subject};
use tiergate::policy::rules::{LimitId, Rules};
use tiergate::policy::time::UnixTime;
use tiergate::store::Pseudonyms;

/// Requests that everybody may send in a window, which must be longer than the flood lasts.
pub const NUMBER: u32 = 100;
/// Memory of one limit that isn't sliding, in bytes: for each network that may be counted by itself, and beside that.
pub const NETWORK_BYTES_MAX: u64 = 96;
pub const BESIDE_BYTES_MAX: u64 = 2_000_000;

/// How often during the flood neighbours ask: each less often than it may.
const TIMES: u32 = 90;
/// Known before the flood: documentation's prefixes.
const KNOWN: [Network; 2] = [
    Network::V4(Ipv4Addr::new(198, 51, 100, 7)),
    Network::V6(0x2001_0DB8_0000_0001),
];
/// They ask for the first time when half of it has come.
const LATE: [Network; 2] = [
    Network::V4(Ipv4Addr::new(203, 0, 113, 7)),
    Network::V6(0x3FFF_0001_0000_0001),
];

/// What others saw of the flood.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Requests of the neighbours, and how many of them were refused.
    pub neighbours: (u32, u32),
    /// Strangers who ask once, each out of a region of its own, and how many of them were refused.
    pub strangers: (u32, u32),
}

impl Seen {
    /// No neighbour was refused, and of strangers no more than share the flood's rows by chance.
    pub fn is_as_promised(self) -> bool {
        let (strangers, refused) = self.strangers;
        self.neighbours.0 > 2 * TIMES && self.neighbours.1 == 0 && strangers >= TIMES && refused * 25 <= strangers
    }
}

/// So many different addresses, once each, through a limiter whose one limit lets everybody send [`NUMBER`].
pub fn flood(limiter: &Limiter, rules: &Arc<Rules>, names: &Pseudonyms, addresses: u32) -> Seen {
    let now = UnixTime::default();
    let decide = |network| limiter.decide(rules, &[counter(names, network)], now);
    let ask = |network| decide(network).expect("nobody reloads").1.is_err();
    let mut seen = Seen::default();
    for number in 0..addresses {
        if number % (addresses / TIMES) == 0 {
            let late = LATE.iter().filter(|_| number >= addresses / 2);
            for network in KNOWN.iter().chain(late) {
                seen.neighbours.0 += 1;
                seen.neighbours.1 += u32::from(ask(*network));
            }
            for network in strangers(number / (addresses / TIMES)) {
                seen.strangers.0 += 1;
                seen.strangers.1 += u32::from(ask(network));
            }
        }
        ask(of_the_flood(number));
    }
    seen
}

fn counter(names: &Pseudonyms, network: Network) -> Counter {
    let hashed_origin = names.hashed_origin(network);
    Counter {
        limit: LimitId(0),
        subject: Subject {
            id: hashed_origin.network.0,
            wider: hashed_origin.prefix.0,
            region: hashed_origin.region,
            is_network: true,
        },
        number: NUMBER,
        enforced: NUMBER,
        matches: true,
    }
}

/// Different numbers are different addresses of 10.0.0.0/8 and of 2a00:5eed::/32, far apart.
fn of_the_flood(number: u32) -> Network {
    let half = number / 2;
    if number.is_multiple_of(2) {
        Network::V4(Ipv4Addr::from_bits(
            0x0A00_0000 | half.wrapping_mul(0x009E_3779) & 0x00FF_FFFF,
        ))
    } else {
        Network::V6(0x2A00_5EED_0000_0000 | u64::from(half.wrapping_mul(0x9E37_79B9)))
    }
}

fn strangers(number: u32) -> [Network; 2] {
    [
        Network::V4(Ipv4Addr::from_bits(0x8000_0001 + (number << 16))),
        Network::V6(0x2600_0000_0000_0001 + (u64::from(number) << 32)),
    ]
}
