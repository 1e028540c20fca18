//! The operator's token, which authorizes changes through the admin API. There is only one.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

use crate::small_file;

/// The environment variable that may hold it.
pub const TOKEN_VARIABLE: &str = "TIERGATE_ADMIN_TOKEN";
/// The file that holds it otherwise, in `data_dir`.
pub const TOKEN_FILE: &str = "admin.token";
/// Characters of a token, all of them visible ASCII.
pub const TOKEN_CHARS: RangeInclusive<usize> = 16..=512;
/// Random bytes of a generated token.
const RANDOM_BYTES: usize = 32;
const FILE_MODE: u32 = 0o600;

/// The token. Its `Debug` form doesn't reveal it.
#[derive(Clone)]
pub struct AdminToken(String);

/// The token can't be loaded.
#[derive(Debug)]
pub enum TokenError {
    /// It is not 16 to 512 visible ASCII characters. Holds the origin.
    Unfit(String),
    /// The file can't be read or created.
    File(PathBuf, io::Error),
    /// The environment variable of that name is not set.
    NotSet(String),
}

impl fmt::Display for TokenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfit(origin) => write!(
                f,
                "the operator's token in {origin} must be {} to {} visible ASCII characters; openssl rand -hex 32 makes one",
                TOKEN_CHARS.start(),
                TOKEN_CHARS.end()
            ),
            Self::File(file, error) => write!(f, "the operator's token in {}: {error}", file.display()),
            Self::NotSet(name) => write!(f, "the operator's token is in {name}, and that variable is not set"),
        }
    }
}

impl std::error::Error for TokenError {}

impl AdminToken {
    /// A token from configuration; `origin` names its source in errors.
    ///
    /// # Errors
    /// It is not a valid token.
    pub fn given(text: &str, origin: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if TOKEN_CHARS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TokenError::Unfit(origin.to_owned()))
        }
    }

    /// The token in that environment variable.
    ///
    /// # Errors
    /// It is not set, or does not hold a valid token.
    pub fn in_variable(name: &str) -> Result<Self, TokenError> {
        let held = std::env::var_os(name).ok_or_else(|| TokenError::NotSet(name.to_owned()))?;
        Self::given(&held.to_string_lossy(), name)
    }

    /// The token in that file.
    ///
    /// # Errors
    /// It can't be read, is not a regular file, or does not hold a valid token.
    pub fn read(file: &Path) -> Result<Self, TokenError> {
        // Allow a newline at the end.
        let text =
            small_file::read(file, *TOKEN_CHARS.end() + 1).map_err(|error| TokenError::File(file.to_owned(), error))?;
        Self::given(&text, &file.display().to_string())
    }

    /// The token in that file. Without a file, creates it with a new token, all or nothing.
    ///
    /// # Errors
    /// It can't be read or created, or does not hold a valid token.
    pub fn read_or_make(file: &Path) -> Result<Self, TokenError> {
        match Self::read(file) {
            Err(TokenError::File(_, error)) if error.kind() == io::ErrorKind::NotFound => {
                make(file).map_err(|error| TokenError::File(file.to_owned(), error))?;
                Self::read(file)
            }
            read => read,
        }
    }

    /// Compares in constant time.
    pub fn is(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }

    /// Whether the other is the same, compared in constant time.
    pub fn is_same(&self, other: &Self) -> bool {
        self.is(other.0.as_bytes())
    }

    /// The token in plain text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

fn make(file: &Path) -> io::Result<()> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)?;
    let mut text: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    // Write a temporary file and link it: the file appears whole, and an existing one is never overwritten.
    let beside = file.with_extension(format!("token.{}", std::process::id()));
    // Left by a killed process with our process id. In a container every start has the same id.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(&beside)
        .and_then(|mut open| {
            open.write_all(text.as_bytes())?;
            open.sync_all()
        });
    let named = written.and_then(|()| match fs::hard_link(&beside, file) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        named => named,
    });
    let removed = fs::remove_file(&beside);
    named.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_token_is_accepted() {
        let token = AdminToken::given(" 0123456789abcdef\n", "here").expect("it is long enough");
        assert!(token.is(b"0123456789abcdef"));
        for wrong in ["", "0123456789abcde", "0123456789abcdeF", "0123456789abcdef0"] {
            assert!(!token.is(wrong.as_bytes()), "{wrong}");
        }
        assert!(!format!("{token:?}").contains("0123"));
        for unfit in ["", "0123456789abcde", "0123456789 abcdef"] {
            let error = AdminToken::given(unfit, "TIERGATE_ADMIN_TOKEN").expect_err("too short, or with a space");
            assert!(
                error.to_string().contains("in TIERGATE_ADMIN_TOKEN must be 16 to 512"),
                "{error}"
            );
        }
    }

    /// Regression: after tiergate was killed while it created its token, it could not start where every start has the same
    /// process id, as in a container: the temporary file still existed, and is never overwritten.
    #[test]
    fn leftovers_of_a_killed_process_do_not_block_a_start() {
        let folder = std::env::temp_dir().join(format!("tiergate-token-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder of its own");
        let file = folder.join(TOKEN_FILE);
        let left = file.with_extension(format!("token.{}", std::process::id()));
        fs::write(&left, "half of a tok").expect("it is ours");
        let made = AdminToken::read_or_make(&file).expect("it is made");
        assert_eq!(made.reveal().len(), 2 * RANDOM_BYTES);
        assert!(!left.exists());
        let again = AdminToken::read_or_make(&file).expect("it is there");
        assert_eq!(again.reveal(), made.reveal());
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
