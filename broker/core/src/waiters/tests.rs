//! Each sentence of spec/semantics.md, "Waiting", by a small story on one list of waiters.

use super::*;

const QUEUE: QueueId = QueueId(7);

fn id(client: u64, request: u64) -> WaiterId {
    WaiterId { client, request }
}

fn request(count_max: u16) -> WaiterRequest {
    WaiterRequest {
        count_max,
        len_max: 0,
        visibility_timeout_ms: None,
    }
}

/// Waiters 1, 2, 3 of one queue that take one message each, with deadlines 100, 200, 300.
fn three() -> Waiters {
    let mut waiters = Waiters::default();
    for client in 1..=3 {
        waiters
            .park(id(client, 0), QUEUE, request(1), client * 100)
            .unwrap();
    }
    waiters
}

fn taken(waiters: &mut Waiters, ready_count: u64) -> Vec<u64> {
    waiters
        .take_for(QUEUE, ready_count)
        .iter()
        .map(|proposal| proposal.id.client)
        .collect()
}

#[test]
fn the_first_to_come_is_served_first() {
    let mut waiters = three();
    assert_eq!(taken(&mut waiters, 2), [1, 2]);
    assert_eq!(taken(&mut waiters, 2), [3]);
}

#[test]
fn no_more_are_proposed_than_the_ready_messages_can_serve() {
    let mut waiters = Waiters::default();
    for client in 1..=3 {
        waiters
            .park(id(client, 0), QUEUE, request(10), 100)
            .unwrap();
    }
    assert_eq!(taken(&mut waiters, 11), [1, 2]);
    assert_eq!(taken(&mut waiters, 0), [0; 0]);
}

#[test]
fn waiters_of_other_queues_are_left_alone() {
    let mut waiters = three();
    assert!(waiters.take_for(QueueId(8), 5).is_empty());
    assert!(waiters.has_parked(QUEUE) && !waiters.has_parked(QueueId(8)));
}

#[test]
fn a_proposed_waiter_is_not_proposed_again() {
    let mut waiters = three();
    assert_eq!(taken(&mut waiters, 1), [1]);
    assert_eq!(taken(&mut waiters, 9), [2, 3]);
    assert_eq!(taken(&mut waiters, 9), [0; 0]);
}

#[test]
fn one_that_found_nothing_parks_at_its_old_place_with_its_old_deadline() {
    let mut waiters = three();
    assert_eq!(taken(&mut waiters, 1), [1]);
    assert_eq!(waiters.answered(id(1, 0), 0), Answer::ParkedAgain);
    assert_eq!(waiters.next_deadline(), Some(100));
    assert_eq!(taken(&mut waiters, 1), [1]);
}

#[test]
fn one_that_found_something_is_answered_and_gone() {
    let mut waiters = three();
    assert_eq!(taken(&mut waiters, 1), [1]);
    assert_eq!(waiters.answered(id(1, 0), 1), Answer::Deliver);
    assert_eq!((waiters.count(), waiters.next_deadline()), (2, Some(200)));
}

#[test]
fn a_parked_wait_ends_at_its_deadline() {
    let mut waiters = three();
    assert_eq!(waiters.expire(99), []);
    assert_eq!(waiters.expire(200), [id(1, 0), id(2, 0)]);
    assert_eq!(waiters.count(), 1);
}

#[test]
fn when_a_wait_ends_while_proposed_the_result_decides() {
    for (found, answer) in [(1, Answer::Deliver), (0, Answer::Empty)] {
        let mut waiters = three();
        assert_eq!(taken(&mut waiters, 1), [1]);
        assert_eq!(waiters.expire(150), []);
        assert_eq!(waiters.answered(id(1, 0), found), answer);
        assert_eq!(waiters.count(), 2);
    }
}

#[test]
fn a_client_that_goes_while_parked_leaves_nothing() {
    let mut waiters = three();
    waiters.park(id(1, 5), QUEUE, request(1), 900).unwrap();
    waiters.cancel_client(1);
    assert_eq!(waiters.count(), 2);
    assert_eq!(taken(&mut waiters, 9), [2, 3]);
}

#[test]
fn what_was_found_for_a_client_that_is_gone_is_released() {
    for (found, answer) in [(3, Answer::Release), (0, Answer::Forget)] {
        let mut waiters = three();
        assert_eq!(taken(&mut waiters, 1), [1]);
        waiters.cancel_client(1);
        assert_eq!(waiters.answered(id(1, 0), found), answer);
        assert_eq!(waiters.count(), 2);
    }
}

#[test]
fn when_leadership_ends_all_are_told_and_a_late_result_is_released() {
    let mut waiters = three();
    assert_eq!(taken(&mut waiters, 2), [1, 2]);
    waiters.cancel(id(2, 0));
    let ended = |client, is_proposed| Ended {
        id: id(client, 0),
        is_proposed,
    };
    assert_eq!(waiters.end_all(), [ended(1, true), ended(3, false)]);
    assert_eq!((waiters.count(), waiters.next_deadline()), (0, None));
    assert_eq!(waiters.answered(id(1, 0), 2), Answer::Release);
}

#[test]
fn a_refused_proposal_is_told_unless_its_client_is_gone() {
    let mut waiters = three();
    assert_eq!(taken(&mut waiters, 2), [1, 2]);
    waiters.cancel(id(2, 0));
    assert!(waiters.refused(id(1, 0)));
    assert!(!waiters.refused(id(2, 0)));
}

#[test]
fn a_removed_queue_ends_its_parked_waits() {
    let mut waiters = three();
    assert_eq!(taken(&mut waiters, 1), [1]);
    assert_eq!(waiters.end_queue(QUEUE), [id(2, 0), id(3, 0)]);
    assert_eq!(waiters.count(), 1);
}

#[test]
fn a_full_node_refuses_and_the_same_receive_waits_only_once() {
    let mut waiters = Waiters::new(2);
    assert_eq!(waiters.park(id(1, 0), QUEUE, request(1), 5), Ok(()));
    assert_eq!(
        waiters.park(id(1, 0), QUEUE, request(1), 5),
        Err(ErrorCode::Internal)
    );
    assert_eq!(waiters.park(id(1, 1), QUEUE, request(1), 5), Ok(()));
    assert_eq!(
        waiters.park(id(1, 2), QUEUE, request(1), 5),
        Err(ErrorCode::TooManyWaiting)
    );
}

#[test]
fn a_waiter_costs_well_under_a_kib() {
    let keys = size_of::<(WaiterId, u64)>() + size_of::<(QueueId, u64)>() + size_of::<(u64, u64)>();
    let waiter = size_of::<(u64, Waiter)>();
    // A node of a B-tree is at least half full.
    assert!(2 * (keys + waiter) <= 320, "{keys} + {waiter}");
}
