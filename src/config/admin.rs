//! The listener that is never public, and where its token lies. The token itself stands in no file of this kind and in no
//! `Config`: whoever needs it reads it where it lies.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};

use super::DATA_DIR_BYTES_MAX;
use super::entries::Part;
use super::environment::{REFERENCE_PATTERN, Surroundings, reference};
use super::error::Report;
use super::listener::Address;
use super::scalar::{As, Described, Later, Maybe, Secret};
use super::value::text;
use super::yaml::{Kind, Node, Place};

/// Characters that a token may have, all of them visible ASCII.
pub const TOKEN_CHARS: RangeInclusive<usize> = 16..=512;

/// The operator's listener.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Admin")]
#[schemars(extend("not" = { "required": ["token", "token_file"] }))]
pub(super) struct Written {
    /// Its address, such as 127.0.0.1:9090. Never where the public can reach it.
    #[serde(with = "As::<Address>")]
    #[schemars(extend("x-add" = "add the admin listener's address, such as 127.0.0.1:9090"))]
    pub(super) listen: SocketAddr,
    /// The operator's token, by the variable of the environment that holds it: "${NAME}" is filled in here. Left out, the token lies
    /// in data_dir. TIERGATE_ADMIN_TOKEN stands before it.
    #[serde(default, with = "Maybe::<Secret<Later<Token>>>")]
    token: Option<()>,
    /// A file that holds the operator's token alone; its path begins with `/`, or with `./` from the folder of this file.
    /// TIERGATE_ADMIN_TOKEN stands before it.
    #[serde(default, with = "Maybe::<Secret<Later<TokenFile>>>")]
    token_file: Option<()>,
}

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Admin {
    /// Where it listens: never where the public can reach it. Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where its token lies; `None`: in `data_dir`.
    pub token: Option<TokenSource>,
}

/// Where the operator's token lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// In the variable of that name.
    Variable(String),
    /// In that file, alone. The path is seen from the working directory; a relative one begins beside the file that names it: see
    /// [`Config::load`](super::Config::load).
    File(PathBuf),
}

impl Serialize for TokenSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Variable(name) => serializer.collect_str(&format_args!("the variable {name}")),
            Self::File(file) => serializer.collect_str(&file.display()),
        }
    }
}

/// The token's place, which is looked at once the environment is at hand: [`Written::checked`].
struct Token;

/// A file that holds it: the same.
struct TokenFile;

impl Written {
    /// What is wrong with where the token lies, which is looked up.
    pub(super) fn checked(&self, node: &Node, surroundings: &Surroundings<'_>, report: &mut Report) -> Admin {
        let mut part = Part::new(node, report);
        if self.token.is_some() && self.token_file.is_some() {
            let advice = "keep one of them: a variable of the environment, or a file";
            part.add("token_file", "`admin` has both `token` and `token_file`", advice);
        }
        let variable = node
            .value("token")
            .and_then(|node| variable(node, surroundings, report));
        let file = node
            .value("token_file")
            .and_then(|node| file(node, surroundings, report));
        let (listen, token) = (self.listen, variable.or(file));
        Admin { listen, token }
    }
}

impl Described for Token {
    fn schema() -> Value {
        json!({ "type": "string", "pattern": REFERENCE_PATTERN, "x-environment": true })
    }
}

impl Described for TokenFile {
    fn schema() -> Value {
        json!({ "type": "string", "maxLength": DATA_DIR_BYTES_MAX, "pattern": r"^\.{0,2}/" })
    }
}

/// `${NAME}`, whose variable holds the token.
fn variable(node: &Node, surroundings: &Surroundings<'_>, report: &mut Report) -> Option<TokenSource> {
    let Some(name) = node.text().and_then(reference) else {
        if !matches!(node.kind, Kind::Refused) {
            let advice = "write \"${NAME}\", the name of a variable in capital letters, or use `token_file`";
            report.add(node.place, "only the name of a variable belongs here, no token", advice);
        }
        return None;
    };
    if let Some(held) = surroundings.variable(name, node.place, report) {
        judge(&held, &format!("the variable `{name}`"), node.place, report);
    }
    Some(TokenSource::Variable(name.to_owned()))
}

fn file(node: &Node, surroundings: &Surroundings<'_>, report: &mut Report) -> Option<TokenSource> {
    let written = text(node, "the path of a file", report)?;
    // What is no path at first sight may be the token itself, which nobody would want to see named.
    let begins = ["/", "./", "../"].iter().any(|begin| written.starts_with(begin));
    if !begins || written.len() > DATA_DIR_BYTES_MAX || written.contains('\0') {
        let advice = "write a path that begins with `/` or `./`; no token belongs here";
        report.add(node.place, "this can't be the path of a file", advice);
        return None;
    }
    if let Some(held) = surroundings.file(written, node.place, report) {
        judge(&held, "the file that is named here", node.place, report);
    }
    Some(TokenSource::File(surroundings.path(written)))
}

fn judge(held: &str, what: &str, place: Place, report: &mut Report) {
    let held = held.trim();
    if !TOKEN_CHARS.contains(&held.len()) || !held.bytes().all(|byte| byte.is_ascii_graphic()) {
        let (least, most) = (TOKEN_CHARS.start(), TOKEN_CHARS.end());
        let message = format!("{what} holds no token: a token is {least} to {most} visible ASCII characters");
        report.add(place, message, "openssl rand -hex 32 makes one");
    }
}
