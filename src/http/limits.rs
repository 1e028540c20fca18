//! Which request limits a request meets, whose counters they are, and how many requests each lets in (semantics §7.3–7.6).
//!
//! Absent on purpose: counting (`policy::limits`), and how callers are told (`ratelimit`).

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use smallvec::SmallVec;
use tracing::info;

use super::routes::Host;
use super::standing::Standing;
use crate::gate::{Limiter, Stale};
use crate::path::{Folded, Pattern, Spelling};
use crate::policy::caller::{AccountId, Network, Whereabouts};
use crate::policy::limits::{Admitted, COUNTERS_INLINE, Counter, Lefts, Refused, Subject};
use crate::policy::refusal::{Exceeded, Refusal};
use crate::policy::rules::{Limit, LimitId, LimitSet, Raise, Rules, Tier};
use crate::policy::time::UnixTime;
use crate::store::{OwnNumbers, Pseudonyms};

/// Bits of an IPv6 address that make a neighbourhood.
const V6_NEIGHBOURHOOD: u8 = 48;
/// 2^64 divided by the golden ratio, odd: different numbers stay different, and lie far apart.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
/// Everybody together.
const EVERYBODY: Subject = Subject {
    id: u64::MAX,
    wider: u64::MAX,
    region: 0,
    is_network: false,
};

/// What of a request makes a limit match.
#[derive(Clone, Debug)]
pub struct LimitSpec {
    /// The host that is asked; `None`: any.
    pub host: Option<String>,
    /// The path; `None`: any.
    pub pattern: Option<Pattern>,
    /// The methods; `None`: all of them.
    pub methods: Option<Vec<Method>>,
}

/// Whom a request is counted for.
#[derive(Clone, Debug)]
pub struct Sender<'a> {
    /// Where it comes from.
    pub address: IpAddr,
    /// The same, by numbers.
    pub known_by: Whereabouts,
    /// What its network has of its own.
    pub network: Option<&'a OwnNumbers>,
    /// On whose terms it is here; `None` if its key is nobody's, or its account is turned away.
    pub standing: Option<&'a Standing>,
}

/// What the limits said of a request.
#[derive(Clone, Debug)]
pub struct Met {
    /// When, by the wall clock.
    pub at: UnixTime,
    /// What is left of each counter that it met.
    pub left: Lefts,
    /// Limits that would have refused it, were they enforced. None, if it was refused by one that is.
    pub unenforced: LimitSet,
    /// The limit that had no room, if one had none.
    pub refused: Option<LimitId>,
    /// Limits whose rules have blocked somebody because of this request.
    pub blocking: LimitSet,
}

/// What the limits said of a request that met any, and whether it may go on.
pub type Charged = (Option<Met>, Result<(), Refusal>);

/// A block that the rule of a limit has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockByRule {
    /// The limit's name.
    pub limit: Arc<str>,
    /// When it ends.
    pub until: UnixTime,
}

/// All limits, as requests meet them.
#[derive(Debug)]
pub struct Limits {
    limiter: Arc<Limiter>,
    rules: Arc<Rules>,
    pseudonyms: Pseudonyms,
    matchers: Vec<Matcher>,
    /// Those that match whatever is asked.
    general: LimitSet,
    /// Those with a rule that blocks.
    blocking: LimitSet,
}

#[derive(Debug)]
struct Matcher {
    host: Option<Host<String>>,
    pattern: Option<Pattern>,
    methods: Option<Vec<Method>>,
}

impl Limits {
    /// The limits of these rules; `specs` are in their order.
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
        }
    }

    /// Who is counted, of each limit of `rules`, which around a reload may be others than these: callers by themselves, and how many
    /// requests ever by neighbourhood.
    pub fn counted(&self, rules: &Rules) -> Vec<(usize, u64)> {
        self.limiter.counted(rules)
    }

    /// The limits, by their ids.
    pub fn rules(&self) -> &[Limit] {
        &self.rules.limits
    }

    /// The limits that are for a request of this host (as received), the path of its target, and this method. A path and a method
    /// count in every way in which a lenient upstream may read them, so that no spelling escapes its limit.
    pub fn matching(&self, host: &str, path: &str, method: &Method) -> LimitSet {
        let others = (0..)
            .map(LimitId)
            .zip(&self.matchers)
            .filter(|(id, _)| !self.general.has(*id));
        let mut set = self.general;
        // Once for all limits, if one has a path.
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
                // A path that can't be read was refused before, and one with too many readings would be.
                let folded = read().as_ref();
                folded.is_none_or(|folded| folded.as_ref().is_ok_and(|folded| pattern.matches_folded(folded)))
            };
            if host_fits && method_fits && path_fits() {
                set = set.with(id);
            }
        }
        set
    }

    /// Charges the request to all counters that it meets, or refuses it, which charges nothing: one of them has no room, or a rule
    /// has blocked whom it counts. The wall clock has just read `now`.
    ///
    /// # Errors
    /// Other limits hold than these. Nothing is charged.
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
                    self.tell_of_block(&counters[place], sender);
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

    /// The numbers by which the usual network of the address and its neighbourhood are known.
    pub fn known_by(&self, address: IpAddr) -> Whereabouts {
        self.pseudonyms.whereabouts(Network::of(address))
    }

    /// Lifts what rules have blocked of every network that a limit would count for that address, and ends its penalties by those
    /// limits. Whether there was any block.
    pub fn forgive(&self, address: IpAddr) -> bool {
        let networks = self.networks(address);
        let forgive = |id: LimitId| self.limiter.forgive(&self.rules.limits[id.index()].name, &networks(id));
        self.blocking.iter().filter(|id| forgive(*id)).count() > 0
    }

    /// The blocks by rule under which that address is at `now`.
    pub fn blocks_of(&self, address: IpAddr, now: UnixTime) -> Vec<BlockByRule> {
        let networks = self.networks(address);
        let blocks = self.blocking.iter().map(|id| self.block(id, networks(id), now));
        blocks.flatten().collect()
    }

    /// The blocks by rule under which that account is at `now`.
    pub fn blocks_of_account(&self, account: AccountId, now: UnixTime) -> Vec<BlockByRule> {
        let blocks = self.blocking.iter().map(|id| self.block(id, of_account(account), now));
        blocks.flatten().collect()
    }

    /// The block of that subject by the rule of that limit.
    fn block(&self, id: LimitId, subject: Subject, now: UnixTime) -> Option<BlockByRule> {
        let limit = &self.rules.limits[id.index()];
        let (at, lasts) = self.limiter.block(&limit.name, subject, now)?;
        Some(BlockByRule {
            limit: Arc::clone(&limit.name),
            until: at + lasts,
        })
    }

    /// As what network each limit counts that address.
    fn networks(&self, address: IpAddr) -> impl Fn(LimitId) -> Subject {
        let (known_by, address) = (self.known_by(address), address.to_canonical());
        move |id| self.network(address, known_by, self.rules.limits[id.index()].v6_prefix)
    }

    /// Lifts what rules have blocked of that account, and ends its penalties by those limits.
    pub fn forgive_account(&self, account: AccountId) {
        for id in self.blocking.iter() {
            let limit = &self.rules.limits[id.index()];
            self.limiter.forgive(&limit.name, &of_account(account));
        }
    }

    fn tell_of_block(&self, counter: &Counter, sender: &Sender<'_>) {
        let limit = &self.rules.limits[counter.limit.index()];
        let account = sender.standing.and_then(|standing| standing.account.as_ref());
        let whom = match (counter.subject.is_network, account) {
            (false, Some(account)) => account.name.to_string(),
            _ => sender.address.to_string(),
        };
        let lasts = limit.block_after.map(|rule| rule.lasts).unwrap_or_default();
        info!(limit = %limit.name, whom, %lasts, "blocked by the rule of a limit: too many refusals");
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
            let terms = Terms::of(sender, id, &self.rules);
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
                count(EVERYBODY, limit.number, false);
            }
        }
        counters
    }

    /// The network of the address, of which an IPv6 one has that many bits; `known_by` is of the usual one.
    fn network(&self, address: IpAddr, known_by: Whereabouts, v6_prefix: u8) -> Subject {
        let is_usual = v6_prefix == Limit::V6_PREFIX_DEFAULT || address.is_ipv4();
        let id = if is_usual {
            known_by.network.0
        } else {
            self.pseudonyms.prefix(address, v6_prefix)
        };
        let is_wide = v6_prefix < V6_NEIGHBOURHOOD && !address.is_ipv4();
        Subject {
            id,
            wider: if is_wide { id } else { known_by.neighbourhood.0 },
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

/// Whether a limit of these methods counts this one: in upper or lower case, and `GET` includes `HEAD`.
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

/// What a sender has of its own for one limit.
struct Terms {
    /// Its account; for a delegated user the one that asks for it.
    account: Option<AccountId>,
    /// The number of the account, or of its tier; without one, of the anonymous tier.
    raise: Option<Raise>,
    /// The number of its network.
    network: Option<u32>,
}

impl Terms {
    fn of(sender: &Sender<'_>, id: LimitId, rules: &Rules) -> Self {
        let limit = &rules.limits[id.index()];
        let of = |tier: &Tier| tier.limits.iter().find(|(of, _)| *of == id).map(|(_, raise)| *raise);
        let mut own = sender.network.into_iter().flat_map(|own| own.iter());
        let network = own.find(|(name, _)| *name == limit.name).map(|(_, number)| *number);
        let Some(standing) = sender.standing else {
            // As any stranger: with another number, guesses would be told from requests without a key.
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

    /// The number of the network, if it isn't the limit's: its own, or the one that its account lifts it to. Who has no account
    /// is its network.
    fn of_network(&self, limit: &Limit) -> Option<u32> {
        let raise = self.raise.map(|raise| raise.number);
        match (self.account, self.raise) {
            (None, _) => self.network.or(raise),
            (Some(_), Some(lifting)) if lifting.lifts_network || !limit.per.account => self.network.max(raise),
            (Some(_), _) => self.network,
        }
    }
}
