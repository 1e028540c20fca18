//! Random secrets of the operator's page, which exist in memory only.

use std::fmt;
use std::io;

use subtle::ConstantTimeEq;

/// Random bytes of a secret.
const RANDOM_BYTES: usize = 32;

/// A random secret of 64 hexadecimal digits. Its `Debug` form doesn't reveal it.
#[derive(Clone)]
pub struct SessionSecret(String);

impl SessionSecret {
    /// A new one.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn new() -> io::Result<Self> {
        let mut random = [0; RANDOM_BYTES];
        getrandom::fill(&mut random)?;
        Ok(Self(random.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// Compares in constant time.
    pub fn is(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }

    /// The secret in plain text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionSecret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_differ_and_stay_secret() {
        let [one, other] = [(); 2].map(|()| SessionSecret::new().expect("there are random bytes"));
        assert!(one.is(one.reveal().as_bytes()) && !one.is(other.reveal().as_bytes()) && !one.is(b""));
        assert_eq!(one.reveal().len(), 2 * RANDOM_BYTES);
        assert!(!format!("{one:?}").contains(one.reveal()));
    }
}
