//! Who has a key: a static list, until the account store comes.
//!
//! Absent on purpose: keys. Only their SHA-256 is written down, here or in a variable of the environment that is named here,
//! and a plain key that was put there by mistake is shown by no message.

use std::collections::HashMap;

use super::environment::{Surroundings, reference};
use super::error::Report;
use super::excerpt::{HASH_CHARS, is_hash, quoted};
use super::read::{Fields, Names, list, shown};
use super::value::{name_is_legal, text};
use super::yaml::{Kind, Node, Place};
use crate::policy::rules::TierId;

/// Accounts, at most.
pub const ACCOUNTS_MAX: usize = 100_000;
/// Keys of an account, at most.
pub const KEYS_PER_ACCOUNT_MAX: usize = 16;

const HASH_ADVICE: &str = "write the key's SHA-256 in 64 hexadecimal digits: printf %s \"$KEY\" | sha256sum";

/// Somebody with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its name, unique, 1 to 64 visible ASCII characters: it travels in a header.
    pub name: String,
    /// Its tier.
    pub tier: TierId,
    /// SHA-256 of each of its keys, of which no other account has any. 1 to [`KEYS_PER_ACCOUNT_MAX`]; none of those of a
    /// variable that was not looked up ([`super::Config::peek`]).
    pub key_sha256: Vec<[u8; 32]>,
}

/// What earlier accounts have taken.
#[derive(Default)]
struct Taken<'n> {
    names: HashMap<&'n str, Place>,
    keys: HashMap<[u8; 32], (&'n str, Place)>,
}

pub(super) const KNOWN: [&str; 3] = ["name", "tier", "key_sha256"];

/// `accounts: [ … ]`, which refer to those tiers. Each account that is right.
pub(super) fn read(
    node: &Node,
    tiers: &Names<'_>,
    surroundings: &Surroundings<'_>,
    report: &mut Report,
) -> Option<Vec<Account>> {
    let mut taken = Taken::default();
    let mut accounts = Vec::new();
    list(node, "account", (0, ACCOUNTS_MAX), report, |item, report| {
        accounts.extend(account(item, tiers, surroundings, &mut taken, report));
        Some(())
    })?;
    Some(accounts)
}

fn account<'n>(
    node: &'n Node,
    tiers: &Names<'_>,
    surroundings: &Surroundings<'_>,
    taken: &mut Taken<'n>,
    report: &mut Report,
) -> Option<Account> {
    let fields = Fields::of(node, "this account", node.place, &KNOWN, report)?;
    let name = fields.required(
        "name",
        "add `name`: 1 to 64 visible ASCII characters",
        report,
        |node, report| name(node, taken, report),
    );
    let tier = fields.required("tier", "add `tier`: the name of its tier", report, |node, report| {
        tiers.resolve(node, report)
    });
    let advice = "add `key_sha256`: printf %s \"$KEY\" | sha256sum";
    let mut item = |node, report: &mut Report| keys(node, name, surroundings, taken, report);
    let keys = fields.required("key_sha256", advice, report, |node, report| {
        let keys = match node.kind {
            Kind::Scalar { .. } => item(node, report)?,
            _ => list(node, "key", (1, KEYS_PER_ACCOUNT_MAX), report, item)?.concat(),
        };
        if keys.len() > KEYS_PER_ACCOUNT_MAX {
            let message = format!("{} keys are too many", keys.len());
            report.add(node.place, message, format!("at most {KEYS_PER_ACCOUNT_MAX} fit here"));
            return None;
        }
        Some(keys)
    });
    Some(Account {
        name: name?.to_owned(),
        tier: TierId(tier?),
        key_sha256: keys?,
    })
}

fn name<'n>(node: &'n Node, taken: &mut Taken<'n>, report: &mut Report) -> Option<&'n str> {
    let name = text(node, "the name of an account", report)?;
    if !name_is_legal(name, |c| c.is_ascii_graphic()) {
        let advice = "use 1 to 64 visible ASCII characters without spaces: the name travels in a header";
        report.add(
            node.place,
            format!("{} can't be the name of an account", shown(node)),
            advice,
        );
        return None;
    }
    if let Some(first) = taken.names.get(name) {
        let message = format!(
            "account {} is listed twice; the first is on line {}",
            shown(node),
            first.line
        );
        report.add(
            node.place,
            message,
            "keep one of them; an account may list several hashes in `key_sha256`",
        );
        return None;
    }
    taken.names.insert(name, node.place);
    Some(name)
}

/// A hash, or `${NAME}`: those that its variable holds, separated by spaces or commas.
fn keys<'n>(
    node: &'n Node,
    owner: Option<&'n str>,
    surroundings: &Surroundings<'_>,
    taken: &mut Taken<'n>,
    report: &mut Report,
) -> Option<Vec<[u8; 32]>> {
    let Some(name) = node.text().and_then(reference) else {
        return key(node, node.text(), "this", owner, taken, report).map(|key| vec![key]);
    };
    let Some(held) = surroundings.variable(name, node.place, report) else {
        return Some(Vec::new());
    };
    let mut hashes = held
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|hash| !hash.is_empty())
        .peekable();
    let what = format!("what the variable `{name}` holds");
    if hashes.peek().is_none() {
        report.add(node.place, format!("the variable `{name}` holds nothing"), HASH_ADVICE);
    }
    let keys: Vec<_> = hashes
        .map(|hash| key(node, Some(hash), &what, owner, taken, report))
        .collect();
    keys.into_iter().collect()
}

/// One hash, which is called `what` and named at the node.
fn key<'n>(
    node: &'n Node,
    hash: Option<&str>,
    what: &str,
    owner: Option<&'n str>,
    taken: &mut Taken<'n>,
    report: &mut Report,
) -> Option<[u8; 32]> {
    let Some(hash) = hash.filter(|text| is_hash(text)).and_then(decode) else {
        if !matches!(node.kind, Kind::Refused) {
            report.add(
                node.place,
                format!("{what} is not a SHA-256 in hexadecimal"),
                HASH_ADVICE,
            );
        }
        return None;
    };
    let owner = owner.unwrap_or("?");
    if let Some((other, first)) = taken.keys.get(&hash) {
        let message = if *other == owner {
            format!("this key is listed twice; the first is on line {}", first.line)
        } else {
            format!(
                "this key belongs to account {} already, on line {}",
                quoted(other),
                first.line
            )
        };
        report.add(node.place, message, "give each account keys of its own");
        return None;
    }
    taken.keys.insert(hash, (owner, node.place));
    Some(hash)
}

fn decode(hex: &str) -> Option<[u8; 32]> {
    debug_assert_eq!(hex.len(), HASH_CHARS);
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(hash)
}
