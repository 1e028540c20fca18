//! Pseudonyms: a network or a delegated user is identified by a keyed hash, stable across restarts. Without the key, it can't
//! be traced back.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use siphasher::sip::SipHasher24;

use crate::policy::caller::{AccountId, HashedOrigin, Network, NetworkId, UserId};

/// Bytes of the key.
pub const KEY_BYTES: usize = 16;
/// The key's file in the data folder.
pub const KEY_FILE: &str = "network.key";

const MODE: u32 = 0o600;
/// Bytes read of a key file: a key and an end of line take fewer.
const KEY_FILE_BYTES_MAX: u64 = 64;

/// The key can't be loaded.
#[derive(Debug)]
pub enum KeyError {
    /// The file doesn't hold a key.
    NoKey(PathBuf),
    /// An I/O error with that file.
    Disk(PathBuf, io::Error),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey(path) => write!(
                f,
                "{} is not a key: it must be {} hexadecimal digits. Restore it from a backup; with another key every \
                 network starts over",
                path.display(),
                2 * KEY_BYTES,
            ),
            Self::Disk(path, error) => write!(f, "can't read or create the key {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoKey(_) => None,
            Self::Disk(_, error) => Some(error),
        }
    }
}

/// Hashes with a key. SipHash-2-4 is a pseudorandom function: without the key, neither can addresses be recovered from their
/// hashes, nor can collisions be found.
#[derive(Clone)]
pub struct Pseudonyms(SipHasher24);

impl Pseudonyms {
    /// Uses that key.
    pub fn new(key: [u8; KEY_BYTES]) -> Self {
        Self(SipHasher24::new_with_key(&key))
    }

    /// Uses a new random key.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn random() -> io::Result<Self> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key)?;
        Ok(Self::new(key))
    }

    /// Uses the key in the data folder, and creates it if there is none. The folder must exist and be locked
    /// ([`super::DataDir::take`] does both), so that no other process creates one at the same time. Warns if others than the
    /// owner may read the key.
    ///
    /// # Errors
    /// The file doesn't hold a key, or an I/O error.
    pub fn open(data_folder: &Path) -> Result<Self, KeyError> {
        let path = data_folder.join(KEY_FILE);
        let failed = |error| KeyError::Disk(path.clone(), error);
        if !path.try_exists().map_err(failed)? {
            make_key(data_folder, &path).map_err(failed)?;
        }
        let mode = fs::metadata(&path).map_err(failed)?.permissions().mode() & 0o777;
        if mode & !MODE != 0 {
            tracing::warn!(
                file = %path.display(),
                "others may read the key of network pseudonyms (mode {mode:o}): chmod 600",
            );
        }
        Self::read_file(&path)
    }

    /// Uses the existing key in the data folder; only a server creates one.
    ///
    /// # Errors
    /// There is no file, it doesn't hold a key, or an I/O error.
    pub fn read(data_folder: &Path) -> Result<Self, KeyError> {
        Self::read_file(&data_folder.join(KEY_FILE))
    }

    /// Uses the key in that file.
    pub(super) fn read_file(path: &Path) -> Result<Self, KeyError> {
        let mut text = Vec::new();
        File::open(path)
            .and_then(|file| file.take(KEY_FILE_BYTES_MAX).read_to_end(&mut text))
            .map_err(|error| KeyError::Disk(path.to_owned(), error))?;
        match key_of(text.trim_ascii_end()) {
            Some(key) => Ok(Self::new(key)),
            None => Err(KeyError::NoKey(path.to_owned())),
        }
    }

    /// The id of a network.
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

    /// The id of the network's wider prefix: the /24 of an IPv4 address, the /48 of an IPv6 one.
    pub fn wider_prefix(&self, network: Network) -> NetworkId {
        let mut hasher = self.0;
        match network {
            Network::V4(address) => {
                hasher.write(&[24]);
                hasher.write(&address.octets()[..3]);
            }
            Network::V6(upper) => {
                hasher.write(&[48]);
                hasher.write(&upper.to_be_bytes()[..6]);
            }
        }
        NetworkId(hasher.finish())
    }

    /// The id of the network's region: the /16 of an IPv4 address, the /32 of an IPv6 one.
    pub fn region(&self, network: Network) -> u32 {
        let mut hasher = self.0;
        match network {
            Network::V4(address) => {
                let [first, second, ..] = address.octets();
                hasher.write(&[16, first, second]);
            }
            Network::V6(upper) => {
                let [first, second, third, fourth, ..] = upper.to_be_bytes();
                hasher.write(&[32, first, second, third, fourth]);
            }
        }
        (hasher.finish() >> 32) as u32
    }

    /// All ids of a network.
    pub fn hashed_origin(&self, network: Network) -> HashedOrigin {
        HashedOrigin {
            network: self.network(network),
            prefix: self.wider_prefix(network),
            region: self.region(network),
        }
    }

    /// The id of the network that the first `bits` of an IPv6 address form, for lengths other than the usual 64. An IPv4 address
    /// counts as IPv4-mapped.
    pub fn prefix(&self, address: IpAddr, bits: u8) -> u64 {
        let address = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => address,
        };
        let kept = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
        let mut hasher = self.0;
        hasher.write(&[128, bits]);
        hasher.write(&(address.to_bits() & kept).to_be_bytes());
        hasher.finish()
    }

    /// The id of that account's user of that name.
    pub fn user(&self, of: AccountId, name: &[u8]) -> UserId {
        let mut hasher = self.0;
        hasher.write(&[1]);
        hasher.write(&of.0.to_be_bytes());
        hasher.write(name);
        UserId(hasher.finish())
    }
}

impl fmt::Debug for Pseudonyms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pseudonyms").finish_non_exhaustive()
    }
}

/// Creates a key file, all or nothing.
fn make_key(folder: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key)?;
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let new = folder.join(format!("{KEY_FILE}.new"));
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(MODE);
    let mut file = options.open(&new)?;
    writeln!(file, "{text}")?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

fn key_of(hex: &[u8]) -> Option<[u8; KEY_BYTES]> {
    let mut key = [0; KEY_BYTES];
    if hex.len() != 2 * KEY_BYTES {
        return None;
    }
    for (byte, digits) in key.iter_mut().zip(hex.as_chunks::<2>().0) {
        let digit = |character: u8| char::from(character).to_digit(16);
        *byte = u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn users_of_an_account_are_distinguished() {
        let folder = std::env::temp_dir().join(format!("tiergate-users-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder of its own");
        let pseudonyms = Pseudonyms::open(&folder).expect("it is made");
        let user = |of, name: &str| pseudonyms.user(AccountId(of), name.as_bytes());
        assert_eq!(user(1, "ann"), user(1, "ann"));
        assert_ne!(user(1, "ann"), user(1, "bob"));
        assert_ne!(user(1, "ann"), user(2, "ann"));
        fs::remove_dir_all(&folder).expect("it is ours");
    }

    #[test]
    fn a_pseudonym_key_is_created_once_and_checked() {
        let folder = std::env::temp_dir().join(format!("tiergate-key-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder of its own");
        let name = |pseudonyms: &Pseudonyms| pseudonyms.network(Network::V4(Ipv4Addr::LOCALHOST));
        let made = name(&Pseudonyms::open(&folder).expect("it is made"));
        assert_eq!(name(&Pseudonyms::open(&folder).expect("it is there")), made);
        let path = folder.join(KEY_FILE);
        let mode = fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        for wrong in ["", "00", &"0".repeat(33), &"g".repeat(32), &"0".repeat(5_000)] {
            fs::write(&path, wrong).expect("it is ours");
            assert!(
                matches!(Pseudonyms::open(&folder), Err(KeyError::NoKey(_))),
                "{wrong:?}"
            );
        }
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
