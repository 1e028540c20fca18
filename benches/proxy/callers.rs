//! Who sends requests: accounts with a key, and the addresses that they come from.

use std::cell::Cell;
use std::io::Write;
use std::net::Ipv4Addr;

use crate::setup::Setup;

/// The tiers of accounts, with their priorities.
const TIERS: [(&str, u8); 3] = [("bronze", 2), ("silver", 5), ("gold", 6)];

/// An account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account(pub u32);

impl Account {
    /// Its name.
    pub fn name(self) -> String {
        format!("acct{:06}", self.0)
    }

    /// Its key.
    pub fn key(self) -> String {
        format!("key-{:06}-0123456789abcdef0123", self.0)
    }

    /// Its tier's name and priority.
    pub fn tier(self) -> (&'static str, u8) {
        TIERS[self.0 as usize % TIERS.len()]
    }
}

/// The address with that number: spread over a hundred /8 networks, no two alike.
pub fn address(number: u32) -> Ipv4Addr {
    // The multiplier is odd, so the lower 24 bits differ for any two numbers below 2^24.
    let [first, rest @ ..] = number.wrapping_mul(0x9E37_79B1).to_be_bytes();
    Ipv4Addr::new(20 + first % 100, rest[0], rest[1], rest[2])
}

/// An address of this machine for the client's end of a connection, so that ports suffice for any number of connections.
pub fn local_address(number: u32) -> Ipv4Addr {
    let [.., second, last] = number.to_be_bytes();
    Ipv4Addr::new(127, 1, second % 16, 1 + last % 250)
}

/// One request's caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    account: Account,
    address: Ipv4Addr,
}

impl Caller {
    /// Writes the head of its request. `close`: the connection ends with the answer. `upload`: the length of the body, which
    /// follows.
    pub fn write_head(self, into: &mut Vec<u8>, path: &str, close: bool, upload: Option<usize>) {
        let Account(number) = self.account;
        into.clear();
        let method = if upload.is_some() { "POST" } else { "GET" };
        let connection = if close { "connection: close\r\n" } else { "" };
        write!(
            into,
            "{method} {path} HTTP/1.1\r\nhost: search.example\r\nuser-agent: proxy-bench/1.0\r\naccept: application/json\r\n\
             accept-encoding: gzip\r\nx-api-key: key-{number:06}-0123456789abcdef0123\r\nx-forwarded-for: {}\r\n{connection}",
            self.address
        )
        .expect("a Vec can be written to");
        match upload {
            Some(bytes) => write!(
                into,
                "content-type: application/octet-stream\r\ncontent-length: {bytes}\r\n\r\n"
            ),
            None => write!(into, "\r\n"),
        }
        .expect("a Vec can be written to");
    }

    /// The account.
    pub fn account(self) -> Account {
        self.account
    }
}

/// The order in which callers come.
#[derive(Debug)]
pub struct Callers {
    accounts: u32,
    addresses: u32,
    order: Order,
}

#[derive(Debug)]
enum Order {
    /// Each in turn, until as many have come.
    InTurn { next: Cell<u32>, count: u32 },
    /// At random, without end; the state of the generator.
    Random(Cell<u64>),
}

impl Callers {
    /// Every account and every address comes once.
    pub fn each_once(setup: &Setup) -> Self {
        Self::first(setup, setup.accounts.max(setup.addresses))
    }

    /// `count` callers, accounts and addresses in turn.
    pub fn first(setup: &Setup, count: u32) -> Self {
        let next = Cell::new(0);
        Self::of(setup, Order::InTurn { next, count })
    }

    /// Accounts and addresses at random, the same ones for all contestants.
    pub fn at_random(setup: &Setup) -> Self {
        Self::of(setup, Order::Random(Cell::new(1)))
    }

    fn of(setup: &Setup, order: Order) -> Self {
        let (accounts, addresses) = (setup.accounts, setup.addresses);
        Self {
            accounts,
            addresses,
            order,
        }
    }

    /// The next one, if there is one.
    pub fn next(&self) -> Option<Caller> {
        let (account, place) = match &self.order {
            Order::InTurn { next, count } => {
                let number = next.get();
                if number == *count {
                    return None;
                }
                next.set(number + 1);
                (number, number)
            }
            Order::Random(state) => {
                let bits = splitmix64(state).to_be_bytes();
                let [a, b, c, d, e, f, g, h] = bits;
                (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
            }
        };
        Some(Caller {
            account: Account(account % self.accounts),
            address: address(place % self.addresses),
        })
    }
}

/// The next number of Steele, Lea and Flood's generator.
fn splitmix64(state: &Cell<u64>) -> u64 {
    state.set(state.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
    let mut mixed = state.get();
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::setup::EVERYTHING_ON;

    #[test]
    fn addresses_differ_and_are_not_loopback() {
        let all: HashSet<Ipv4Addr> = (0..200_000).map(address).collect();
        assert_eq!(all.len(), 200_000);
        assert!(all.iter().all(|address| !address.is_loopback()));
    }

    #[test]
    fn each_account_and_address_comes_once() {
        let setup = Setup {
            accounts: 3,
            addresses: 7,
            ..EVERYTHING_ON
        };
        let callers = Callers::each_once(&setup);
        let all: Vec<Caller> = std::iter::from_fn(|| callers.next()).collect();
        let addresses: HashSet<Ipv4Addr> = all.iter().map(|caller| caller.address).collect();
        let accounts: HashSet<u32> = all.iter().map(|caller| caller.account.0).collect();
        assert_eq!((all.len(), addresses.len(), accounts.len()), (7, 7, 3));
    }

    #[test]
    fn random_callers_reach_nearly_all_of_a_small_setup() {
        let setup = Setup {
            accounts: 50,
            addresses: 100,
            ..EVERYTHING_ON
        };
        let callers = Callers::at_random(&setup);
        let come: HashSet<Ipv4Addr> = (0..2_000)
            .filter_map(|_| callers.next())
            .map(|caller| caller.address)
            .collect();
        assert_eq!(come.len(), 100);
    }
}
