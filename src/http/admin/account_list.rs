//! Lists accounts: by name in pages, or the top users; filtered by tier or by a search text. An answer is bounded, and says how
//! many match in all.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;

use super::account_use::usage_of;
use super::accounts::{PAGE_DEFAULT, PAGE_MAX};
use super::problem::Problem;
use super::wire::AccountLine;
use super::{Admin, on_disk, times};
use crate::http::caller::decoded;
use crate::http::quotas::QuotaLine;
use crate::policy::caller::{AccountId, Caller};
use crate::store::{Account, AccountStore, AccountUse, ReadError};

/// A page of accounts.
#[derive(Debug, Serialize)]
pub struct AccountPage {
    accounts: Vec<AccountListLine>,
    /// What to put into `after` for the next page; `null` if this is the last.
    next: Option<String>,
    /// How many accounts match in all; only of the first page, since counting them takes a look at each.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
}

/// An account in a list.
#[derive(Debug, Serialize)]
struct AccountListLine {
    #[serde(flatten)]
    account: AccountLine,
    /// Units debited within the last 30 days (UTC), including today.
    used_30d: u64,
    /// The last of these days on which it was used; `null` if none.
    last_used_on: Option<String>,
    /// With `usage=1`: each quota of its effective tier.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Vec<QuotaLine>>,
    /// With `usage=1`: queued and running jobs of it and its users.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<usize>,
}

/// The most accounts of a page with the usage of each quota, which takes the gate's lock for each.
const USAGE_MAX: usize = 100;

/// The parsed query.
#[derive(Debug)]
struct AccountQuery {
    after: String,
    limit: usize,
    tier: Option<String>,
    /// In lower case.
    search: Option<String>,
    by_used: bool,
    usage: bool,
}

impl AccountQuery {
    /// # Errors
    /// The query has other parameters, or a combination that is not allowed.
    fn parse(query: &str) -> Result<Self, Problem> {
        let mut parsed = Self {
            after: String::new(),
            limit: PAGE_DEFAULT,
            tier: None,
            search: None,
            by_used: false,
            usage: false,
        };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let text = || String::from_utf8_lossy(&decoded(value)).into_owned();
            match name {
                "after" => parsed.after = text(),
                "limit" => {
                    let number = value.parse().ok().filter(|number| (1..=PAGE_MAX).contains(number));
                    parsed.limit = number.ok_or_else(|| Problem::bad_request(format!("`limit` is 1 to {PAGE_MAX}")))?;
                }
                "tier" => parsed.tier = Some(text()),
                "search" => parsed.search = Some(text().to_lowercase()),
                "sort" => {
                    parsed.by_used = match value {
                        "used" => true,
                        "name" => false,
                        _ => return Err(Problem::bad_request("`sort` is `used` or `name`")),
                    };
                }
                "usage" if matches!(value, "0" | "1") => parsed.usage = value == "1",
                "usage" => return Err(Problem::bad_request("`usage` is 0 or 1")),
                _ => {
                    return Err(Problem::bad_request(
                        "the query may only have `after`, `limit`, `tier`, `search`, `sort` and `usage`",
                    ));
                }
            }
        }
        if parsed.usage && parsed.limit > USAGE_MAX {
            return Err(Problem::bad_request(format!(
                "with `usage=1`, `limit` is 1 to {USAGE_MAX}"
            )));
        }
        match parsed.by_used && !parsed.after.is_empty() {
            true => Err(Problem::bad_request(
                "`sort=used` returns a single page: leave `after` out",
            )),
            false => Ok(parsed),
        }
    }

    fn matches(&self, account: &Account) -> bool {
        self.tier.as_ref().is_none_or(|tier| *tier == *account.tier)
            && self.search.as_ref().is_none_or(|search| account.contains(search))
    }

    /// Up to `most` of the matching accounts, by name, and on the first page how many match in all.
    fn matching(&self, store: &AccountStore, most: usize) -> (Vec<Arc<Account>>, Option<usize>) {
        let (directory, is_first) = (store.directory(), self.after.is_empty());
        let (mut found, mut total) = (Vec::new(), 0);
        let mut after = self.after.clone();
        while is_first || found.len() < most {
            let page = directory.page(&after, PAGE_MAX);
            let Some(last) = page.last() else { break };
            after = last.name.to_string();
            for account in page.into_iter().filter(|account| self.matches(account)) {
                total += 1;
                if found.len() < most {
                    found.push(account);
                }
            }
        }
        (found, is_first.then_some(total))
    }
}

/// The accounts found, whether there are more, and their usage.
struct QueryResult {
    accounts: Vec<Arc<Account>>,
    more: bool,
    total: Option<usize>,
    used: HashMap<AccountId, AccountUse>,
}

/// `GET /accounts?after=NAME&limit=N&tier=T&search=TEXT&sort=used|name&usage=1`.
pub async fn list(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Result<Json<AccountPage>, Problem> {
    let query = AccountQuery::parse(query.as_deref().unwrap_or_default())?;
    let (now, with_usage) = (admin.gate.clock().wall(), query.usage);
    let find = move |store: &AccountStore| match query.by_used {
        true => most_used(store, &query, store.used_by_all(now)?),
        false => {
            let (mut accounts, total) = query.matching(store, query.limit + 1);
            let more = accounts.len() > query.limit;
            accounts.truncate(query.limit);
            let ids: Vec<AccountId> = accounts.iter().map(|account| account.id).collect();
            let used = store.used_by(&ids, now)?;
            Ok(QueryResult {
                accounts,
                more,
                total,
                used,
            })
        }
    };
    let found: Result<QueryResult, ReadError> = on_disk(&admin, find).await?;
    let QueryResult {
        accounts,
        more,
        total,
        used,
    } = found.map_err(|error| Problem::unreadable(&error))?;
    let next = accounts.last().filter(|_| more).map(|last| last.name.to_string());
    let in_flight = with_usage.then(|| jobs_by_account(&admin));
    let line = |account: &Arc<Account>| {
        let used = used.get(&account.id).copied().unwrap_or_default();
        AccountListLine {
            account: AccountLine::of(account, &admin),
            used_30d: used.units,
            last_used_on: used.last_day.map(times::day),
            usage: with_usage.then(|| usage_of(&admin, account, now)),
            in_flight: in_flight
                .as_ref()
                .map(|jobs| jobs.get(&account.id).copied().unwrap_or(0)),
        }
    };
    Ok(Json(AccountPage {
        accounts: accounts.iter().map(line).collect(),
        next,
        total,
    }))
}

/// Jobs in flight of each account and its users.
fn jobs_by_account(admin: &Admin) -> HashMap<AccountId, usize> {
    let mut jobs = HashMap::new();
    for job in admin.gate.view().jobs {
        if let Caller::Account(id) | Caller::User { of: id, .. } = job.caller {
            *jobs.entry(id).or_default() += 1;
        }
    }
    jobs
}

/// The accounts that have used the most, then by name. Unused accounts come last.
fn most_used(
    store: &AccountStore,
    query: &AccountQuery,
    used: HashMap<AccountId, AccountUse>,
) -> Result<QueryResult, ReadError> {
    let units = |account: &Account| used.get(&account.id).map_or(0, |used| used.units);
    let (mut accounts, total) = query.matching(store, usize::MAX);
    // The sort is stable: ties stay ordered by name.
    accounts.sort_by_key(|account| Reverse(units(account)));
    accounts.truncate(query.limit);
    Ok(QueryResult {
        accounts,
        more: false,
        total,
        used,
    })
}
