//! The accounts listed in the file. API keys are never written down: only their SHA-256, here or in an environment variable named
//! here. If a plain key is put there by mistake, no message shows it.

use std::collections::HashMap;

use super::environment::{EnvContext, REFERENCE_PATTERN, reference};
use super::prelude::*;
use super::snippet::{HASH_CHARS, is_hash};
use crate::policy::rules::TierId;

/// Accounts, at most.
pub const ACCOUNTS_MAX: usize = 100_000;
/// Keys of an account, at most.
pub const KEYS_PER_ACCOUNT_MAX: usize = 16;

const HASH_ADVICE: &str = "write the key's SHA-256 in 64 hexadecimal digits: printf %s \"$KEY\" | sha256sum";

/// An account.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "Account")]
pub struct AccountSection {
    /// Name of 1 to 64 visible ASCII characters.
    #[serde(with = "As::<AccountName>")]
    #[schemars(extend("x-add" = "add `name`: 1 to 64 visible ASCII characters"))]
    pub name: String,
    /// Name of the tier.
    #[serde(with = "As::<TierName>")]
    #[schemars(extend("x-add" = "add `tier`: the name of its tier"))]
    pub tier: TierId,
    /// SHA-256 of the account's key in 64 hexadecimal digits, or a list of up to 16, unique across accounts. "${NAME}" is
    /// expanded here: the environment variable holds one, or several separated by spaces or commas.
    #[serde(with = "As::<Secret<KeyHashes>>")]
    #[schemars(extend("x-add" = "add `key_sha256`: printf %s \"$KEY\" | sha256sum"))]
    pub key_sha256: Vec<[u8; 32]>,
}

impl Item for AccountSection {
    const NOUN: &'static str = "account";
}

/// Checks the accounts and looks up their keys.
pub(super) fn check(accounts: &mut [AccountSection], node: Option<&Node>, env: &EnvContext<'_>, report: &mut Report) {
    let (names, keys) = (HashMap::new(), HashMap::new());
    let mut check = AccountsCheck {
        names,
        keys,
        env,
        report,
    };
    for (account, node) in accounts.iter_mut().zip(node.map_or(&[][..], Node::items)) {
        let name = node.value("name").and_then(|node| check.name(node));
        let keys = node.value("key_sha256").and_then(|node| check.all_keys(node, name));
        account.key_sha256 = keys.unwrap_or_default();
    }
}

/// State of the check: what earlier accounts have taken.
struct AccountsCheck<'n, 'r> {
    names: HashMap<&'n str, u32>,
    keys: HashMap<[u8; 32], (&'n str, u32)>,
    env: &'r EnvContext<'r>,
    report: &'r mut Report,
}

impl<'n> AccountsCheck<'n, '_> {
    /// The name, if it is valid and not taken.
    fn name(&mut self, node: &'n Node) -> Option<&'n str> {
        let name = node.text().filter(|_| self.report.is_sound(node.place))?;
        if let Some(line) = self.names.get(name) {
            let message = format!("account {} is listed twice; the first is on line {line}", shown(node));
            let advice = "keep one of them; an account may list several hashes in `key_sha256`";
            self.report.add(node.place, message, advice);
            return None;
        }
        self.names.insert(name, node.place.line);
        Some(name)
    }

    /// One hash or variable, or a list of them.
    fn all_keys(&mut self, node: &'n Node, owner: Option<&'n str>) -> Option<Vec<[u8; 32]>> {
        let keys = match node.kind {
            NodeKind::Scalar { .. } => self.some_keys(node, owner)?,
            _ => {
                let items = items(node, "key", (1, KEYS_PER_ACCOUNT_MAX), self.report)?.iter();
                let keys: Vec<_> = items.map(|item| self.some_keys(item, owner)).collect();
                keys.into_iter().collect::<Option<Vec<_>>>()?.concat()
            }
        };
        if keys.len() > KEYS_PER_ACCOUNT_MAX {
            let message = format!("{} keys are too many", keys.len());
            let advice = format!("at most {KEYS_PER_ACCOUNT_MAX} fit here");
            self.report.add(node.place, message, advice);
            return None;
        }
        Some(keys)
    }

    /// A hash, or `${NAME}` for the hashes in its variable, separated by spaces or commas.
    fn some_keys(&mut self, node: &'n Node, owner: Option<&'n str>) -> Option<Vec<[u8; 32]>> {
        let Some(name) = node.text().and_then(reference) else {
            return self.key(node, node.text(), "this", owner).map(|key| vec![key]);
        };
        let Some(held) = self.env.variable(name, node.place, self.report) else {
            return Some(Vec::new());
        };
        let hashes = held.split(|c: char| c == ',' || c.is_whitespace());
        let mut hashes = hashes.filter(|hash| !hash.is_empty()).peekable();
        if hashes.peek().is_none() {
            let message = format!("the variable `{name}` holds nothing");
            self.report.add(node.place, message, HASH_ADVICE);
        }
        let what = format!("what the variable `{name}` holds");
        let keys: Vec<_> = hashes.map(|hash| self.key(node, Some(hash), &what, owner)).collect();
        keys.into_iter().collect()
    }

    /// One hash, called `what` in messages about the node.
    fn key(&mut self, node: &'n Node, hash: Option<&str>, what: &str, owner: Option<&'n str>) -> Option<[u8; 32]> {
        let Some(hash) = hash.filter(|text| is_hash(text)).and_then(decode) else {
            if !matches!(node.kind, NodeKind::Refused) {
                let message = format!("{what} is not a SHA-256 in hexadecimal");
                self.report.add(node.place, message, HASH_ADVICE);
            }
            return None;
        };
        let owner = owner.unwrap_or("?");
        if let Some((other, line)) = self.keys.get(&hash) {
            let message = match *other == owner {
                true => format!("this key is listed twice; the first is on line {line}"),
                false => format!("this key belongs to account {} already, on line {line}", quoted(other)),
            };
            self.report
                .add(node.place, message, "give each account keys of its own");
            return None;
        }
        self.keys.insert(hash, (owner, node.place.line));
        Some(hash)
    }
}

/// The name of an account.
struct AccountName;

impl Parsed for AccountName {
    type Value = String;
    const WHAT: &'static str = "the name of an account";
    const EXAMPLE: &'static str = "bot";

    fn parse(written: &str, node: &Node) -> Result<String, Wrong> {
        if name_is_legal(written, |c| c.is_ascii_graphic()) {
            return Ok(written.to_owned());
        }
        Self::cannot_be(
            node,
            "use 1 to 64 visible ASCII characters without spaces: the name travels in a header",
        )
    }
}

/// Hashes of keys, resolved with the environment in [`check`].
struct KeyHashes;

impl Scalar for KeyHashes {
    type Value = Vec<[u8; 32]>;

    fn read(_: &Node, _: &mut Report) -> Option<Vec<[u8; 32]>> {
        Some(Vec::new())
    }

    fn stand_in() -> Vec<[u8; 32]> {
        Vec::new()
    }

    fn written(hashes: &Vec<[u8; 32]>) -> Value {
        let hash = |hash: &[u8; 32]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        hashes.iter().map(hash).collect()
    }

    fn schema() -> Value {
        let reference = REFERENCE_PATTERN.trim_start_matches('^').trim_end_matches('$');
        let one = json!({
            "description": "A SHA-256 in hexadecimal, or the variable that holds some.",
            "type": "string",
            "pattern": format!("^([0-9A-Fa-f]{{{HASH_CHARS}}}|{reference})$"),
            "x-environment": true,
        });
        let several = json!({ "type": "array", "items": one, "minItems": 1, "maxItems": KEYS_PER_ACCOUNT_MAX });
        json!({ "anyOf": [one, several] })
    }
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
