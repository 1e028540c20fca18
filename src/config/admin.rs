//! The admin listener, and the source of its token. Neither this file nor `Config` holds the token itself: it is read at its
//! source when needed.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::DATA_DIR_BYTES_MAX;
use super::environment::{EnvContext, REFERENCE_PATTERN, reference};
use super::listener::Address;
use super::prelude::*;
use super::routes::HostName;
use super::scalar::SECRET;

/// Characters that a token may have, all of them visible ASCII.
pub const TOKEN_CHARS: RangeInclusive<usize> = 16..=512;

/// The most names in `hosts`.
const HOSTS_MAX: usize = 64;

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Admin")]
#[schemars(extend("not" = { "required": ["token", "token_file"] }))]
pub struct AdminSection {
    /// Address, such as 127.0.0.1:9090. Keep it unreachable for the public.
    #[serde(with = "As::<Address>")]
    #[schemars(extend("x-add" = "add the admin listener's address, such as 127.0.0.1:9090"))]
    pub listen: SocketAddr,
    /// The operator's token, as an environment variable: "${NAME}" is expanded here. By default the token is in a file in
    /// data_dir. TIERGATE_ADMIN_TOKEN takes precedence.
    #[serde(default, with = "Maybe::<Variable>")]
    pub token: Option<TokenSource>,
    /// File with only the operator's token; its path begins with `/`, or with `./` for the folder of this file.
    /// TIERGATE_ADMIN_TOKEN takes precedence.
    #[serde(default, with = "Maybe::<TokenFile>")]
    pub(super) token_file: Option<TokenSource>,
    /// Host names, besides localhost and the listener's own address, for which the API and the pages answer. Other hosts get 421.
    #[serde(default, with = "As::<Several<HostName, 0, HOSTS_MAX>>")]
    pub hosts: Vec<String>,
}

/// Source of the operator's token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// An environment variable.
    Variable(String),
    /// A file with only the token. The path is relative to the working directory; one relative to the file that names it is
    /// resolved: see [`Config::load`](super::Config::load).
    File(PathBuf),
}

impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::File(file) => file.display().fmt(f),
        }
    }
}

impl AdminSection {
    /// Resolves the token's source and reports problems. `token` then says where it is, in a file too.
    pub(super) fn check(&mut self, node: &Node, env: &EnvContext<'_>, report: &mut Report) {
        let mut part = Part::new(node, report);
        if part.value("token").is_some() && part.value("token_file").is_some() {
            let advice = "keep one of them: a variable of the environment, or a file";
            part.add("token_file", "`admin` has both `token` and `token_file`", advice);
        }
        if let (Some(TokenSource::Variable(name)), Some(node)) = (&self.token, node.value("token"))
            && let Some(held) = env.variable(name, node.place, report)
        {
            judge(&held, &format!("the variable `{name}`"), node.place, report);
        }
        let file = self.token_file.take().and(node.value("token_file"));
        if let Some((node, written)) = file.and_then(|node| Some((node, node.text()?))) {
            if let Some(held) = env.file(written, node.place, report) {
                judge(&held, "the file that is named here", node.place, report);
            }
            let file = TokenSource::File(env.path(written));
            self.token.get_or_insert(file);
        }
    }
}

/// `${NAME}`, whose variable holds the token.
struct Variable;

impl Scalar for Variable {
    type Value = TokenSource;

    fn read(node: &Node, report: &mut Report) -> Option<TokenSource> {
        let name = node.text().and_then(reference);
        if name.is_none() && !matches!(node.kind, NodeKind::Refused) {
            let advice = "write \"${NAME}\", the name of a variable in capital letters, or use `token_file`";
            report.add(node.place, "only the name of a variable belongs here, no token", advice);
        }
        name.map(|name| TokenSource::Variable(name.to_owned()))
    }

    fn stand_in() -> TokenSource {
        TokenSource::Variable(String::new())
    }

    fn written(source: &TokenSource) -> Value {
        source.to_string().into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "pattern": REFERENCE_PATTERN, "x-environment": true, SECRET: true })
    }
}

/// A file that holds it.
struct TokenFile;

impl Scalar for TokenFile {
    type Value = TokenSource;

    fn read(node: &Node, report: &mut Report) -> Option<TokenSource> {
        let written = text(node, "the path of a file", report)?;
        // Text that doesn't look like a path may be the token itself: don't show it.
        let begins = ["/", "./", "../"].iter().any(|begin| written.starts_with(begin));
        if begins && written.len() <= DATA_DIR_BYTES_MAX && !written.contains('\0') {
            return Some(TokenSource::File(written.into()));
        }
        let advice = "write a path that begins with `/` or `./`; no token belongs here";
        report.add(node.place, "this can't be the path of a file", advice);
        None
    }

    fn stand_in() -> TokenSource {
        Variable::stand_in()
    }

    fn written(source: &TokenSource) -> Value {
        source.to_string().into()
    }

    fn schema() -> Value {
        json!({ "type": "string", "maxLength": DATA_DIR_BYTES_MAX, "pattern": r"^\.{0,2}/", SECRET: true })
    }
}

fn judge(held: &str, what: &str, place: Location, report: &mut Report) {
    let held = held.trim();
    if !TOKEN_CHARS.contains(&held.len()) || !held.bytes().all(|byte| byte.is_ascii_graphic()) {
        let (least, most) = (TOKEN_CHARS.start(), TOKEN_CHARS.end());
        let message = format!("{what} holds no token: a token is {least} to {most} visible ASCII characters");
        report.add(place, message, "openssl rand -hex 32 makes one");
    }
}
