//! A job whose server could not be reached moves to another one (rules §2.7).

use tiergate_policy::rules::{Priority, ServerId};
use tiergate_policy::time::Span;
use tiergate_policy::{Grant, JobId, Outcome, Policy, Relocation, State};

use super::house::{House, POOL, ask, caller, rules};
use super::request::RequestExt;
use super::rules::RulesBuilder;

const FIRST: ServerId = ServerId(0);
const SECOND: ServerId = ServerId(1);

fn servers(slots: &[u32]) -> RulesBuilder {
    rules(8, 0).slots("search", slots)
}

/// A job on each of two servers of one slot.
fn two_busy_servers() -> (House, [JobId; 2]) {
    let mut house = House::new(servers(&[1, 1]));
    let [first, second] = [1, 2].map(|number| house.runs(&ask(number, 0)));
    assert_eq!((first.server, second.server), (FIRST, SECOND));
    (house, [first.job, second.job])
}

fn relocate(house: &mut House, job: JobId) -> Relocation {
    house.policy.relocate(job, house.now)
}

fn state(policy: &Policy, job: JobId) -> State {
    policy.job(job).expect("it is in the house").state
}

/// Whose the slot is, and where.
fn of(grant: Option<Grant>) -> Option<(JobId, ServerId)> {
    grant.map(|grant| (grant.job, grant.server))
}

/// The story: a job was placed on the first server, moved to the second, and ended. A server's last arrival was counted
/// in jobs placed, which a move didn't add to, so both servers seemed to have got a job at the same moment, and of the two
/// the one named first in the file was taken to have been idle for longer, though it might have got its job last.
#[test]
fn a_relocated_job_makes_its_server_the_last_used() {
    let mut house = House::new(servers(&[1, 1, 1]));
    let first = house.runs(&ask(1, 0));
    let second = house.runs(&ask(2, 0));
    assert_eq!((first.server, second.server), (ServerId(0), ServerId(1)));
    house.succeeds(first.job);
    house.policy.server_down(POOL, ServerId(2));

    assert_eq!(relocate(&mut house, second.job), Relocation::To(FIRST));
    house.policy.server_up(POOL, SECOND, house.now);
    house.succeeds(second.job);

    assert_eq!(house.runs(&ask(3, 0)).server, SECOND, "the first one got a job later");
}

/// A move isn't a second job: it counts neither as an arrival nor as a slot time, and the slot that was left is free.
#[test]
fn a_moved_job_holds_one_slot() {
    let mut house = House::new(servers(&[1, 1, 1]));
    let job = house.runs(&ask(1, 0)).job;
    assert!(matches!(relocate(&mut house, job), Relocation::To(to) if to != FIRST));
    assert_eq!(house.policy.slots(POOL), 2, "the server that was left is down");
    assert_eq!(house.policy.running(POOL), 1);
    assert_eq!(house.policy.jobs_of(&caller(1)), 1);
    house.succeeds(job);
    assert_eq!(house.policy.stats().succeeded, 1);
    assert_eq!(house.policy.running(POOL), 0);
}

/// The story: one of two workers died under load. Every job that had been sent there found the other one's slots taken,
/// since people were waiting for them, and was told 502 although a worker was well and the retry is promised.
#[test]
fn a_relocating_job_gets_the_next_slot_before_the_queue() {
    let (mut house, [first, second]) = two_busy_servers();
    let highest = house.sits(&ask(3, 6));
    house.pass(Span::from_secs(1));
    assert_eq!(relocate(&mut house, first), Relocation::Waits);
    assert_eq!(state(&house.policy, first), State::Moving { since: house.now });
    assert_eq!(house.policy.running(POOL), 1, "it holds no slot");
    assert_eq!(house.policy.waiting().iter().sum::<u32>(), 1, "nor a seat");
    assert_eq!(house.policy.jobs_of(&caller(1)), 1, "but its caller's concurrency");

    house.pass(Span::from_secs(2));
    let moved = house.succeeds(second).expect("somebody moves");
    assert_eq!((moved.job, moved.server), (first, SECOND));
    assert_eq!(moved.waited, Span::from_secs(2), "since it gave its slot up");
    assert_eq!(of(house.succeeds(first)), Some((highest, SECOND)));
}

#[test]
fn several_that_move_go_in_the_order_of_their_moving() {
    let mut house = House::new(servers(&[2, 1]));
    let jobs = [1, 2, 3].map(|number| house.runs(&ask(number, 0)));
    let there = |server| {
        jobs.iter()
            .filter(move |grant| grant.server == server)
            .map(|grant| grant.job)
    };
    let [first, second]: [JobId; 2] = there(FIRST).collect::<Vec<_>>().try_into().expect("two slots");
    let other = there(SECOND).next().expect("one slot");
    assert_eq!(relocate(&mut house, second), Relocation::Waits);
    assert_eq!(relocate(&mut house, first), Relocation::Waits);
    assert_eq!(of(house.succeeds(other)), Some((second, SECOND)));
    assert_eq!(of(house.succeeds(second)), Some((first, SECOND)));
}

#[test]
fn a_server_that_is_back_serves_those_who_move_first() {
    let (mut house, [first, second]) = two_busy_servers();
    let waiting = house.sits(&ask(3, 6));
    assert_eq!(relocate(&mut house, first), Relocation::Waits);
    let grants = house.policy.server_up(POOL, FIRST, house.now);
    assert_eq!(grants.iter().map(|grant| grant.job).collect::<Vec<_>>(), [first]);
    assert_eq!(of(house.succeeds(second)), Some((waiting, SECOND)));
}

#[test]
fn with_no_other_server_up_a_job_stays_where_it_is() {
    for slots in [&[1][..], &[1, 0]] {
        let mut house = House::new(servers(slots));
        let job = house.runs(&ask(1, 0)).job;
        assert_eq!(relocate(&mut house, job), Relocation::Nowhere);
        assert!(matches!(
            state(&house.policy, job),
            State::Running { server: FIRST, .. }
        ));
        assert_eq!(house.policy.slots(POOL), 0, "the server is down all the same");
    }
}

/// Displacement, the longest wait, the closing door and a hang-up in a seat are of those who have a seat.
#[test]
fn who_moves_is_not_turned_out() {
    let (mut house, [first, second]) = two_busy_servers();
    assert_eq!(relocate(&mut house, first), Relocation::Waits);
    let seated: Vec<JobId> = (10..18).map(|number| house.sits(&ask(number, 1))).collect();
    let (_, displaced) = house.displaces(&ask(3, 6));
    assert!(
        seated.contains(&displaced),
        "a job of priority 0 moves, and keeps its place"
    );
    house.pass(Span::from_secs(3_600));
    assert_eq!(house.policy.expire(first, house.now), None);
    assert!(!house.policy.hang_up(first));
    assert!(house.policy.shut_down().iter().all(|out| out.job != first));
    assert_eq!(of(house.succeeds(second)), Some((first, SECOND)));
    house.succeeds(first);
    assert_eq!(house.policy.in_flight(), 0);
}

/// The last other server goes down, slots become fewer, rules change: who moves goes on moving.
#[test]
fn who_moves_waits_whatever_becomes_of_the_servers() {
    let (mut house, [first, second]) = two_busy_servers();
    assert_eq!(relocate(&mut house, first), Relocation::Waits);
    house.policy.server_down(POOL, SECOND);
    assert_eq!(house.succeeds(second), None);
    let reloaded = house.reload(servers(&[1, 2]));
    assert_eq!(reloaded, [], "both are down");
    let waiting = house.sits(&ask(3, 6));
    let grants = house.policy.server_up(POOL, SECOND, house.now);
    assert_eq!(
        grants.iter().map(|grant| grant.job).collect::<Vec<_>>(),
        [first, waiting]
    );
}

#[test]
fn a_reload_hands_more_slots_to_those_who_move_first() {
    let (mut house, [first, _]) = two_busy_servers();
    house.sits(&ask(3, 6));
    assert_eq!(relocate(&mut house, first), Relocation::Waits);
    let grants = house.reload(servers(&[1, 2]));
    assert_eq!(grants.into_iter().map(|grant| grant.job).collect::<Vec<_>>(), [first]);
}

/// However it ends, all is given back and the next in line is served as if it had not been there.
#[test]
fn who_moves_may_end_before_it_is_handed_a_slot() {
    let (mut house, [first, second]) = two_busy_servers();
    let waiting = house.sits(&ask(3, 0));
    assert_eq!(relocate(&mut house, first), Relocation::Waits);
    assert_eq!(house.policy.give_back_slot(first, house.now), None, "it has none");
    assert_eq!(relocate(&mut house, first), Relocation::Nowhere, "it moves already");
    assert_eq!(house.policy.end(first, Outcome::Cancelled, house.now), None);
    assert_eq!(house.policy.stats().cancelled, 1);
    assert_eq!(house.policy.jobs_of(&caller(1)), 0);
    assert_eq!(of(house.succeeds(second)), Some((waiting, SECOND)));
}

/// A slot that its job never heard of was held for no time, which says nothing of how long slots are held.
#[test]
fn an_unclaimed_grant_goes_to_the_next_in_line() {
    let (mut house, [first, second]) = two_busy_servers();
    let waiting = house.sits(&ask(3, 0));
    assert_eq!(relocate(&mut house, first), Relocation::Waits);
    house.pass(Span::from_secs(10));
    assert_eq!(of(house.succeeds(second)), Some((first, SECOND)));
    assert_eq!(of(house.policy.forgo(first, house.now)), Some((waiting, SECOND)));
    assert_eq!(house.policy.jobs_of(&caller(1)), 1, "until its end");
    assert_eq!(house.policy.end(first, Outcome::Failed, house.now), None);
    assert_eq!(house.policy.stats().failed, 1);
    let estimate = house.policy.estimate(POOL, Priority::LOWEST);
    assert_eq!(
        estimate,
        Span::from_secs(10),
        "as long as the one slot was held that was used"
    );
}

/// Who moves is served before a newcomer, so a newcomer is told so.
#[test]
fn the_estimate_counts_those_who_move() {
    let mut house = House::new(servers(&[1, 1]));
    for _ in 0..40 {
        let job = house.runs(&ask(9, 0)).job;
        house.pass(Span::from_secs(2));
        house.succeeds(job);
    }
    let grants = [1, 2].map(|number| house.runs(&ask(number, 0)));
    let first = grants
        .iter()
        .find(|grant| grant.server == FIRST)
        .expect("one on each")
        .job;
    assert_eq!(relocate(&mut house, first), Relocation::Waits);
    assert_eq!(
        house.policy.estimate(POOL, Priority::HIGHEST),
        Span::from_secs(4),
        "2 × 2 s ÷ 1"
    );
    house.refused(&ask(3, 6).prefer_wait(Span::from_secs(3)));
}
