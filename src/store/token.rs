//! The operator's token: who has it may change accounts.
//!
//! Absent on purpose: more than one, when it is read again, and which of the places that may hold it does.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

use crate::small_file;

/// The variable of the environment that may hold it.
pub const TOKEN_VARIABLE: &str = "TIERGATE_ADMIN_TOKEN";
/// The file that holds it otherwise, in `data_dir`.
pub const TOKEN_FILE: &str = "admin.token";
/// Characters that a token may have, all of them visible ASCII.
pub const TOKEN_CHARS: RangeInclusive<usize> = 16..=512;
/// Random bits of a token of ours, in bytes.
const RANDOM_BYTES: usize = 32;
/// Mode of the file.
const FILE_MODE: u32 = 0o600;

/// The token, which nothing shows by accident.
#[derive(Clone)]
pub struct AdminToken(String);

/// Why there is no token.
#[derive(Debug)]
pub enum TokenError {
    /// It is not 16 to 512 visible ASCII characters. Where it came from.
    Unfit(String),
    /// The file can't be read or made.
    File(PathBuf, io::Error),
    /// The variable of that name is not set.
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
    /// The token that somebody gave; `origin` is where, in words.
    ///
    /// # Errors
    /// It is not fit to be one.
    pub fn given(text: &str, origin: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if TOKEN_CHARS.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TokenError::Unfit(origin.to_owned()))
        }
    }

    /// The token in that variable of the environment.
    ///
    /// # Errors
    /// It is not set, or holds no token.
    pub fn in_variable(name: &str) -> Result<Self, TokenError> {
        let held = std::env::var_os(name).ok_or_else(|| TokenError::NotSet(name.to_owned()))?;
        Self::given(&held.to_string_lossy(), name)
    }

    /// The token in that file.
    ///
    /// # Errors
    /// It can't be read, is no regular file, or holds no token.
    pub fn read(file: &Path) -> Result<Self, TokenError> {
        // It may end a line.
        let text =
            small_file::read(file, *TOKEN_CHARS.end() + 1).map_err(|error| TokenError::File(file.to_owned(), error))?;
        Self::given(&text, &file.display().to_string())
    }

    /// The token in that file; if there is no such file, it is made with a new one, whole or not at all.
    ///
    /// # Errors
    /// It can't be read or made, or holds no token.
    pub fn read_or_make(file: &Path) -> Result<Self, TokenError> {
        match Self::read(file) {
            Err(TokenError::File(_, error)) if error.kind() == io::ErrorKind::NotFound => {
                make(file).map_err(|error| TokenError::File(file.to_owned(), error))?;
                Self::read(file)
            }
            read => read,
        }
    }

    /// Whether that is the token. It takes as long whatever the difference is.
    pub fn is(&self, presented: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(presented).into()
    }

    /// The token, to present it.
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
    // Written beside it and then given its name: whoever finds the file finds all of it, and nobody's file is overwritten.
    let beside = file.with_extension(format!("token.{}", std::process::id()));
    // What is there was left by a process that had our number and was killed; in a container every start has the same.
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
    fn only_the_token_is_the_token() {
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

    /// A door that was killed while it made its token could not be opened again where processes have the same number at every
    /// start, as in a container: the file beside was still there, and nobody's file is overwritten.
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
