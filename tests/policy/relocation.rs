//! A job whose server could not be reached moves to another one (semantics §2.7).

use tiergate::policy::rules::{Rules, ServerId};

use super::house::{House, ask, rules};

fn three_servers() -> Rules {
    let mut rules = rules(8, 0);
    rules.pools[0].slots = vec![1, 1, 1];
    rules
}

/// The story: a job was placed on the first server, moved to the second, and ended. A server's last arrival was counted
/// in jobs placed, which a move didn't add to, so both servers seemed to have got a job at the same moment, and of the two
/// the one named first in the file was taken to have been idle for longer, though it might have got its job last.
#[test]
fn a_server_that_got_a_job_by_a_move_is_the_one_idle_for_the_shortest_time() {
    let mut house = House::new(three_servers());
    let first = house.runs(&ask(1, 0));
    let second = house.runs(&ask(2, 0));
    assert_eq!((first.server, second.server), (ServerId(0), ServerId(1)));
    house.succeeds(first.job);
    house.policy.server_down(super::house::POOL, ServerId(2));

    let (to, next) = house
        .policy
        .relocate(second.job, house.now)
        .expect("the first server is free");
    assert_eq!((to, next), (ServerId(0), None));
    house.succeeds(second.job);

    assert_eq!(
        house.runs(&ask(3, 0)).server,
        ServerId(1),
        "the first one got a job later"
    );
}

/// A move isn't a second job: it counts neither as an arrival nor as a slot time, and the slot that was left is free.
#[test]
fn a_moved_job_holds_one_slot() {
    let mut house = House::new(three_servers());
    let job = house.runs(&ask(1, 0)).job;
    let (to, _) = house.policy.relocate(job, house.now).expect("two servers are free");
    assert_ne!(to, ServerId(0));
    assert_eq!(house.policy.running(super::house::POOL), 1);
    assert_eq!(house.policy.jobs_of(&super::house::caller(1)), 1);
    house.succeeds(job);
    assert_eq!(house.policy.tally().succeeded, 1);
    assert_eq!(house.policy.running(super::house::POOL), 0);
}
