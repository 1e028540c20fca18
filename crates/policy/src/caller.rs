//! Who is counted: an account, the network of somebody without one, or a user of a delegating account (semantics §1).
//!
//! Absent on purpose: how a caller is recognised (`http::caller`), what an account is called, and whose network stands behind
//! a [`NetworkId`] (`store`).

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The number of an account: opaque, never given to another account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u32);

/// Bits that the prefix of an IPv4 network has which may be blocked without a question: a wider one holds a large part of all
/// addresses.
pub const WIDE_BITS_V4: u8 = 8;
/// The same of an IPv6 network.
pub const WIDE_BITS_V6: u8 = 16;

/// A network that is counted, known by a keyed hash: so what is kept of it betrays no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u64);

/// The user of a delegating account, known by a keyed hash of the name that the account gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub u64);

/// The network that one stranger is taken to command: an IPv4 address, or the /64 of an IPv6 one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Network {
    /// An IPv4 address, /32.
    V4(Ipv4Addr),
    /// The upper 64 bits of an IPv6 address.
    V6(u64),
}

/// Where a request comes from, by numbers that no stranger can choose: keyed hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its network.
    pub network: NetworkId,
    /// The neighbourhood of that: IPv4 /24, IPv6 /48.
    pub neighbourhood: NetworkId,
    /// The region in which that lies: IPv4 /16, IPv6 /32.
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

/// Who is counted. The same person with and without a key is two callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// Somebody with a valid API key.
    Account(AccountId),
    /// Somebody without one.
    Network(NetworkId),
    /// Somebody for whom a delegating account asks (semantics §5.9).
    User {
        /// The account.
        of: AccountId,
        /// Its user.
        user: UserId,
    },
}

impl Caller {
    /// Everybody for whom this caller's jobs count: itself, and the account that asks for it.
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
/// Nobody outside can choose what a caller's number is: an account's is given out by the door, and a network's and a user's are
/// hashes under a key that only the door knows. So they need no hasher that is made against attack, and get one that costs
/// next to nothing.
pub type CallerMap<V> = HashMap<Caller, V, BuildHasherDefault<NumberHasher>>;

/// Mixes numbers that are well spread, or rising, already.
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberHasher(u64);

/// 2^64 divided by the golden ratio, odd: multiplied by it, numbers that follow each other lie far apart.
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
