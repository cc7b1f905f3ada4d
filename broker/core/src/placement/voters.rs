//! Who is to vote in each set.
//!
//! In this order of weight: voters are usable nodes; there are as many as wanted; no two share a
//! zone while there are enough zones; nodes have equal numbers of replicas. What is lighter never
//! undoes what is heavier, so repeated calls come to rest: each change makes the first of these
//! that it touches better. While sets need repair, balance only decides which nodes come in: those
//! changes are paid for anyway.
//!
//! Invariant: a set that has voters gets one change per call: one more, one less, or one replaced.
//! Spec: spec/semantics.md, "Nodes and sets".

use std::collections::{BTreeMap, BTreeSet};

use sampan_protocol::SetId;

/// One node, as far as the placement of replicas is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacementNode {
    /// Its id.
    pub node: u64,
    /// Its failure zone. Nodes that name none share the zone without a name.
    pub zone: String,
    /// Whether it may hold replicas: it is not leaving. One whose folder was
    /// replaced stays: a fresh one comes.
    pub is_usable: bool,
}

/// The wanted voters of the sets 0 to `set_count`, ascending.
///
/// A set that is not in `current` gets all of its voters at once. With two usable nodes and more
/// than two replicas wanted, a set stays at one or two voters, as it is: a second voter would add a
/// node that must be up, and none that may be down.
pub fn place(
    set_count: u32,
    nodes: &[PlacementNode],
    current: &BTreeMap<SetId, Vec<u64>>,
    replica_count: u8,
) -> BTreeMap<SetId, Vec<u64>> {
    let usable = nodes.iter().filter(|node| node.is_usable);
    let zones: BTreeMap<u64, &str> = usable.map(|node| (node.node, node.zone.as_str())).collect();
    let mut plan = Plan {
        load: zones.keys().map(|node| (*node, 0)).collect(),
        zones,
        replica_count: usize::from(replica_count.max(1)),
        placed: BTreeMap::new(),
        freedom: BTreeMap::new(),
    };
    plan.take_over(set_count, current);
    let is_at_rest = !plan.repair();
    if is_at_rest && plan.zones.len() >= plan.replica_count {
        let placed = plan.placed.keys().map(|set| (*set, Freedom::Any));
        plan.freedom = placed.collect();
    }
    plan.place_new(set_count);
    plan.balance();
    plan.placed.retain(|_, voters| !voters.is_empty());
    plan.placed
}

struct Plan<'a> {
    /// The usable nodes.
    zones: BTreeMap<u64, &'a str>,
    /// Replicas of each usable node.
    load: BTreeMap<u64, usize>,
    replica_count: usize,
    placed: BTreeMap<SetId, Vec<u64>>,
    /// What balance may still change in this call; nothing of a set that is not here.
    freedom: BTreeMap<SetId, Freedom>,
}

/// Which voter of a set may be replaced.
#[derive(Clone, Copy)]
enum Freedom {
    /// Each of them: the set is new.
    All,
    /// One of them, whichever.
    Any,
    /// Only the one that comes in with this call.
    Only(u64),
}

/// One voter goes, another comes.
struct Swap {
    set: SetId,
    from: u64,
    to: u64,
}

impl Plan<'_> {
    fn take_over(&mut self, set_count: u32, current: &BTreeMap<SetId, Vec<u64>>) {
        for (set, voters) in current.range(..SetId(set_count)) {
            let voters: BTreeSet<u64> = voters.iter().copied().collect();
            if voters.is_empty() {
                continue;
            }
            for node in &voters {
                self.add_load(*node, 1);
            }
            self.placed.insert(*set, voters.into_iter().collect());
        }
    }

    fn add_load(&mut self, node: u64, change: isize) {
        if let Some(load) = self.load.get_mut(&node) {
            *load = load.saturating_add_signed(change);
        }
    }

    fn load_of(&self, node: u64) -> usize {
        self.load.get(&node).copied().unwrap_or(0)
    }

    /// How many voters a set of `voter_count` is to have.
    fn voter_count_wanted(&self, voter_count: usize) -> usize {
        match self.zones.len() {
            usable if usable >= self.replica_count => self.replica_count,
            2 => voter_count.clamp(1, 2),
            usable => usable,
        }
    }

    /// How many of the voters share the zone of a node, itself aside.
    fn zone_mates(&self, node: u64, voters: &[u64]) -> usize {
        let zone = self.zones.get(&node);
        let others = voters.iter().filter(|other| **other != node);
        others
            .filter(|other| self.zones.get(other) == zone && zone.is_some())
            .count()
    }

    fn set_voters(&mut self, set: SetId, mut voters: Vec<u64>) {
        voters.sort_unstable();
        let before = self.placed.insert(set, voters.clone()).unwrap_or_default();
        before.iter().for_each(|node| self.add_load(*node, -1));
        voters.iter().for_each(|node| self.add_load(*node, 1));
    }

    /// One step for each set that breaks a rule; true when there was any.
    fn repair(&mut self) -> bool {
        let mut is_changed = false;
        let sets: Vec<(SetId, Vec<u64>)> = self.placed.clone().into_iter().collect();
        for (set, voters) in sets {
            let Some(repaired) = self.repaired(&voters) else {
                continue;
            };
            let addition = repaired.iter().find(|node| !voters.contains(node));
            let addition = addition.map(|node| (set, Freedom::Only(*node)));
            self.freedom.extend(addition);
            self.set_voters(set, repaired);
            is_changed = true;
        }
        is_changed
    }

    /// The voters after the most urgent change; none when they are as they should be.
    fn repaired(&self, voters: &[u64]) -> Option<Vec<u64>> {
        let wanted = self.voter_count_wanted(voters.len());
        let is_usable = |node: &&u64| self.zones.contains_key(node);
        if let Some(lost) = voters.iter().find(|node| !is_usable(node)) {
            let mut rest: Vec<u64> = voters.iter().filter(is_usable).copied().collect();
            let addition = self.best_addition(&rest).filter(|_| rest.len() < wanted);
            if addition.is_none() && rest.is_empty() {
                return None;
            }
            rest.extend(addition);
            rest.extend(
                voters
                    .iter()
                    .filter(|node| !is_usable(node) && *node != lost),
            );
            return Some(rest);
        }
        if voters.len() < wanted {
            let addition = self.best_addition(voters)?;
            return Some(voters.iter().copied().chain([addition]).collect());
        }
        if voters.len() > wanted {
            let worst = self.worst(voters)?;
            return Some(
                voters
                    .iter()
                    .copied()
                    .filter(|node| *node != worst)
                    .collect(),
            );
        }
        self.spread_over_zones(voters)
    }

    /// The usable node that fits best beside the voters: a zone of its own, then few replicas.
    fn best_addition(&self, voters: &[u64]) -> Option<u64> {
        let nodes = self.zones.keys().copied();
        nodes
            .filter(|node| !voters.contains(node))
            .min_by_key(|node| (self.zone_mates(*node, voters), self.load_of(*node), *node))
    }

    fn worst(&self, voters: &[u64]) -> Option<u64> {
        let nodes = voters.iter().copied();
        nodes.max_by_key(|node| (self.zone_mates(*node, voters), self.load_of(*node), *node))
    }

    /// Moves a voter out of a crowded zone, when another zone has more room.
    fn spread_over_zones(&self, voters: &[u64]) -> Option<Vec<u64>> {
        let from = self.worst(voters)?;
        let rest: Vec<u64> = voters
            .iter()
            .copied()
            .filter(|node| *node != from)
            .collect();
        let to = self.best_addition(&rest)?;
        let is_better = self.zone_mates(to, &rest) < self.zone_mates(from, &rest);
        is_better.then(|| rest.into_iter().chain([to]).collect())
    }

    fn place_new(&mut self, set_count: u32) {
        for set in (0..set_count).map(SetId) {
            if self.placed.contains_key(&set) {
                continue;
            }
            let mut voters = Vec::new();
            while voters.len() < self.voter_count_wanted(0)
                && let Some(addition) = self.best_addition(&voters)
            {
                voters.push(addition);
            }
            self.set_voters(set, voters);
            self.freedom.insert(set, Freedom::All);
        }
    }

    /// Moves replicas from the fullest nodes to the emptiest. Ends: each move makes the sum of the
    /// squares of the loads smaller.
    fn balance(&mut self) {
        while let Some(Swap { set, from, to }) = self.balancing_swap() {
            let voters = self.placed.get(&set).into_iter().flatten().copied();
            let voters = voters.filter(|node| *node != from).chain([to]).collect();
            self.set_voters(set, voters);
            if !matches!(self.freedom.get(&set), Some(Freedom::All)) {
                self.freedom.insert(set, Freedom::Only(to));
            }
        }
    }

    fn balancing_swap(&self) -> Option<Swap> {
        let mut nodes: Vec<u64> = self.zones.keys().copied().collect();
        nodes.sort_by_key(|node| (self.load_of(*node), *node));
        for from in nodes.iter().rev() {
            for to in &nodes {
                if self.load_of(*from) < self.load_of(*to) + 2 {
                    break;
                }
                let mut sets = self.freedom.keys();
                if let Some(set) = sets.find(|set| self.can_swap(**set, *from, *to)) {
                    let (set, from, to) = (*set, *from, *to);
                    return Some(Swap { set, from, to });
                }
            }
        }
        None
    }

    fn can_swap(&self, set: SetId, from: u64, to: u64) -> bool {
        let Some(voters) = self.placed.get(&set) else {
            return false;
        };
        let may_go = match self.freedom.get(&set) {
            Some(Freedom::All | Freedom::Any) => true,
            Some(Freedom::Only(node)) => *node == from,
            None => false,
        };
        if !may_go || !voters.contains(&from) || voters.contains(&to) {
            return false;
        }
        let rest: Vec<u64> = voters
            .iter()
            .copied()
            .filter(|node| *node != from)
            .collect();
        self.zone_mates(to, &rest) <= self.zone_mates(from, &rest)
    }
}
