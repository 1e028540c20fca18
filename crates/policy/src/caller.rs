//! Callers: an account, a network without an account, or a user of a delegating account (rules §1).

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An account's number: opaque, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u32);

/// The shortest IPv4 prefix that can be blocked without a confirmation: a shorter one covers a large part of all addresses.
pub const WIDE_BITS_V4: u8 = 8;
/// The same for IPv6.
pub const WIDE_BITS_V6: u8 = 16;

/// A network, identified by a keyed hash, so that stored data reveals no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u64);

/// The user of a delegating account, identified by a keyed hash of the name that the account gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub u64);

/// The network that one client is assumed to control: an IPv4 address, or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// An IPv4 address, /32.
    V4(Ipv4Addr),
    /// The upper 64 bits of an IPv6 address.
    V6(u64),
}

/// The origin of a request, as keyed hashes that clients can't choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashedOrigin {
    /// Its network.
    pub network: NetworkId,
    /// Its wider prefix: IPv4 /24, IPv6 /48.
    pub prefix: NetworkId,
    /// The region that contains it: IPv4 /16, IPv6 /32.
    pub region: u32,
}

impl Network {
    /// The network of an address. An IPv4 address written as IPv6 (`::ffff:192.0.2.1`) is the IPv4 address.
    ///
    /// ```
    /// use tiergate_policy::caller::Network;
    /// let ip = |text: &str| text.parse().unwrap();
    /// assert_eq!(Network::of(ip("2001:db8::1")), Network::of(ip("2001:db8:0:0:ffff::")));
    /// assert_eq!(Network::of(ip("::ffff:192.0.2.1")), Network::of(ip("192.0.2.1")));
    /// ```
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4),
            IpAddr::V6(v6) => Self::V6((v6.to_bits() >> 64) as u64),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(v4) => v4.fmt(f),
            Self::V6(upper) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*upper) << 64)),
        }
    }
}

/// The caller that a request counts for. The same person with and without a key is two callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// A caller with a valid API key.
    Account(AccountId),
    /// A caller without one.
    Network(NetworkId),
    /// A user for whom a delegating account asks (rules §5.9).
    User {
        /// The account.
        of: AccountId,
        /// Its user.
        user: UserId,
    },
}

impl Caller {
    /// All callers that this caller's jobs count for: itself, and its delegating account.
    pub fn counted(self) -> impl Iterator<Item = Self> + Clone {
        let account = match self {
            Self::User { of, .. } => Some(Self::Account(of)),
            Self::Account(_) | Self::Network(_) => None,
        };
        std::iter::once(self).chain(account)
    }
}

/// A map by caller.
///
/// Clients can't choose a caller's number: tiergate assigns those of accounts, and those of networks and users are hashes under
/// a secret key. So the map needs no hasher that resists attacks, and uses a very cheap one.
pub type CallerMap<V> = HashMap<Caller, V, BuildHasherDefault<NumberHasher>>;

/// Mixes numbers that are already well spread, or ascending.
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberHasher(u64);

/// 2^64 divided by the golden ratio, odd: it spreads consecutive numbers far apart.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Hasher for NumberHasher {
    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(SPREAD);
        self.0 = mixed ^ (mixed >> 32);
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_isize(&mut self, discriminant: isize) {
        self.write_u64(discriminant as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
