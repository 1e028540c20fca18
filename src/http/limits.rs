//! Which request limits match a request, which counters it is charged to, and each counter's maximum (rules §7.3–7.6, §7.12–13).

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use smallvec::SmallVec;
use tracing::info;

use super::host::Host;
use super::rare_log::RareLog;
use super::standing::Standing;
use crate::gate::{Limiter, Stale};
use crate::path::{Folded, Pattern, Spelling};
use crate::policy::caller::{AccountId, HashedOrigin, Network};
use crate::policy::limits::{Admitted, COUNTERS_INLINE, Counter, Lefts, Refused, Subject};
use crate::policy::refusal::{Exceeded, Refusal};
use crate::policy::rules::{Limit, LimitId, LimitOverride, LimitSet, Rules, Tier};
use crate::policy::time::{Timestamp, UnixTime};
use crate::store::{OwnNumbers, Pseudonyms};

/// The prefix length of an IPv6 network's wider prefix.
const V6_WIDER_PREFIX: u8 = 48;
/// 2^64 divided by the golden ratio, odd: multiplication keeps different numbers different and spreads them.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// The subject of `per: global`: all requests together.
const GLOBAL: Subject = Subject {
    id: u64::MAX,
    wider: u64::MAX,
    region: 0,
    is_network: false,
};

/// The conditions under which a limit matches a request.
#[derive(Clone, Debug)]
pub struct LimitSpec {
    /// The requested host; `None`: any.
    pub host: Option<String>,
    /// The path; `None`: any.
    pub pattern: Option<Pattern>,
    /// The methods; `None`: all of them.
    pub methods: Option<Vec<Method>>,
}

/// The subject of a request's limits.
#[derive(Clone, Debug)]
pub struct Sender<'a> {
    /// The client's address.
    pub address: IpAddr,
    /// The pseudonyms of the address.
    pub known_by: HashedOrigin,
    /// The network's individual numbers.
    pub network: Option<&'a OwnNumbers>,
    /// The caller's terms; `None` if its key is unknown or its account is blocked.
    pub standing: Option<&'a Standing>,
}

/// The limits' result for a request.
#[derive(Clone, Debug)]
pub struct Met {
    /// When they decided, by the wall clock.
    pub at: UnixTime,
    /// What is left of each counter that the request was charged to.
    pub left: Lefts,
    /// Limits that would have refused the request if they were enforced. Empty if an enforced limit refused it.
    pub unenforced: LimitSet,
    /// The limit that refused the request, if one did.
    pub refused: Option<LimitId>,
    /// Limits whose rules have blocked a caller because of this request.
    pub blocking: LimitSet,
}

/// The limits' result, if any matched, and whether the request may go on.
pub type Charged = (Option<Met>, Result<(), Refusal>);

/// A block by the rule of a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockByRule {
    /// The limit's name.
    pub limit: Arc<str>,
    /// When it ends.
    pub until: UnixTime,
}

/// All request limits.
#[derive(Debug)]
pub struct Limits {
    limiter: Arc<Limiter>,
    rules: Arc<Rules>,
    pseudonyms: Pseudonyms,
    matchers: Vec<Matcher>,
    /// Limits that match every request.
    general: LimitSet,
    /// Limits with a blocking rule.
    blocking: LimitSet,
    /// Log lines of blocks.
    blocks_log: RareLog,
}

#[derive(Debug)]
struct Matcher {
    host: Option<Host<String>>,
    pattern: Option<Pattern>,
    methods: Option<Vec<Method>>,
}

impl Limits {
    /// The limits of these rules; `specs` has the same order.
    pub fn new(limiter: Arc<Limiter>, rules: Arc<Rules>, pseudonyms: Pseudonyms, specs: Vec<LimitSpec>) -> Self {
        let matcher = |spec: LimitSpec| Matcher {
            host: spec.host.as_deref().map(|host| Host::parse(host).to_owned()),
            pattern: spec.pattern,
            methods: spec.methods,
        };
        let matchers: Vec<Matcher> = specs.into_iter().map(matcher).collect();
        let those = |is: &dyn Fn(usize) -> bool| {
            let ids = (0..).map(LimitId).take(rules.limits.len());
            ids.filter(|id| is(id.index()))
                .fold(LimitSet::default(), LimitSet::with)
        };
        Self {
            general: those(&|at| matchers[at].is_general()),
            blocking: those(&|at| rules.limits[at].block_after.is_some()),
            limiter,
            pseudonyms,
            matchers,
            rules,
            blocks_log: RareLog::default(),
        }
    }

    /// The size of each limit of `rules`, which may be newer than these around a reload: exact counters of single callers, and
    /// the total of requests counted by prefix.
    pub fn counted(&self, rules: &Rules) -> Vec<(usize, u64)> {
        self.limiter.counted(rules)
    }

    /// The limits, by their ids.
    pub fn rules(&self) -> &[Limit] {
        &self.rules.limits
    }

    /// The limits for a request to this host (as received), the path of its target, and this method. A path and a method match in
    /// every way in which a lenient upstream server may read them, so that no spelling escapes a limit.
    pub fn matching(&self, host: &str, path: &str, method: &Method) -> LimitSet {
        let others = (0..)
            .map(LimitId)
            .zip(&self.matchers)
            .filter(|(id, _)| !self.general.has(*id));
        let mut set = self.general;
        // Folded once for all limits, and only if one has a path.
        let (spelling, folded) = (OnceCell::new(), OnceCell::new());
        let read = || {
            let spelling = spelling.get_or_init(|| Spelling::of(path).ok()).as_ref();
            folded.get_or_init(|| spelling.map(Folded::of))
        };
        for (id, matcher) in others {
            let host_fits = matcher.host.as_ref().is_none_or(|own| own.is(&Host::parse(host)));
            let method_fits = matcher.methods.as_deref().is_none_or(|methods| counts(methods, method));
            let path_fits = || {
                let Some(pattern) = &matcher.pattern else { return true };
                // An unreadable path was refused before, and one with too many readings will be.
                let folded = read().as_ref();
                folded.is_none_or(|folded| folded.as_ref().is_ok_and(|folded| pattern.matches_folded(folded)))
            };
            if host_fits && method_fits && path_fits() {
                set = set.with(id);
            }
        }
        set
    }

    /// Charges the request to all matching counters at time `now`, or refuses it without charging any: one of them is exhausted,
    /// or a rule has blocked the caller.
    ///
    /// # Errors
    /// These limits have been replaced. Nothing is charged.
    pub fn charge(&self, matching: LimitSet, sender: &Sender<'_>, now: UnixTime) -> Result<Charged, Stale> {
        if matching.is_empty() && self.blocking.is_empty() {
            return Ok((None, Ok(())));
        }
        let counters = self.counters(matching, sender);
        let (at, decided) = self.limiter.decide(&self.rules, &counters, now)?;
        Ok(match decided {
            Ok(Admitted { left, unenforced }) => {
                let met = Met {
                    at: at.wall,
                    left,
                    unenforced,
                    refused: None,
                    blocking: LimitSet::default(),
                };
                (Some(met), Ok(()))
            }
            Err(Refused::Blocked { .. }) => (None, Err(Refusal::Blocked)),
            Err(Refused::Limited {
                by,
                retry_after,
                left,
                blocked,
            }) => {
                let mut blocking = LimitSet::default();
                for place in blocked {
                    self.log_block(&counters[place], sender, at.now);
                    blocking = blocking.with(counters[place].limit);
                }
                let id = counters[by].limit;
                let limit = &self.rules.limits[id.index()];
                let exceeded = limit.disclosed.then(|| Exceeded {
                    id,
                    name: Arc::clone(&limit.name),
                    number: counters[by].number,
                });
                let met = Met {
                    at: at.wall,
                    left,
                    unenforced: LimitSet::default(),
                    refused: Some(id),
                    blocking,
                };
                let refusal = Refusal::RateLimited {
                    limit: exceeded,
                    reset: at.wall + retry_after,
                    retry_after,
                };
                (Some(met), Err(refusal))
            }
        })
    }

    /// The pseudonyms of the address's usual network and its wider prefix.
    pub fn known_by(&self, address: IpAddr) -> HashedOrigin {
        self.pseudonyms.hashed_origin(Network::of(address))
    }

    /// Lifts the blocks by rule of every network as which a limit counts that address, and ends its penalties by those limits.
    /// Returns whether there was any block.
    pub fn forgive(&self, address: IpAddr) -> bool {
        let networks = self.networks(address);
        let forgive = |id: LimitId| self.limiter.forgive(&self.rules.limits[id.index()].name, &networks(id));
        self.blocking.iter().filter(|id| forgive(*id)).count() > 0
    }

    /// The active blocks by rule of that address.
    pub fn blocks_of(&self, address: IpAddr, now: UnixTime) -> Vec<BlockByRule> {
        let networks = self.networks(address);
        let blocks = self.blocking.iter().map(|id| self.block(id, networks(id), now));
        blocks.flatten().collect()
    }

    /// The active blocks by rule of that account.
    pub fn blocks_of_account(&self, account: AccountId, now: UnixTime) -> Vec<BlockByRule> {
        let blocks = self.blocking.iter().map(|id| self.block(id, of_account(account), now));
        blocks.flatten().collect()
    }

    /// The block of that subject by that limit's rule.
    fn block(&self, id: LimitId, subject: Subject, now: UnixTime) -> Option<BlockByRule> {
        let limit = &self.rules.limits[id.index()];
        let (at, lasts) = self.limiter.block(&limit.name, subject, now)?;
        Some(BlockByRule {
            limit: Arc::clone(&limit.name),
            until: at + lasts,
        })
    }

    /// The network as which each limit counts that address.
    fn networks(&self, address: IpAddr) -> impl Fn(LimitId) -> Subject {
        let (known_by, address) = (self.known_by(address), address.to_canonical());
        move |id| self.network(address, known_by, self.rules.limits[id.index()].v6_prefix)
    }

    /// Lifts the blocks by rule of that account, and ends its penalties by those limits.
    pub fn forgive_account(&self, account: AccountId) {
        for id in self.blocking.iter() {
            let limit = &self.rules.limits[id.index()];
            self.limiter.forgive(&limit.name, &of_account(account));
        }
    }

    /// Logs that a caller is blocked, if a line is due: a flood from many addresses blocks many.
    fn log_block(&self, counter: &Counter, sender: &Sender<'_>, now: Timestamp) {
        let Some(blocked) = self.blocks_log.due(now) else {
            return;
        };
        let limit = &self.rules.limits[counter.limit.index()];
        let account = sender.standing.and_then(|standing| standing.account.as_ref());
        let last_caller = match (counter.subject.is_network, account) {
            (false, Some(account)) => account.name.to_string(),
            _ => sender.address.to_string(),
        };
        let lasts = limit.block_after.map(|rule| rule.lasts).unwrap_or_default();
        info!(
            limit = %limit.name,
            last_caller,
            blocked,
            %lasts,
            "callers blocked by a limit's block_after since the last such line: too many refused requests"
        );
    }

    fn counters(&self, matching: LimitSet, sender: &Sender<'_>) -> SmallVec<[Counter; COUNTERS_INLINE]> {
        let mut counters = SmallVec::new();
        for (id, limit) in (0..).map(LimitId).zip(&self.rules.limits) {
            let matches = matching.has(id);
            if !matches && !self.blocking.has(id) {
                continue;
            }
            let mut count = |subject, number: u32, is_own: bool| {
                counters.push(Counter {
                    limit: id,
                    subject,
                    number,
                    enforced: match limit.degraded {
                        Some(degraded) if !is_own => degraded.min(number),
                        _ => number,
                    },
                    matches,
                });
            };
            let terms = LimitTerms::of(sender, id, &self.rules);
            if let (true, Some(account)) = (limit.per.account, terms.account) {
                let raise = terms.raise.map(|raise| raise.number);
                count(of_account(account), raise.unwrap_or(limit.number), raise.is_some());
            }
            if limit.per.network || (limit.per.account && terms.account.is_none()) {
                let subject = self.network(sender.address, sender.known_by, limit.v6_prefix);
                let own = terms.of_network(limit);
                count(subject, own.unwrap_or(limit.number), own.is_some());
            }
            if limit.per.global {
                count(GLOBAL, limit.number, false);
            }
        }
        counters
    }

    /// The network of the address: its IPv6 prefix has `v6_prefix` bits. `known_by` is for the usual prefix.
    fn network(&self, address: IpAddr, known_by: HashedOrigin, v6_prefix: u8) -> Subject {
        let is_usual = v6_prefix == Limit::V6_PREFIX_DEFAULT || address.is_ipv4();
        let id = if is_usual {
            known_by.network.0
        } else {
            self.pseudonyms.prefix(address, v6_prefix)
        };
        let is_wide = v6_prefix < V6_WIDER_PREFIX && !address.is_ipv4();
        Subject {
            id,
            wider: if is_wide { id } else { known_by.prefix.0 },
            region: known_by.region,
            is_network: true,
        }
    }
}

impl Matcher {
    fn is_general(&self) -> bool {
        self.host.is_none() && self.pattern.is_none() && self.methods.is_none()
    }
}

/// Whether a limit with these methods counts this one: case is ignored, and `GET` includes `HEAD`.
fn counts(methods: &[Method], method: &Method) -> bool {
    let is = |other: &Method| method.as_str().eq_ignore_ascii_case(other.as_str());
    methods.iter().any(is) || (is(&Method::HEAD) && methods.contains(&Method::GET))
}

fn of_account(account: AccountId) -> Subject {
    let id = (u64::from(account.0) + 1).wrapping_mul(SPREAD);
    Subject {
        id,
        wider: id,
        region: 0,
        is_network: false,
    }
}

/// The individual terms of a sender for one limit.
struct LimitTerms {
    /// The account; for a delegated user, the delegating account.
    account: Option<AccountId>,
    /// The number of the account or its tier; without an account, of the anonymous tier.
    raise: Option<LimitOverride>,
    /// The number of the network.
    network: Option<u32>,
}

impl LimitTerms {
    fn of(sender: &Sender<'_>, id: LimitId, rules: &Rules) -> Self {
        let limit = &rules.limits[id.index()];
        let of = |tier: &Tier| tier.limits.iter().find(|(of, _)| *of == id).map(|(_, raise)| *raise);
        let mut own = sender.network.into_iter().flat_map(|own| own.iter());
        let network = own.find(|(name, _)| *name == limit.name).map(|(_, number)| *number);
        let Some(standing) = sender.standing else {
            // The same as without a key: a different number would tell wrong keys from no key.
            return Self {
                account: None,
                raise: of(rules.tier(rules.anonymous)),
                network,
            };
        };
        let (own, tier) = standing.of_account();
        let tier = rules.tier(tier);
        let own = own.and_then(|own| own.raise(&limit.name));
        Self {
            account: standing.account.as_ref().map(|account| account.id),
            raise: own.or_else(|| of(tier)),
            network,
        }
    }

    /// The network's number if it differs from the limit's: its own, or the account's if that lifts it. Clients without an
    /// account are counted as their network.
    fn of_network(&self, limit: &Limit) -> Option<u32> {
        let raise = self.raise.map(|raise| raise.number);
        match (self.account, self.raise) {
            (None, _) => self.network.or(raise),
            (Some(_), Some(lifting)) if lifting.lifts_network || !limit.per.account => self.network.max(raise),
            (Some(_), _) => self.network,
        }
    }
}
