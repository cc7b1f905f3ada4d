//! Goal: the rules of spec/semantics.md, "Nodes and sets": who votes, who leads.
//!
//! Method: random clusters, with whatever voters and leaders they happen to have, are brought to
//! rest by carrying out what the functions say; each step and the rest are checked.

#![allow(clippy::unwrap_used, reason = "a test panics")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use sampan_core::placement::{
    LeaderTransfer, PlacementNode, SetLeadership, VoterState, leaders, place,
};
use sampan_protocol::SetId;

type Voters = BTreeMap<SetId, Vec<u64>>;

/// More calls than any of these clusters needs.
const CALLS_MAX: usize = 100;

fn nodes(zones: &[&str]) -> Vec<PlacementNode> {
    let node = |(node, zone): (u64, &&str)| PlacementNode {
        node,
        zone: (*zone).to_owned(),
        is_usable: true,
    };
    (1..).zip(zones).map(node).collect()
}

/// Nodes of as many zones, and voters that break every rule.
fn any_cluster() -> impl Strategy<Value = (Vec<PlacementNode>, Voters, u32, u8)> {
    let nodes = vec((0..4u8, prop::bool::weighted(0.8)), 1..9);
    let voters = vec(btree_set(1..12u64, 0..6), 0..20);
    (nodes, voters, 1..20u32, 1..6u8).prop_map(|(nodes, voters, set_count, replica_count)| {
        let nodes = (1..)
            .zip(nodes)
            .map(|(node, (zone, is_usable))| PlacementNode {
                node,
                zone: format!("zone-{zone}"),
                is_usable,
            });
        let voters = voters
            .into_iter()
            .map(|voters| voters.into_iter().collect());
        let voters = (0..).map(SetId).zip(voters).collect();
        (nodes.collect(), voters, set_count, replica_count)
    })
}

/// How many voters changed in a set: the greater of those that came and those that went.
fn change_count(before: &[u64], after: &[u64]) -> usize {
    let [before, after] = [before, after].map(|nodes| BTreeSet::from_iter(nodes.iter()));
    let (came, went) = (after.difference(&before), before.difference(&after));
    came.count().max(went.count())
}

/// Calls until nothing changes; how many voters changed in sets that had some.
fn rest(set_count: u32, nodes: &[PlacementNode], from: &Voters, replicas: u8) -> (Voters, usize) {
    let (mut voters, mut changed) = (from.clone(), 0);
    for _ in 0..CALLS_MAX {
        let next = place(set_count, nodes, &voters, replicas);
        for (set, after) in &next {
            assert!(after.is_sorted_by(|low, high| low < high), "ascending");
            if let Some(before) = voters.get(set).filter(|before| !before.is_empty()) {
                let count = change_count(before, after);
                assert!(count <= 1, "{before:?} became {after:?}");
                changed += count;
            }
        }
        if next == voters {
            return (next, changed);
        }
        voters = next;
    }
    panic!("still changing after {CALLS_MAX} calls: {voters:?}");
}

fn loads(nodes: &[PlacementNode], voters: &Voters) -> BTreeMap<u64, usize> {
    let usable = nodes.iter().filter(|node| node.is_usable);
    let load = |node: u64| {
        voters
            .values()
            .filter(|voters| voters.contains(&node))
            .count()
    };
    usable.map(|node| (node.node, load(node.node))).collect()
}

fn spread(loads: impl Iterator<Item = usize> + Clone) -> usize {
    loads.clone().max().unwrap_or(0) - loads.min().unwrap_or(0)
}

/// The fewest pairs in one zone that `count` voters can have.
fn fewest_pairs(nodes: &[PlacementNode], count: usize) -> usize {
    let mut room: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.is_usable) {
        room.entry(&node.zone).or_default().1 += 1;
    }
    let mut pairs = 0;
    for _ in 0..count {
        let free = room.values_mut().filter(|(used, size)| used < size);
        let emptiest = free.min_by_key(|(used, _)| *used).unwrap();
        pairs += emptiest.0;
        emptiest.0 += 1;
    }
    pairs
}

fn pairs(nodes: &[PlacementNode], voters: &[u64]) -> usize {
    let zone = |node: u64| {
        nodes
            .iter()
            .find(|other| other.node == node)
            .unwrap()
            .zone
            .as_str()
    };
    let zones: Vec<&str> = voters.iter().map(|node| zone(*node)).collect();
    let mates = |place: usize| {
        let others = zones[place + 1..].iter();
        others.filter(|other| **other == zones[place]).count()
    };
    (0..zones.len()).map(mates).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn every_cluster_comes_to_rest_within_the_rules(
        (nodes, from, set_count, replicas) in any_cluster()
    ) {
        let (voters, _) = rest(set_count, &nodes, &from, replicas);
        let usable: BTreeSet<u64> =
            nodes.iter().filter(|node| node.is_usable).map(|node| node.node).collect();
        if usable.is_empty() {
            return Ok(());
        }
        prop_assert_eq!(voters.len(), set_count as usize, "every set has voters");
        for voters in voters.values() {
            prop_assert!(voters.iter().all(|node| usable.contains(node)));
            let wanted = match usable.len() {
                count if count >= usize::from(replicas) => usize::from(replicas)..=replicas.into(),
                2 => 1..=2,
                count => count..=count,
            };
            prop_assert!(wanted.contains(&voters.len()), "{} voters", voters.len());
            prop_assert_eq!(pairs(&nodes, voters), fewest_pairs(&nodes, voters.len()));
        }
        if usable.len() < usize::from(replicas) {
            return Ok(());
        }
        let loads = loads(&nodes, &voters);
        for zone in nodes.iter().map(|node| &node.zone) {
            let in_zone = nodes.iter().filter(|node| node.zone == *zone && node.is_usable);
            let in_zone = in_zone.map(|node| loads[&node.node]);
            prop_assert!(spread(in_zone) <= 1, "nodes of one zone are equally full: {loads:?}");
        }
    }

    #[test]
    fn without_zones_or_with_one_for_each_node_all_are_equally_full(
        (mut nodes, from, set_count, replicas) in any_cluster(),
        has_zones: bool,
    ) {
        for node in &mut nodes {
            node.zone = if has_zones { node.node.to_string() } else { String::new() };
        }
        let (voters, _) = rest(set_count, &nodes, &from, replicas);
        let loads = loads(&nodes, &voters);
        let is_enough = loads.len() >= usize::from(replicas);
        prop_assert!(!is_enough || spread(loads.values().copied()) <= 1, "{loads:?}");
    }

    #[test]
    fn a_node_that_comes_gets_its_share_and_nothing_else_moves(
        count in 3..8usize, set_count in 1..40u32, has_zones: bool,
    ) {
        let names: Vec<String> = (0..=count).map(|name| name.to_string()).collect();
        let zones: Vec<&str> =
            names.iter().map(|name| if has_zones { name.as_str() } else { "" }).collect();
        let before = nodes(&zones[..count]);
        let (voters, _) = rest(set_count, &before, &Voters::new(), 3);
        prop_assert_eq!(rest(set_count, &before, &voters, 3), (voters.clone(), 0));
        let after = nodes(&zones);
        let (grown, changed) = rest(set_count, &after, &voters, 3);
        let loads = loads(&after, &grown);
        prop_assert!(spread(loads.values().copied()) <= 1);
        prop_assert_eq!(changed, loads[&(count as u64 + 1)]);
    }

    /// Sets often lie in groups of the same three nodes: then what is lost falls to the nodes of
    /// the other groups only, and those hand some of it on.
    #[test]
    fn a_node_that_goes_costs_one_change_for_each_of_its_sets_and_half_as_many_to_balance(
        count in 4..8usize, set_count in 1..40u32, gone in 1..4u64,
    ) {
        let mut nodes = nodes(&vec![""; count]);
        let (voters, _) = rest(set_count, &nodes, &Voters::new(), 3);
        let held = loads(&nodes, &voters)[&gone];
        for node in &mut nodes {
            node.is_usable = node.node != gone;
        }
        let (left, changed) = rest(set_count, &nodes, &voters, 3);
        prop_assert!(left.values().all(|voters| voters.len() == 3 && !voters.contains(&gone)));
        prop_assert!(changed >= held && changed <= held + held / 2 + 1, "{changed} for {held}");
    }

    #[test]
    fn leaders_come_to_rest_spread_and_off_the_draining_nodes(
        sets in vec((btree_set(1..8u64, 1..4), any::<prop::sample::Index>(), 0..8u8), 0..30),
        draining in btree_set(1..8u64, 0..3),
    ) {
        let state = |(set, (voters, leader, lagging)): (u32, (BTreeSet<u64>, _, u8))| {
            let voters: Vec<u64> = voters.into_iter().collect();
            let leader = *prop::sample::Index::get(&leader, &voters);
            let voter = |(place, node): (usize, &u64)| VoterState {
                node: *node,
                is_caught_up: *node == leader || lagging >> place & 1 == 0,
            };
            let voters = voters.iter().enumerate().map(voter).collect();
            SetLeadership { set: SetId(set), leader: Some(leader), voters }
        };
        let before: Vec<SetLeadership> = (0..).zip(sets).map(state).collect();
        let transfers = leaders(&before, &draining);
        let after = carried_out(&before, &transfers);
        prop_assert_eq!(leaders(&after, &draining), vec![], "a second call changes nothing");
        for set in &after {
            let mut can = set.voters.iter().filter(|voter| voter.is_caught_up);
            let can_leave = can.any(|voter| !draining.contains(&voter.node));
            let drains = draining.contains(&set.leader.unwrap());
            prop_assert!(!drains || !can_leave, "a draining node leads {set:?}");
        }
        prop_assert!(sum_of_squares(&after, &draining) <= best_sum(&after, &draining));
    }

    #[test]
    fn leaders_of_equal_voters_are_within_one_and_move_no_more_than_they_must(
        leading in vec(1..6u64, 0..40), draining in btree_set(1..6u64, 0..3),
    ) {
        let voter = |node| VoterState { node, is_caught_up: true };
        let before: Vec<SetLeadership> = (0..)
            .zip(&leading)
            .map(|(set, leader)| SetLeadership {
                set: SetId(set),
                leader: Some(*leader),
                voters: (1..6).map(voter).collect(),
            })
            .collect();
        let transfers = leaders(&before, &draining);
        let after = carried_out(&before, &transfers);
        let can = (1..6).filter(|node| !draining.contains(node));
        let count = |sets: &[SetLeadership], node| {
            sets.iter().filter(|set| set.leader == Some(node)).count()
        };
        let counts: Vec<usize> = can.clone().map(|node| count(&after, node)).collect();
        prop_assert!(spread(counts.iter().copied()) <= 1, "{counts:?}");
        prop_assert_eq!(counts.iter().sum::<usize>(), leading.len());
        let mut had: Vec<usize> = can.map(|node| count(&before, node)).collect();
        had.sort_unstable_by(|low, high| high.cmp(low));
        let (share, rest) = (leading.len() / had.len(), leading.len() % had.len());
        let goal = |place: usize| share + usize::from(place < rest);
        let stay: usize = had.iter().enumerate().map(|(place, had)| (*had).min(goal(place))).sum();
        prop_assert_eq!(transfers.len(), leading.len() - stay);
    }
}

fn carried_out(sets: &[SetLeadership], transfers: &[LeaderTransfer]) -> Vec<SetLeadership> {
    let mut sets = sets.to_vec();
    for transfer in transfers {
        let set = sets.iter_mut().find(|set| set.set == transfer.set).unwrap();
        assert_eq!(set.leader.replace(transfer.to), Some(transfer.from));
        let can = |voter: &VoterState| voter.node == transfer.to && voter.is_caught_up;
        assert!(set.voters.iter().any(can), "{transfer:?} of {set:?}");
    }
    sets
}

fn sum_of_squares(sets: &[SetLeadership], draining: &BTreeSet<u64>) -> usize {
    let mut load: BTreeMap<u64, usize> = BTreeMap::new();
    let leaders = sets.iter().filter_map(|set| set.leader);
    for leader in leaders.filter(|leader| !draining.contains(leader)) {
        *load.entry(leader).or_default() += 1;
    }
    load.values().map(|count| count * count).sum()
}

/// The smallest sum that any choice of leaders has, by adding one set after the other along the
/// cheapest augmenting path: another algorithm than the one under test.
fn best_sum(sets: &[SetLeadership], draining: &BTreeSet<u64>) -> usize {
    let mut assigned: Vec<(BTreeSet<u64>, Option<u64>)> = Vec::new();
    for set in sets {
        let can = set.voters.iter().filter(|voter| voter.is_caught_up);
        let can: BTreeSet<u64> = can
            .map(|voter| voter.node)
            .filter(|node| !draining.contains(node))
            .collect();
        assigned.push((can, None));
        let added = assigned.len() - 1;
        // Every node that a chain of hand-overs reaches, and the set that arrives there.
        let mut came: BTreeMap<u64, usize> = BTreeMap::new();
        let mut open = vec![added];
        while let Some(place) = open.pop() {
            for node in assigned[place].0.clone() {
                if came.contains_key(&node) {
                    continue;
                }
                came.insert(node, place);
                let led = (0..added).filter(|other| assigned[*other].1 == Some(node));
                open.extend(led);
            }
        }
        let load = |node: u64| {
            assigned
                .iter()
                .filter(|(_, led)| *led == Some(node))
                .count()
        };
        let mut end = came.keys().copied().min_by_key(|node| load(*node));
        while let Some(node) = end {
            let place = came[&node];
            end = assigned[place].1.replace(node);
        }
    }
    let mut load: BTreeMap<u64, usize> = BTreeMap::new();
    for node in assigned.iter().filter_map(|(_, led)| *led) {
        *load.entry(node).or_default() += 1;
    }
    load.values().map(|count| count * count).sum()
}

#[test]
fn one_node_grows_to_three_voters_once_the_third_is_there() {
    let (one, _) = rest(4, &nodes(&["a"]), &Voters::new(), 3);
    assert!(one.values().all(|voters| *voters == [1]));
    let (two, changed) = rest(4, &nodes(&["a", "b"]), &one, 3);
    assert_eq!((&two, changed), (&one, 0));
    let (three, _) = rest(4, &nodes(&["a", "b", "c"]), &two, 3);
    assert!(three.values().all(|voters| *voters == [1, 2, 3]));
}

#[test]
fn a_lost_voter_without_a_substitute_is_dropped_and_the_last_one_stays() {
    let mut nodes = nodes(&["", "", ""]);
    let (voters, _) = rest(1, &nodes, &Voters::new(), 3);
    nodes[1].is_usable = false;
    let (two, _) = rest(1, &nodes, &voters, 3);
    assert_eq!(two[&SetId(0)], [1, 3]);
    nodes[0].is_usable = false;
    nodes[2].is_usable = false;
    let (none, changed) = rest(1, &nodes, &two, 3);
    assert_eq!((none, changed), (two, 0));
}

#[test]
fn a_zone_of_two_nodes_never_has_two_voters_of_a_set_beside_two_other_zones() {
    let nodes = nodes(&["a", "a", "b", "c"]);
    let (voters, _) = rest(10, &nodes, &Voters::new(), 3);
    for voters in voters.values() {
        assert!(voters.contains(&3) && voters.contains(&4), "{voters:?}");
    }
    assert_eq!(loads(&nodes, &voters)[&1], 5);
}

#[test]
fn a_set_without_a_leader_and_a_leader_that_nobody_can_follow_stay() {
    let lagging = VoterState {
        node: 2,
        is_caught_up: false,
    };
    let leading = VoterState {
        node: 1,
        is_caught_up: true,
    };
    let set = |set, leader| SetLeadership {
        set: SetId(set),
        leader,
        voters: vec![leading, lagging],
    };
    let sets = [set(0, Some(1)), set(1, None), set(2, Some(1))];
    assert_eq!(leaders(&sets, &BTreeSet::from([1])), []);
}
