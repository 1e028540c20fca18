//! Names for those who have none: a network or a delegated user is known by a keyed hash, the same after a restart, which
//! tells nobody without the key whose it is.

use std::hash::Hasher;
use std::io;

use siphasher::sip::SipHasher24;

use crate::policy::caller::{AccountId, Network, NetworkId, UserId};

/// Bytes of the key.
pub const KEY_BYTES: usize = 16;

/// The key, and what is done with it. SipHash-2-4 is a pseudorandom function: without the key, neither can addresses be told
/// from their hashes nor can two be found that share one.
#[derive(Clone)]
pub struct Pseudonyms(SipHasher24);

impl Pseudonyms {
    /// Under that key.
    pub fn new(key: [u8; KEY_BYTES]) -> Self {
        Self(SipHasher24::new_with_key(&key))
    }

    /// Under a new key.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key)?;
        Ok(Self::new(key))
    }

    /// What the network is known by.
    pub fn network(&self, network: Network) -> NetworkId {
        let mut hasher = self.0;
        match network {
            Network::V4(address) => {
                hasher.write(&[4]);
                hasher.write(&address.octets());
            }
            Network::V6(upper) => {
                hasher.write(&[6]);
                hasher.write(&upper.to_be_bytes());
            }
        }
        NetworkId(hasher.finish())
    }

    /// What the account's user of that name is known by.
    pub fn user(&self, of: AccountId, name: &[u8]) -> UserId {
        let mut hasher = self.0;
        hasher.write(&[1]);
        hasher.write(&of.0.to_be_bytes());
        hasher.write(name);
        UserId(hasher.finish())
    }
}

impl std::fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pseudonyms").finish_non_exhaustive()
    }
}
