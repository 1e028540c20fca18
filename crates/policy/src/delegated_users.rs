//! The users of delegating accounts and their maximum number (rules §5.9).
//!
//! A user belongs to its account for as long as it may have a debit in any window, counted from its last job. So an account
//! that invents names uses up only its own number, and the table is bounded by those numbers.

use std::collections::HashMap;

use super::caller::{AccountId, UserId};
use super::time::{Span, UnixTime};

/// The minimum interval between searches for expired users when an account's number is used up.
const SWEEP_EVERY: Span = Span::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct DelegatedUsers {
    accounts: HashMap<AccountId, AccountUsers>,
}

#[derive(Debug, Default)]
struct AccountUsers {
    /// When each user was last admitted.
    seen: HashMap<UserId, UnixTime>,
    swept: UnixTime,
}

impl DelegatedUsers {
    /// Whether the account may have this user: a known one, or one more. Users not seen for `memory` have expired.
    pub(super) fn may(&mut self, of: AccountId, user: UserId, max: u32, memory: Span, now: UnixTime) -> bool {
        let Some(known) = self.accounts.get_mut(&of) else {
            return max > 0;
        };
        if known.seen.contains_key(&user) || known.seen.len() < max as usize {
            return true;
        }
        if now.since(known.swept) >= SWEEP_EVERY {
            known.swept = now;
            known.seen.retain(|_, seen| now.since(*seen) < memory);
        }
        known.seen.len() < max as usize
    }

    /// The clock went back: later times become `to`.
    pub(super) fn go_back(&mut self, to: UnixTime) {
        for known in self.accounts.values_mut() {
            known.swept = known.swept.min(to);
            known.seen.values_mut().for_each(|seen| *seen = to.min(*seen));
        }
    }

    /// The user was admitted.
    pub(super) fn note(&mut self, of: AccountId, user: UserId, now: UnixTime) {
        let seen = self.accounts.entry(of).or_default().seen.entry(user).or_default();
        *seen = now.max(*seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_users_is_kept_and_those_who_have_gone_make_room() {
        let (bot, hour) = (AccountId(1), Span::from_secs(3_600));
        let at = UnixTime::from_secs;
        let mut users = DelegatedUsers::default();
        for user in 0..2 {
            assert!(users.may(bot, UserId(user), 2, hour, at(100)));
            users.note(bot, UserId(user), at(100));
        }
        assert!(!users.may(bot, UserId(2), 2, hour, at(200)), "the number is full");
        assert!(users.may(bot, UserId(0), 2, hour, at(200)), "a known user may");
        users.note(bot, UserId(0), at(200));
        assert!(users.may(bot, UserId(2), 2, hour, at(3_700)), "one has expired");
        assert!(
            users.may(AccountId(2), UserId(2), 1, hour, at(200)),
            "each account has a number of its own"
        );
    }
}
