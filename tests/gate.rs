//! What the gate and the limiter add to the policy's decisions: locks without deadlocks, and one set of rules at a time.

#[path = "../crates/policy/tests/support/request.rs"]
mod request;
#[path = "../crates/policy/tests/support/rules.rs"]
mod rules;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tiergate::clock::Clock;
use tiergate::gate::{Entered, Gate, Generation, Limiter, QueuedJob, Stale, UploadingJob};
use tiergate::policy::caller::{Caller, NetworkId};
use tiergate::policy::limits::{Counter, SHARDS, Subject};
use tiergate::policy::refusal::Reason;
use tiergate::policy::rules::{Kind, LimitId, TierId};
use tiergate::policy::time::{Span, UnixTime};
use tiergate::policy::{End, Outcome, Policy, State};
use tiergate::store::memory::MemoryLedger;
use tiergate::store::{LedgerEntry, ServerName};

use request::{RequestExt, request};
use rules::{LimitExt, limit, rules};

const DECISIONS: u32 = 50_000;
/// Without a deadlock it takes a tenth of a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// In the shard of that number.
fn counter(shard: u64) -> Counter {
    Counter {
        limit: LimitId(0),
        subject: Subject {
            id: shard,
            wider: shard << (u64::BITS - SHARDS.trailing_zeros()),
            region: 0,
            is_network: false,
        },
        number: u32::MAX,
        enforced: u32::MAX,
        matches: true,
    }
}

/// A decision takes the locks of its shards in the order of their numbers, whatever the order of its counters, so that no two wait for
/// each other.
#[test]
fn shards_are_locked_in_one_order() {
    let rules = Arc::new(
        rules()
            .limits([limit("requests", u32::MAX, Span::from_secs(60)).kind(Kind::Fixed)])
            .callers_max(1_000)
            .build(),
    );
    let limiter = Limiter::new(Arc::clone(&rules), Clock::start());
    let (told, ended) = mpsc::channel();
    for order in [[1_u64, 2, 3], [3, 2, 1], [2, 3, 1]] {
        let (limiter, told, counters) = (Arc::clone(&limiter), told.clone(), order.map(counter));
        let rules = Arc::clone(&rules);
        std::thread::spawn(move || {
            let decide = || limiter.decide(&rules, &counters, UnixTime::default());
            let admits = || decide().is_ok_and(|(_, decided)| decided.is_ok());
            let admitted = (0..DECISIONS).filter(|_| admits()).count();
            told.send(admitted as u32).expect("the test waits for it");
        });
    }
    for _ in 0..3 {
        let admitted = ended.recv_timeout(PATIENCE).expect("no deadlock");
        assert_eq!(admitted, DECISIONS);
    }
}

#[test]
fn a_request_by_an_older_generation_takes_nothing() {
    let generation = |concurrency| {
        let rules = rules().tier("free", |tier| tier.concurrency(concurrency));
        Generation::unobserved(Arc::new(rules.upstream("search", &[4]).build()))
    };
    let (before, after) = (generation(5), generation(1));
    let policy = Policy::new(Arc::clone(&before.rules));
    let ledger = Arc::new(MemoryLedger::default());
    let gate = Gate::new(policy, Arc::clone(&before), Clock::start(), ledger);
    gate.reload(Arc::clone(&after), || {});
    let ask = request(Caller::Network(NetworkId(1)), TierId(0));
    assert!(matches!(gate.enter(&before, &ask), Err(Stale)));
    assert_eq!((gate.in_flight(), gate.view().stats.arrived), (0, 0));
    let Ok(Ok(Entered::Running(permit))) = gate.enter(&after, &ask) else {
        panic!("there are slots")
    };
    let refused = gate.enter(&after, &ask).expect("it is the present one");
    assert!(refused.is_err(), "by its terms it has one job");
    assert_eq!(gate.view().stats.arrived, 2);
    permit.settle(Outcome::Failed, 0);
}

#[test]
fn aligned_limits_read_the_wall_clock_again() {
    for (kind, again) in [(Kind::Fixed, false), (Kind::Sliding, false), (Kind::Aligned, true)] {
        let rules = Arc::new(
            rules()
                .limits([limit("requests", 9, Span::from_secs(60)).kind(kind)])
                .callers_max(1_000)
                .build(),
        );
        let limiter = Limiter::new(Arc::clone(&rules), Clock::start());
        for counters in [vec![counter(1)], vec![counter(1), counter(2)]] {
            let (at, decided) = limiter
                .decide(&rules, &counters, UnixTime::default())
                .expect("its rules hold");
            assert!(decided.is_ok());
            assert_eq!(at.wall > UnixTime::default(), again, "{kind:?}, {}", counters.len());
        }
    }
}

/// A waker that looks at the gate as it is woken: under the lock that would be a deadlock.
struct Looks(Arc<Gate>, AtomicU32);

impl Wake for Looks {
    fn wake(self: Arc<Self>) {
        self.0.in_flight();
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

fn queued(gate: &Arc<Gate>, number: u64) -> QueuedJob {
    let ask = request(Caller::Network(NetworkId(number)), TierId(0));
    match gate.enter(&gate.generation(), &ask) {
        Ok(Ok(Entered::Queued(waiting))) => waiting,
        other => panic!("it should be queued: {other:?}"),
    }
}

fn with_servers(servers: &[u32]) -> Arc<Generation> {
    Generation::unobserved(Arc::new(
        rules().tier("free", |tier| tier).upstream("search", servers).build(),
    ))
}

fn gate_of(generation: &Arc<Generation>) -> Arc<Gate> {
    let policy = Policy::new(Arc::clone(&generation.rules));
    let ledger = Arc::new(MemoryLedger::default());
    Gate::new(policy, Arc::clone(generation), Clock::start(), ledger)
}

/// Polls it, and lets that waker know when there is a result.
fn poll(waiting: &mut QueuedJob, looks: &Arc<Looks>) -> bool {
    let waker = Waker::from(Arc::clone(looks));
    match Pin::new(waiting).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(Ok(permit)) => permit.settle(Outcome::Failed, 0),
        Poll::Ready(Err(_)) => {}
        Poll::Pending => return false,
    }
    true
}

#[test]
fn what_operators_do_wakes_nobody_under_the_lock() {
    type Act = fn(&Gate);
    fn first() -> ServerName {
        ServerName::new("search", "0")
    }
    let acts: [(&str, Act, Act); 3] = [
        ("resume", |gate| assert!(gate.pause()), |gate| assert!(gate.resume())),
        ("undrain", |gate| gate.drain(first()), |gate| gate.undrain(&first())),
        (
            "cancel",
            |gate| assert!(gate.pause()),
            |gate| {
                let job = gate.view().jobs[0].id;
                assert!(gate.cancel(job) && !gate.cancel(job));
            },
        ),
    ];
    for (name, before, act) in acts {
        let gate = gate_of(&with_servers(&[1]));
        let looks = Arc::new(Looks(Arc::clone(&gate), AtomicU32::new(0)));
        before(&gate);
        let mut waiting = queued(&gate, 1);
        assert!(!poll(&mut waiting, &looks), "{name}");
        act(&gate);
        assert_eq!(looks.1.load(Ordering::Relaxed), 1, "{name}");
        assert!(poll(&mut waiting, &looks), "{name}");
        assert_eq!(gate.in_flight(), 0, "{name}");
    }
}

/// Known by name: a server that a reload brings is drained before it gets a job, and one taken back while it is away isn't.
#[test]
fn a_drain_waits_for_its_server() {
    let second = ServerName::new("search", "1");
    let (one, two) = (with_servers(&[0]), with_servers(&[0, 1]));
    let gate = gate_of(&one);
    gate.drain(second.clone());
    let waiting = queued(&gate, 1);
    gate.reload(Arc::clone(&two), || {});
    assert_eq!(gate.view().pools, [(0, 0)]);
    gate.reload(Arc::clone(&one), || {});
    gate.undrain(&second);
    gate.reload(two, || {});
    assert_eq!(gate.view().pools, [(1, 1)]);
    drop(waiting);
}

/// A gate, and what it writes down.
fn recorded(generation: Arc<Generation>) -> (Arc<Gate>, Arc<MemoryLedger>) {
    let ledger = Arc::new(MemoryLedger::default());
    let policy = Policy::new(Arc::clone(&generation.rules));
    let gate = Gate::new(policy, generation, Clock::start(), Arc::clone(&ledger) as _);
    (gate, ledger)
}

/// How the recorded jobs ended, with what they cost.
fn ends(ledger: &MemoryLedger) -> Vec<(End, u32)> {
    let job = |entry| match entry {
        LedgerEntry::Job(record) => Some((record.end, record.cost)),
        LedgerEntry::Refused(_) => None,
    };
    ledger.entries().into_iter().filter_map(job).collect()
}

#[test]
fn a_cancelled_job_is_recorded_as_such() {
    let (gate, ledger) = recorded(with_servers(&[0]));
    let mut waiting = queued(&gate, 1);
    assert!(gate.cancel(gate.view().jobs[0].id));
    let looks = Arc::new(Looks(Arc::clone(&gate), AtomicU32::new(0)));
    assert!(poll(&mut waiting, &looks));
    assert_eq!(ends(&ledger), [(End::CancelledByOperator, 1)]);
}

fn uploading(gate: &Arc<Gate>, number: u64, tier: u16) -> UploadingJob {
    let ask = request(Caller::Network(NetworkId(number)), TierId(tier)).uploading();
    match gate.enter(&gate.generation(), &ask) {
        Ok(Ok(Entered::Uploading(uploading))) => uploading,
        other => panic!("its body arrives later: {other:?}"),
    }
}

/// Looks for a refusal, and lets that waker know when there is one.
fn refusal(uploading: &mut UploadingJob, looks: &Arc<Looks>) -> Option<Reason> {
    let waker = Waker::from(Arc::clone(looks));
    match Pin::new(uploading).poll(&mut Context::from_waker(&waker)) {
        Poll::Ready(refusal) => Some(refusal.reason()),
        Poll::Pending => None,
    }
}

#[test]
fn an_upload_that_ends_is_recorded_once() {
    let (gate, ledger) = recorded(with_servers(&[1]));
    drop(uploading(&gate, 1, 0));
    assert_eq!(ends(&ledger), [(End::UploadEnded, 1)]);
    // Whether its task hears of the shutdown, goes at that moment, or has the body just then.
    let [mut hears, goes, arrives] = [1, 2, 3].map(|number| uploading(&gate, number, 0));
    let looks = Arc::new(Looks(Arc::clone(&gate), AtomicU32::new(0)));
    assert_eq!(refusal(&mut hears, &looks), None);
    gate.shut_down();
    assert_eq!(looks.1.load(Ordering::Relaxed), 1, "woken, and not under the lock");
    assert_eq!(refusal(&mut hears, &looks), Some(Reason::ShuttingDown));
    drop((hears, goes));
    let refused = arrives.arrived().expect_err("it was refused before");
    assert_eq!(refused.reason(), Reason::ShuttingDown);
    assert_eq!(ends(&ledger), [(End::UploadEnded, 1); 4]);
    assert_eq!((gate.in_flight(), gate.view().stats.upload_ended), (0, 4));
}

/// A refusal is counted as one, whenever it is decided: no job is recorded.
#[test]
fn an_upload_refused_when_complete_is_no_recorded_job() {
    let generation = rules().queue(0).tier("free", |tier| tier).upstream("search", &[1]);
    let (gate, ledger) = recorded(Generation::unobserved(Arc::new(generation.build())));
    let [slow, quick] = [1, 2].map(|number| uploading(&gate, number, 0));
    let Ok(Entered::Running(permit)) = quick.arrived() else {
        panic!("the slot is free")
    };
    let refused = slow.arrived().expect_err("the slot is taken, and there is no queue");
    assert_eq!(refused.reason(), Reason::QueueFull);
    assert_eq!((ends(&ledger).len(), gate.in_flight()), (0, 1));
    permit.settle(Outcome::Failed, 0);
    let stats = gate.view().stats;
    assert_eq!((stats.arrived, stats.refused, stats.failed), (2, 1, 1));
}

#[test]
fn an_arrival_that_displaces_wakes_nobody_under_the_lock() {
    let tiers = rules()
        .queue(1)
        .tier("low", |tier| tier)
        .tier("high", |tier| tier.priority(6));
    let generation = Generation::unobserved(Arc::new(tiers.upstream("search", &[0]).build()));
    let gate = gate_of(&generation);
    let looks = Arc::new(Looks(Arc::clone(&gate), AtomicU32::new(0)));
    let high = uploading(&gate, 1, 1);
    let mut low = queued(&gate, 2);
    assert!(!poll(&mut low, &looks));
    let arrived = high.arrived();
    assert!(matches!(arrived, Ok(Entered::Queued(_))), "{arrived:?}");
    assert_eq!(looks.1.load(Ordering::Relaxed), 1);
    assert!(poll(&mut low, &looks), "it is displaced");
    assert_eq!(gate.view().stats.displaced, 1);
}

/// By tier, by caller and by state, until the body is complete.
#[test]
fn uploads_are_shown_as_such() {
    let gate = gate_of(&with_servers(&[1]));
    let jobs = |gate: &Gate| {
        let balance = gate.account_of(&Caller::Network(NetworkId(1)), std::iter::empty());
        let levels = gate.levels();
        let of_tier = (levels.in_flight[TierId(0)], levels.uploading[TierId(0)]);
        (of_tier, (balance.jobs, balance.uploading, balance.waiting))
    };
    let upload = uploading(&gate, 1, 0);
    assert_eq!(jobs(&gate), ((1, 1), (1, 1, 0)));
    assert_eq!(gate.view().jobs[0].state, State::Uploading);
    assert_eq!(gate.snapshot().places.map(|places| places.len()), Some(0));
    gate.pause();
    let queued = upload.arrived();
    assert_eq!(jobs(&gate), ((1, 0), (1, 0, 1)));
    assert_eq!(gate.snapshot().places.map(|places| places.len()), Some(1));
    drop(queued);
    assert_eq!(jobs(&gate), ((0, 0), (0, 0, 0)));
}
