//! Races of jobs whose bodies still arrive.

use std::sync::Arc;

use loom::future::block_on;
use loom::thread;
use tiergate::gate::{Entered, Gate, UploadingJob};
use tiergate::policy::Outcome;
use tiergate::policy::caller::{Caller, NetworkId};
use tiergate::policy::refusal::{Reason, Refusal};

use super::request::{RequestExt, request};
use super::{LOW, gate, nothing_is_left, running, serve};

fn uploading(gate: &Arc<Gate>, caller: u8) -> UploadingJob {
    let ask = request(Caller::Network(NetworkId(caller.into())), LOW).uploading();
    match gate.enter(&gate.generation(), &ask).expect("nobody reloads") {
        Ok(Entered::Uploading(uploading)) => uploading,
        other => panic!("its body arrives later: {other:?}"),
    }
}

/// A body is complete as a slot is given back: the job gets it at once, or is queued and then woken.
#[test]
fn an_arrival_races_with_a_release() {
    loom::model(|| {
        let gate = gate(1);
        let permit = running(&gate, 1);
        let uploading = uploading(&gate, 2);
        let end = thread::spawn(move || permit.settle(Outcome::Failed, 0));
        serve(uploading.arrived().expect("there is a queue place"));
        end.join().expect("no panic");
        nothing_is_left(&gate);
    });
}

/// Two bodies are complete for one place: one job gets it, and the other one is refused and holds nothing.
#[test]
fn two_arrivals_race_for_one_place() {
    loom::model(|| {
        let gate = gate(0);
        let (first, second) = (uploading(&gate, 1), uploading(&gate, 2));
        let other = thread::spawn(move || first.arrived());
        let results = [second.arrived(), other.join().expect("no panic")];
        let refused = results.iter().filter_map(|result| result.as_ref().err());
        assert_eq!(refused.map(Refusal::reason).collect::<Vec<_>>(), [Reason::QueueFull]);
        assert_eq!(gate.in_flight(), 1);
        drop(results);
        nothing_is_left(&gate);
    });
}

/// A shutdown begins as the body is complete: the job is refused, or has its slot.
#[test]
fn a_shutdown_races_with_an_arrival() {
    loom::model(|| {
        let gate = gate(1);
        let uploading = uploading(&gate, 1);
        let close = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.shut_down())
        };
        let arrived = uploading.arrived();
        close.join().expect("no panic");
        let ended = gate.view().stats.upload_ended;
        match arrived {
            Ok(Entered::Running(permit)) => {
                assert_eq!(ended, 0);
                permit.settle(Outcome::Failed, 0);
            }
            Err(refusal) => assert_eq!((refusal.reason(), ended), (Reason::ShuttingDown, 1)),
            other => panic!("the slot is free: {other:?}"),
        }
        assert_eq!(gate.in_flight(), 0);
    });
}

/// A shutdown begins as the client hangs up: the upload ends once.
#[test]
fn a_shutdown_races_with_the_end_of_an_upload() {
    loom::model(|| {
        let gate = gate(1);
        let uploading = uploading(&gate, 1);
        let close = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.shut_down())
        };
        drop(uploading);
        close.join().expect("no panic");
        assert_eq!((gate.view().stats.upload_ended, gate.in_flight()), (1, 0));
    });
}

/// A shutdown begins as the task of an upload looks: it sees the refusal, or is woken.
#[test]
fn a_shutdown_races_with_an_upload_that_polls() {
    loom::model(|| {
        let gate = gate(1);
        let uploading = uploading(&gate, 1);
        let close = {
            let gate = Arc::clone(&gate);
            thread::spawn(move || gate.shut_down())
        };
        assert_eq!(block_on(uploading).reason(), Reason::ShuttingDown);
        close.join().expect("no panic");
        assert_eq!((gate.view().stats.upload_ended, gate.in_flight()), (1, 0));
    });
}
