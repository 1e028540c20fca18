//! What must survive: who the accounts are. Later also what they have used.
//!
//! Absent on purpose: keys in plain text. Only SHA-256 of a key is held, so neither a core dump nor a log can betray one.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::policy::caller::AccountId;
use crate::policy::rules::TierId;

/// SHA-256 of an API key.
pub type KeyHash = [u8; 32];

/// Somebody with an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Opaque, never given to another.
    pub id: AccountId,
    /// As operators and upstreams know it: 1 to 64 visible ASCII characters.
    pub name: String,
    /// Whose terms it has.
    pub tier: TierId,
}

/// The accounts that are listed in tiers.yaml. Read once; it can't fail and never blocks.
#[derive(Debug, Default)]
pub struct ListedAccounts {
    accounts: Vec<Account>,
    /// Keys come from strangers, so the map keeps the standard library's hasher, which is made against attack.
    by_key: HashMap<KeyHash, usize>,
}

impl ListedAccounts {
    /// The accounts with the hashes of their keys. Of two that share a key, the later has it: the configuration allows no such two.
    pub fn new(listed: impl IntoIterator<Item = (String, TierId, Vec<KeyHash>)>) -> Self {
        let mut all = Self::default();
        for (place, (name, tier, keys)) in listed.into_iter().enumerate() {
            let id = AccountId(u32::try_from(place).expect("the configuration bounds accounts"));
            all.accounts.push(Account { id, name, tier });
            all.by_key.extend(keys.into_iter().map(|key| (key, place)));
        }
        all
    }

    /// Whose key it is. What is compared is a hash, so the time that it takes says nothing about any key.
    pub fn find(&self, key: &[u8]) -> Option<&Account> {
        let hash: KeyHash = Sha256::digest(key).into();
        self.by_key.get(&hash).map(|place| &self.accounts[*place])
    }

    /// The account of that id.
    pub fn get(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(usize::try_from(id.0).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_account_and_nothing_else_does() {
        let hash = |key: &str| -> KeyHash { Sha256::digest(key).into() };
        let accounts = ListedAccounts::new([
            ("a".to_owned(), TierId(1), vec![hash("one"), hash("two")]),
            ("b".to_owned(), TierId(2), vec![hash("three")]),
        ]);
        assert_eq!(accounts.find(b"two").map(|account| account.name.as_str()), Some("a"));
        assert_eq!(accounts.find(b"three").map(|account| account.id), Some(AccountId(1)));
        assert_eq!(accounts.find(b"four"), None);
        assert_eq!(accounts.find(&hash("one")), None);
        assert_eq!(
            accounts.get(AccountId(1)).map(|account| account.name.as_str()),
            Some("b")
        );
        assert_eq!(accounts.get(AccountId(2)), None);
    }
}
