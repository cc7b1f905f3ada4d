//! Goal: what the tables hold decides what is served, before and after a restore, and damaged rows
//! are refused. Method: groups by themselves, with rows taken and given back.

use super::*;
use sampan_protocol::Timestamp;

const BASE: u64 = MessageId::GROUPED_BIT;

fn id(number: u64) -> MessageId {
    MessageId(BASE + number)
}

/// `a` has 1, 2, 5; `b` has 3; `c` has 4.
fn groups(is_ordered: bool) -> Groups {
    let mut groups = Groups::new(is_ordered, [1, 1], false);
    for (number, group) in [(1, 10), (2, 10), (3, 20), (4, 30), (5, 10)] {
        groups.add(id(number), Group(group));
    }
    groups
}

/// Hands out up to `most` messages of the group that is next.
fn serve(groups: &mut Groups, most: usize) -> Vec<u64> {
    let Some(group) = groups.next_group() else {
        return Vec::new();
    };
    let ids: Vec<u64> = groups.ids_of(group).take(most).collect();
    let mut served = Vec::new();
    groups.hand_out(group, &ids, |id, _| served.push(id - BASE));
    served
}

/// Rows of both tables: whether of held ones, number, bytes.
fn rows(groups: &mut Groups) -> Vec<(bool, u64, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut push = |is_held, number, chunk: Option<std::sync::Arc<GroupChunk>>| {
        let mut row = Vec::new();
        chunk.expect("nothing is gone").encode(&mut row);
        rows.push((is_held, number, row));
    };
    groups
        .ready
        .freeze(|number, chunk| push(false, number, chunk));
    groups
        .held
        .freeze(|number, chunk| push(true, number, chunk));
    rows
}

fn restored(groups: &Groups, rows: &[(bool, u64, Vec<u8>)]) -> Groups {
    let turns = [groups.turns_from, groups.turn_next];
    let mut back = Groups::new(groups.is_ordered, turns, groups.are_first);
    for (is_held, number, row) in rows {
        back.restore_row(*is_held, *number, row, false).unwrap();
    }
    back
}

fn held_ids(groups: &Groups) -> Vec<MessageId> {
    let held = groups.held.members_from(0);
    held.map(|(id, _)| MessageId(id)).collect()
}

#[test]
fn a_restored_index_is_the_one_that_was_there() {
    for is_ordered in [true, false] {
        let mut groups = groups(is_ordered);
        assert_eq!(serve(&mut groups, 1), [1]);
        assert_eq!(serve(&mut groups, 1), [3]);
        let past = Received {
            receive_count: 1,
            first_received_at: Timestamp(7),
        };
        groups.come_back(id(3), Some(past));
        let rows = rows(&mut groups);
        let mut back = restored(&groups, &rows);
        assert!(back.index(BASE + 6, held_ids(&groups).into_iter()));
        for group in [10, 20, 30].map(Group) {
            let ids = |groups: &Groups| Vec::from_iter(groups.ids_of(group));
            assert_eq!(ids(&back), ids(&groups));
            assert_eq!(back.index.counts(group), groups.index.counts(group));
        }
        assert_eq!(back.index.order, groups.index.order);
        assert_eq!(back.locked_count(), groups.locked_count());
        assert_eq!(back.locked_count(), if is_ordered { 2 } else { 0 });
        assert_eq!(back.find_ready(id(3)), Some(Some(past)));
        while groups.next_group().is_some() {
            assert_eq!(serve(&mut back, 2), serve(&mut groups, 2));
        }
        assert_eq!(serve(&mut back, 2), []);
    }
}

/// Goal: the front of a group is its lowest ready id, in whatever order messages come back; a
/// restore serves the same. Method: of 9 messages 5 are handed out at once and come back shuffled.
#[test]
fn messages_that_come_back_in_any_order_are_served_by_their_ids() {
    for is_ordered in [true, false] {
        let mut groups = Groups::new(is_ordered, [1, 1], false);
        (1..10).for_each(|number| groups.add(id(number), Group(7)));
        if is_ordered {
            assert_eq!(serve(&mut groups, 5), [1, 2, 3, 4, 5]);
        } else {
            (1..6).for_each(|number| assert_eq!(serve(&mut groups, 1), [number]));
        }
        for number in [4, 2, 5, 3, 1] {
            groups.come_back(id(number), None);
        }
        let rows = rows(&mut groups);
        let mut back = restored(&groups, &rows);
        assert!(back.index(BASE + 10, std::iter::empty()));
        let expected = Vec::from_iter(1..10);
        for groups in [&mut groups, &mut back] {
            let served: Vec<u64> = (0..5).flat_map(|_| serve(groups, 2)).collect();
            let served = match is_ordered {
                // The rest is locked.
                true => [
                    served,
                    groups.ids_of(Group(7)).map(|id| id - BASE).collect(),
                ]
                .concat(),
                false => served,
            };
            assert_eq!(served, expected);
        }
    }
}

#[test]
fn tables_that_do_not_fit_the_leases_or_each_other_are_refused() {
    let mut groups = groups(true);
    assert_eq!(serve(&mut groups, 2), [1, 2]);
    let rows = rows(&mut groups);
    let held = held_ids(&groups);
    let fits = |rows: &[_], next, held: &[MessageId]| {
        let held = held.iter().copied();
        restored(&groups, rows).index(BASE + next, held)
    };
    assert!(fits(&rows, 6, &held));
    assert!(!fits(&rows, 5, &held), "an id that was never given");
    assert!(!fits(&rows, 6, &held[..1]), "held, and nobody has it");
    let stranger = [held[0], held[1], id(3)];
    assert!(!fits(&rows, 6, &stranger), "in flight, and of no group");
    let mut twice = rows.clone();
    twice[1].2.clone_from(&rows[0].2);
    assert!(!fits(&twice, 6, &[id(3), id(4), id(5)]), "ready and held");
    let mut back = restored(&groups, &rows);
    assert!(
        back.restore_row(false, rows[0].1, &rows[0].2, false)
            .is_err()
    );
    assert!(
        back.restore_row(false, u64::MAX, &rows[0].2, false)
            .is_err()
    );
}

#[test]
fn a_purge_is_cleared_away_in_steps_and_leaves_no_memory_behind() {
    let mut groups = Groups::new(false, [1, 1], false);
    (1..1_000).for_each(|number| groups.add(id(number), Group(number % 300)));
    for _ in 0..100 {
        assert_eq!(serve(&mut groups, 1).len(), 1);
    }
    let mut told = 0;
    groups.bury(BASE + 1_000, |_| told += 1);
    assert_eq!((groups.count(), groups.next_group()), (0, None));
    groups.add(id(1_000), Group(5));
    let mut steps = 0;
    while groups.has_buried() {
        steps += 1;
        let mut work = 100;
        groups.take_buried(&mut work, |_| told += 1);
    }
    assert_eq!(told, 899);
    assert!(steps >= 7, "{steps}");
    assert!(groups.remains.is_empty());
    assert_eq!((groups.chunk_count(), groups.count()), (1, 1));
    assert_eq!(serve(&mut groups, 9), [1_000]);
}

#[test]
fn a_group_that_is_emptied_leaves_nothing_behind() {
    for is_ordered in [true, false] {
        let mut groups = groups(is_ordered);
        while groups.next_group().is_some() {
            serve(&mut groups, 9);
        }
        (1..6).for_each(|number| groups.let_go(id(number)));
        assert!(groups.index.is_empty());
        assert_eq!((groups.locked_count(), groups.chunk_count()), (0, 0));
    }
}

#[test]
fn turns_begin_anew_when_an_ordered_queue_takes_turns() {
    let mut groups = groups(false);
    assert_eq!(serve(&mut groups, 1), [1]);
    groups.set_ordered(true);
    assert_eq!(groups.locked_count(), 2);
    groups.let_go(id(1));
    groups.set_ordered(false);
    let served: Vec<u64> = (0..4).flat_map(|_| serve(&mut groups, 1)).collect();
    assert_eq!(served, [2, 3, 4, 5]);
}
