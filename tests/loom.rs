//! The gate's races, every interleaving of them (loom). Run with `RUSTFLAGS="--cfg tiergate_loom"`, see CONTRIBUTING.md.
//!
//! Each model of the gate has one slot that is used and little else, and ends with the same questions: has every job been notified, is the
//! slot free again, and is nothing left over? Those of the request limits are in `limits`, those of jobs
//! whose bodies still arrive in `uploads`.

#![cfg(tiergate_loom)]

#[path = "loom/limits.rs"]
mod limits;
#[path = "../crates/policy/tests/support/request.rs"]
mod request;
#[path = "../crates/policy/tests/support/rules.rs"]
mod rules;
#[path = "loom/uploads.rs"]
mod uploads;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use loom::future::block_on;
use loom::thread;
use tiergate::clock::Clock;
use tiergate::gate::{Committing, Entered, Gate, Generation, Permit, QueuedJob, Relocated, Relocating};
use tiergate::policy::caller::{Caller, NetworkId};
use tiergate::policy::refusal::{Reason, Refusal};
use tiergate::policy::rules::{TierId, UpstreamId};
use tiergate::policy::{Outcome, Policy};
use tiergate::store::memory::MemoryLedger;
use tiergate::store::{Commit, Fence, Ledger, LedgerEntry, Record, Settlement, Ticket};

use request::request;
use rules::RulesBuilder;

const LOW: TierId = TierId(0);
const HIGH: TierId = TierId(1);

fn gate(queue: u32) -> Arc<Gate> {
    gate_with(queue, &[1])
}

fn gate_with(queue: u32, servers: &[u32]) -> Arc<Gate> {
    gate_writing_to(queue, servers, Arc::new(MemoryLedger::default()))
}

fn gate_writing_to(queue: u32, servers: &[u32], ledger: Arc<dyn Ledger>) -> Arc<Gate> {
    let rules = rules(queue, servers)
        .tier("low", |tier| tier)
        .tier("high", |tier| tier.priority(6));
    let rules = Arc::new(rules.build());
    let policy = Policy::new(Arc::clone(&rules));
    Gate::new(policy, Generation::unobserved(rules), Clock::start(), ledger)
}

fn rules(queue: u32, servers: &[u32]) -> RulesBuilder {
    rules::rules().queue(queue).upstream("search", servers)
}

fn enter(gate: &Arc<Gate>, caller: u8, tier: TierId) -> Result<Entered, Refusal> {
    let ask = request(Caller::Network(NetworkId(caller.into())), tier);
    gate.enter(&gate.generation(), &ask).expect("nobody reloads")
}

fn running(gate: &Arc<Gate>, caller: u8) -> Permit {
    match enter(gate, caller, LOW) {
        Ok(Entered::Running(permit)) => permit,
        other => panic!("the slot is free: {other:?}"),
    }
}

fn queued(gate: &Arc<Gate>, caller: u8, tier: TierId) -> QueuedJob {
    match enter(gate, caller, tier) {
        Ok(Entered::Queued(waiting)) => waiting,
        other => panic!("the slot is taken and a queue place is free: {other:?}"),
    }
}

/// Runs a job to its end whose body is complete, and that nobody displaces.
fn serve(entered: Entered) {
    let permit = match entered {
        Entered::Running(permit) => permit,
        Entered::Queued(waiting) => block_on(waiting).expect("nobody displaces"),
        Entered::Uploading(_) => panic!("its body is complete"),
    };
    permit.settle(Outcome::Failed, 0);
}

fn nothing_is_left(gate: &Arc<Gate>) {
    assert_eq!(gate.in_flight(), 0);
    drop(running(gate, 99));
    let stats = gate.view().stats;
    assert_eq!(stats.arrived, stats.ended());
}

/// A slot is given back while the client that waits for it hangs up: the next in line gets it, or it is free.
#[test]
fn a_grant_races_with_a_hang_up() {
    loom::model(|| {
        let gate = gate(2);
        let permit = running(&gate, 1);
        let (first, second) = (queued(&gate, 2, LOW), queued(&gate, 3, LOW));
        let hang_up = thread::spawn(move || drop(first));
        let end = thread::spawn(move || permit.settle(Outcome::Failed, 0));
        let granted = block_on(second).expect("nobody else is left");
        hang_up.join().expect("no panic");
        end.join().expect("no panic");
        granted.settle(Outcome::Failed, 0);
        nothing_is_left(&gate);
    });
}

/// A waiter has polled and found nothing, then hangs up as the grant comes: the slot must not be lost.
#[test]
fn a_grant_races_with_a_waiter_that_polls_and_leaves() {
    loom::model(|| {
        let gate = gate(1);
        let permit = running(&gate, 1);
        let waiting = queued(&gate, 2, LOW);
        let end = thread::spawn(move || permit.settle(Outcome::Failed, 0));
        {
            let mut waiting = pin!(waiting);
            if let Poll::Ready(verdict) = waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                verdict.expect("nobody displaces").settle(Outcome::Failed, 0);
            }
        }
        end.join().expect("no panic");
        nothing_is_left(&gate);
    });
}

/// A higher priority displaces the job while the slot comes free: the waiter is told exactly one thing, and the other job is
/// served.
#[test]
fn a_displacement_races_with_a_grant() {
    loom::model(|| {
        let gate = gate(1);
        let permit = running(&gate, 1);
        let low = queued(&gate, 2, LOW);
        let high = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || match enter(&gate, 3, HIGH) {
                Ok(Entered::Running(permit)) => permit.settle(Outcome::Failed, 0),
                Ok(Entered::Queued(waiting)) => block_on(waiting)
                    .expect("no higher priority is queued")
                    .settle(Outcome::Failed, 0),
                other => panic!("a higher priority is never refused because the queue is full: {other:?}"),
            })
        };
        let end = thread::spawn(move || permit.settle(Outcome::Failed, 0));
        match block_on(low) {
            Ok(permit) => permit.settle(Outcome::Failed, 0),
            Err(refusal) => assert_eq!(refusal.reason(), Reason::Displaced),
        }
        high.join().expect("no panic");
        end.join().expect("no panic");
        nothing_is_left(&gate);
    });
}

/// The last slot is given back as a job arrives: it gets the slot at once or is queued, and then woken.
#[test]
fn the_last_release_races_with_an_arrival() {
    loom::model(|| {
        let gate = gate(1);
        let permit = running(&gate, 1);
        let arrival = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || serve(enter(&gate, 2, LOW).expect("there is a queue place")))
        };
        permit.settle(Outcome::Failed, 0);
        arrival.join().expect("no panic");
        nothing_is_left(&gate);
    });
}

/// The longest wait is over as the slot comes: it is the waiter's, or the waiter is refused and the slot is free.
#[test]
fn a_grant_races_with_the_longest_wait() {
    loom::model(|| {
        let gate = gate(1);
        let permit = running(&gate, 1);
        let waiting = queued(&gate, 2, LOW);
        let end = thread::spawn(move || permit.settle(Outcome::Failed, 0));
        match waiting.expire() {
            Ok(permit) => permit.settle(Outcome::Failed, 0),
            Err(refusal) => assert_eq!(refusal.reason(), Reason::WaitedTooLong),
        }
        end.join().expect("no panic");
        nothing_is_left(&gate);
    });
}

/// A shutdown begins as the slot comes free.
#[test]
fn a_shutdown_races_with_a_grant() {
    loom::model(|| {
        let gate = gate(1);
        let permit = running(&gate, 1);
        let waiting = queued(&gate, 2, LOW);
        let end = thread::spawn(move || permit.settle(Outcome::Failed, 0));
        let close = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.shut_down())
        };
        match block_on(waiting) {
            Ok(permit) => permit.settle(Outcome::Failed, 0),
            Err(refusal) => assert_eq!(refusal.reason(), Reason::ShuttingDown),
        }
        end.join().expect("no panic");
        close.join().expect("no panic");
        assert_eq!(gate.in_flight(), 0);
    });
}

/// An operator cancels the job as a slot comes free for it: it is told exactly one thing, and the slot is not lost.
#[test]
fn a_cancellation_races_with_a_grant() {
    loom::model(|| {
        let gate = gate(1);
        let permit = running(&gate, 1);
        let waiting = queued(&gate, 2, LOW);
        let jobs = gate.view().jobs;
        let job = jobs.iter().find(|job| job.running.is_none()).expect("one waits").id;
        let end = thread::spawn(move || permit.settle(Outcome::Failed, 0));
        let cancel = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.cancel(job))
        };
        let result = block_on(waiting);
        end.join().expect("no panic");
        let cancelled = cancel.join().expect("no panic");
        match result {
            Ok(permit) => permit.settle(Outcome::Failed, 0),
            Err(refusal) => assert_eq!(refusal.reason(), Reason::CancelledByOperator),
        }
        assert_eq!(gate.view().stats.cancelled_by_operator, u64::from(cancelled));
        nothing_is_left(&gate);
    });
}

/// Dispatch is paused and resumed as the slot comes free: the waiter gets it, whichever of them grants it.
#[test]
fn a_resume_races_with_a_release() {
    loom::model(|| {
        let gate = gate(1);
        let permit = running(&gate, 1);
        let waiting = queued(&gate, 2, LOW);
        gate.pause();
        let end = thread::spawn(move || permit.settle(Outcome::Failed, 0));
        let resume = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.resume())
        };
        let granted = block_on(waiting).expect("nobody displaces");
        end.join().expect("no panic");
        assert!(resume.join().expect("no panic"));
        granted.settle(Outcome::Failed, 0);
        nothing_is_left(&gate);
    });
}

/// A job whose server died moves, and another one holds the slot that it waits for.
fn moving(gate: &Arc<Gate>) -> (Relocating, Permit) {
    let (first, second) = (running(gate, 1), running(gate, 2));
    match first.relocate() {
        Relocated::Waits(moving) => (moving, second),
        other => panic!("the other server is up and has no slot free: {other:?}"),
    }
}

/// A slot is given back as the client of the job that moves hangs up: the slot must not be lost.
#[test]
fn a_grant_to_a_moving_job_races_with_its_hang_up() {
    loom::model(|| {
        let gate = gate_with(1, &[1, 1]);
        let (moving, permit) = moving(&gate);
        let waiting = queued(&gate, 3, LOW);
        let hang_up = thread::spawn(move || drop(moving));
        let end = thread::spawn(move || permit.settle(Outcome::Failed, 0));
        let granted = block_on(waiting).expect("nobody else is left");
        hang_up.join().expect("no panic");
        end.join().expect("no panic");
        granted.settle(Outcome::Failed, 0);
        assert_eq!(gate.view().stats.cancelled, 1);
        nothing_is_left(&gate);
    });
}

/// As above, but the job has looked and found nothing, and its outcome is the one its holder gives.
#[test]
fn a_grant_to_a_moving_job_races_with_its_deadline() {
    loom::model(|| {
        let gate = gate_with(1, &[1, 1]);
        let (mut moving, permit) = moving(&gate);
        let end = thread::spawn(move || block_on(permit.succeed(200)).expect("memory never fails"));
        match pin!(&mut moving).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => permit.settle(Outcome::Failed, 0),
            Poll::Pending => moving.settle(Outcome::Failed),
        }
        end.join().expect("no panic");
        assert_eq!(gate.view().stats.failed, 1);
        nothing_is_left(&gate);
    });
}

/// The slot is given back as the job begins to move: it has it at once or is woken.
#[test]
fn a_release_races_with_a_move() {
    loom::model(|| {
        let gate = gate_with(1, &[1, 1]);
        let (first, second) = (running(&gate, 1), running(&gate, 2));
        let end = thread::spawn(move || second.settle(Outcome::Failed, 0));
        let moved = match first.relocate() {
            Relocated::To(permit) => permit,
            Relocated::Waits(moving) => block_on(moving),
            Relocated::Nowhere(_) => panic!("the other server is up"),
        };
        assert_eq!(moved.server().index(), 1);
        end.join().expect("no panic");
        moved.settle(Outcome::Failed, 0);
        nothing_is_left(&gate);
    });
}

/// The server is back as the slot of the other one comes free: the job has one of them, the next in line the other.
#[test]
fn a_recovery_races_with_a_grant_to_a_moving_job() {
    loom::model(|| {
        let gate = gate_with(1, &[1, 1]);
        let (moving, permit) = moving(&gate);
        let waiting = queued(&gate, 3, LOW);
        let back = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.server_up(UpstreamId(0), tiergate::policy::rules::ServerId(0)))
        };
        let end = thread::spawn(move || permit.settle(Outcome::Failed, 0));
        let (moved, granted) = (block_on(moving), block_on(waiting).expect("nobody displaces"));
        assert_ne!(moved.server(), granted.server());
        back.join().expect("no panic");
        end.join().expect("no panic");
        moved.settle(Outcome::Failed, 0);
        granted.settle(Outcome::Failed, 0);
        nothing_is_left(&gate);
    });
}

/// Hands out commits that the test settles.
#[derive(Debug, Default)]
struct SlowLedger {
    tickets: parking_lot::Mutex<Vec<Ticket>>,
}

impl Ledger for SlowLedger {
    fn is_available(&self) -> bool {
        true
    }

    fn note(&self, _: LedgerEntry) {}

    fn commit(&self, _: Record) -> Commit {
        let (commit, ticket) = Commit::pending();
        self.tickets.lock().push(ticket);
        commit
    }

    fn fence(&self) -> Fence {
        unreachable!("no model reloads")
    }
}

/// A success that is being written down, and the end at which the disk says what became of it.
fn committing() -> (Arc<Gate>, Committing, Ticket) {
    let ledger = Arc::new(SlowLedger::default());
    let gate = gate_writing_to(1, &[1], Arc::clone(&ledger) as _);
    let committing = running(&gate, 1).succeed(200);
    let ticket = ledger.tickets.lock().pop().expect("it was asked for");
    (gate, committing, ticket)
}

/// The record becomes durable as the wait for it ends: the job is debited and so is the record, or neither.
#[test]
fn a_commit_races_with_the_commit_timeout() {
    loom::model(|| {
        let (gate, committing, ticket) = committing();
        let disk = thread::spawn(move || ticket.settle(Ok(())));
        let told = committing.give_up();
        let settlement = disk.join().expect("no panic");
        let stats = gate.view().stats;
        match told {
            Ok(()) => assert_eq!((stats.succeeded, settlement), (1, Settlement::Stands)),
            Err(_) => assert_eq!((stats.failed, settlement), (1, Settlement::Withdrawn)),
        }
        nothing_is_left(&gate);
    });
}

/// The record becomes durable as its waiter looks: the waiter sees it, or is woken.
#[test]
fn a_commit_races_with_its_waiter() {
    loom::model(|| {
        let (gate, committing, ticket) = committing();
        let disk = thread::spawn(move || ticket.settle(Ok(())));
        block_on(committing).expect("it is durable");
        assert_eq!(disk.join().expect("no panic"), Settlement::Stands);
        nothing_is_left(&gate);
    });
}

/// The client is gone, and nothing waits for the commit any more, as the record becomes durable.
#[test]
fn a_commit_races_with_its_waiter_that_leaves() {
    loom::model(|| {
        let (gate, committing, ticket) = committing();
        let disk = thread::spawn(move || ticket.settle(Ok(())));
        drop(committing);
        let stands = disk.join().expect("no panic") == Settlement::Stands;
        assert_eq!(gate.view().stats.succeeded, u64::from(stands));
        nothing_is_left(&gate);
    });
}
