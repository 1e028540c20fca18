//! Request limits while they are reloaded, every interleaving: does a caller get more than its limit, is it charged twice, and does
//! a request that is told that its rules are stale find the newest ones?

use std::sync::Arc;

use loom::thread;
use tiergate::clock::Clock;
use tiergate::gate::{Entered, Gate, Generation, Limiter, Stale};
use tiergate::policy::caller::{Caller, NetworkId};
use tiergate::policy::limits::{Counter, SHARDS, Subject};
use tiergate::policy::rules::{LimitId, Rules};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::policy::{Outcome, Policy};
use tiergate::store::memory::MemoryLedger;

use super::request::request;
use super::rules::limit;
use super::{LOW, rules};

/// A model in which all shards are locked several times.
fn with_every_shard(model: impl Fn() + Sync + Send + 'static) {
    let mut every = loom::model::Builder::new();
    every.max_branches = 32 * SHARDS;
    every.check(model);
}

/// Limits of one request each.
fn limits(names: &[&str]) -> Arc<Rules> {
    let limit = |name: &&str| limit(name, 1, Span::from_secs(3_600));
    let rules = rules(1, &[1]).tier("low", |tier| tier);
    Arc::new(rules.limits(names.iter().map(limit)).build())
}

/// Whether a request that meets all limits of these rules, in two shards, is admitted.
fn is_admitted(limiter: &Limiter, rules: &Arc<Rules>) -> Result<bool, Stale> {
    let ids = (0..).map(LimitId).take(rules.limits.len());
    let counters = ids.flat_map(|limit| {
        [1, u64::MAX].map(|wider| Counter {
            limit,
            subject: Subject {
                id: 7,
                wider,
                region: 0,
                is_network: true,
            },
            number: 1,
            enforced: 1,
            matches: true,
        })
    });
    let counters: Vec<Counter> = counters.collect();
    let (_, decided) = limiter.decide(rules, &counters, UnixTime::default())?;
    Ok(decided.is_ok())
}

/// Rules that are in force, as requests find them.
struct Published(loom::sync::Mutex<Arc<Rules>>);

impl Published {
    fn new(rules: &Arc<Rules>) -> Arc<Self> {
        Arc::new(Self(loom::sync::Mutex::new(Arc::clone(rules))))
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.0.lock().expect("no panic"))
    }

    /// Lets the limits and requests go by these.
    fn reload(&self, limiter: &Limiter, rules: &Arc<Rules>) {
        limiter.reload(rules, || *self.0.lock().expect("no panic") = Arc::clone(rules));
    }
}

/// A request that came by the old rules is decided before a reload, or told that they are stale, in all its shards. Then it finds the
/// new ones, and is charged once: by which it is decided.
#[test]
fn a_decision_races_with_a_reload() {
    with_every_shard(|| {
        let (old, new) = (limits(&["gone", "kept"]), limits(&["kept", "new"]));
        let limiter = Limiter::new(Arc::clone(&old), Clock::start());
        let published = Published::new(&old);
        let asking = {
            let (limiter, published) = (Arc::clone(&limiter), Arc::clone(&published));
            thread::spawn(move || {
                let by = published.rules();
                let first = is_admitted(&limiter, &by);
                let after = |_: Stale| is_admitted(&limiter, &published.rules()).map(|is_admitted| (is_admitted, 2));
                first.map(|is_admitted| (is_admitted, 0)).or_else(after)
            })
        };
        published.reload(&limiter, &new);
        let decided = asking.join().expect("no panic");
        let (is_first, by_new) = decided.expect("a request with stale rules finds the new ones");
        assert!(is_first, "no request came before it");
        // Of each shard one is counted by what was kept, and by what is new only if that decided.
        let [kept, counted_by_new] = limiter.counted(&new)[..] else {
            panic!("there are two limits")
        };
        assert_eq!(kept, (2, 0));
        assert!(
            counted_by_new == (by_new, 0) || counted_by_new == (2, 0),
            "{counted_by_new:?}"
        );
        assert_eq!(is_admitted(&limiter, &new), Ok(false));
        assert_eq!(is_admitted(&limiter, &old), Err(Stale));
    });
}

/// Two reloads at once: the one or the other holds, in all shards, and is the one that requests find.
#[test]
fn two_reloads_race() {
    with_every_shard(|| {
        let (old, one, other) = (limits(&["a", "b"]), limits(&["b"]), limits(&["b", "c"]));
        let limiter = Limiter::new(Arc::clone(&old), Clock::start());
        let published = Published::new(&old);
        assert_eq!(is_admitted(&limiter, &old), Ok(true));
        let first = {
            let (limiter, published, one) = (Arc::clone(&limiter), Arc::clone(&published), Arc::clone(&one));
            thread::spawn(move || published.reload(&limiter, &one))
        };
        published.reload(&limiter, &other);
        first.join().expect("no panic");
        assert_eq!(
            is_admitted(&limiter, &published.rules()),
            Ok(false),
            "b is among all of them"
        );
        assert_eq!(limiter.counted(&other)[0], (2, 0));
    });
}

/// A reload holds all shards while it locks the gate state; a request locks one after the other. None waits for ever, and one
/// that is told that its generation is stale finds the newest one, by which the gate admits it.
#[test]
fn a_request_meets_a_reload_of_limits_and_gate() {
    with_every_shard(|| {
        let generations = [limits(&["a"]), limits(&["a", "b"])].map(Generation::unobserved);
        let [old, new] = &generations;
        let limiter = Limiter::new(Arc::clone(&old.rules), Clock::start());
        let policy = Policy::new(Arc::clone(&old.rules));
        let gate = Gate::new(
            policy,
            Arc::clone(old),
            Clock::start(),
            Arc::new(MemoryLedger::default()),
        );
        let newest = Arc::new(loom::sync::Mutex::new(Arc::clone(old)));
        let reloading = {
            let (limiter, gate, newest, new) = (
                Arc::clone(&limiter),
                Arc::clone(&gate),
                Arc::clone(&newest),
                Arc::clone(new),
            );
            thread::spawn(move || {
                let put_in_force = || *newest.lock().expect("no panic") = Arc::clone(&new);
                drop(limiter.reload(&new.rules, || gate.reload(Arc::clone(&new), put_in_force)));
            })
        };
        let find = || Arc::clone(&newest.lock().expect("no panic"));
        let ask = request(Caller::Network(NetworkId(1)), LOW);
        let mut by = find();
        if is_admitted(&limiter, &by.rules).is_err() {
            by = find();
            assert_eq!(is_admitted(&limiter, &by.rules), Ok(true));
        }
        let entered = gate.enter(&by, &ask).or_else(|Stale| gate.enter(&find(), &ask));
        let Ok(Ok(Entered::Running(pass))) = entered else {
            panic!("there is a slot: {entered:?}")
        };
        pass.settle(Outcome::Failed, 0);
        reloading.join().expect("no panic");
        assert_eq!(limiter.counted(&new.rules)[0], (2, 0), "it is charged once");
        assert_eq!(gate.in_flight(), 0);
    });
}
