//! The listener that is never public, and where its token lies.
//!
//! Absent on purpose: the token itself, which stands in no file of this kind and in no `Config`: whoever needs it reads it where
//! it lies.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::DATA_DIR_BYTES_MAX;
use super::edge::address;
use super::environment::{Surroundings, reference};
use super::error::Report;
use super::read::Fields;
use super::value::text;
use super::yaml::{Kind, Node, Place};

/// Characters that a token may have, all of them visible ASCII.
pub const TOKEN_CHARS: RangeInclusive<usize> = 16..=512;

pub(super) const KNOWN: [&str; 3] = ["listen", "token", "token_file"];

/// The admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// `admin: { listen, token, token_file }`.
pub(super) fn read(node: &Node, surroundings: &Surroundings<'_>, report: &mut Report) -> Option<Admin> {
    let fields = Fields::of(node, "`admin`", node.place, &KNOWN, report)?;
    let advice = "add the admin listener's address, such as 127.0.0.1:9090";
    let listen = fields.required("listen", advice, report, address);
    if let (Some(_), Some(file)) = (fields.get("token"), fields.get("token_file")) {
        let advice = "keep one of them: a variable of the environment, or a file";
        report.add(file.place, "`admin` has both `token` and `token_file`", advice);
    }
    let variable = fields.maybe("token", report, |node, report| variable(node, surroundings, report));
    let file = fields.maybe("token_file", report, |node, report| file(node, surroundings, report));
    Some(Admin {
        listen: listen?,
        token: variable.or(file),
    })
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
