//! Who is to lead each set.
//!
//! A set can be led by its voters that have caught up and are not draining. Draining nodes are
//! left first. Then the loads are evened out along shortest paths: a node with two sets more than
//! another hands one to a neighbour, that hands one on, until it arrives. When no such path is
//! left, no other spread is more even; looking only at direct hand-overs would get stuck earlier,
//! for a set can be led by its few voters only.
//!
//! Invariant: every step lowers the sum of the squares of the loads, so it ends.
//! Spec: spec/semantics.md, "Nodes and sets".

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use sampan_protocol::SetId;

/// Who leads a set, and who could.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetLeadership {
    /// The set.
    pub set: SetId,
    /// Who leads it now; a set without a leader is left alone.
    pub leader: Option<u64>,
    /// Who votes in it.
    pub voters: Vec<VoterState>,
}

/// One voter of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoterState {
    /// The node.
    pub node: u64,
    /// Whether it has all, or nearly all, of the leader's log and could take over at once.
    pub is_caught_up: bool,
}

/// One leadership that is to go elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderTransfer {
    /// The set.
    pub set: SetId,
    /// Who leads it now.
    pub from: u64,
    /// Who is to lead it.
    pub to: u64,
}

/// The transfers after which no draining node leads what another could, and leaders are spread as
/// evenly as the sets' voters allow. In the order of the sets; none when all is well.
pub fn leaders(sets: &[SetLeadership], draining: &BTreeSet<u64>) -> Vec<LeaderTransfer> {
    let led: Vec<Led> = sets
        .iter()
        .filter_map(|set| Led::new(set, draining))
        .collect();
    let mut spread = Spread {
        load: BTreeMap::new(),
        led,
    };
    spread.count(draining);
    spread.leave(draining);
    while spread.even_out() {}
    let moved = spread.led.iter().filter(|led| led.leader != led.before);
    let mut transfers: Vec<LeaderTransfer> = moved
        .map(|led| LeaderTransfer {
            set: led.set,
            from: led.before,
            to: led.leader,
        })
        .collect();
    transfers.sort_by_key(|transfer| transfer.set);
    transfers
}

/// A set that has a leader.
struct Led {
    set: SetId,
    before: u64,
    leader: u64,
    /// Who can lead it; not those that are draining.
    candidates: BTreeSet<u64>,
}

impl Led {
    fn new(set: &SetLeadership, draining: &BTreeSet<u64>) -> Option<Led> {
        let leader = set.leader?;
        let caught_up = set.voters.iter().filter(|voter| voter.is_caught_up);
        let candidates = caught_up.map(|voter| voter.node).chain([leader]);
        Some(Led {
            set: set.set,
            before: leader,
            leader,
            candidates: candidates.filter(|node| !draining.contains(node)).collect(),
        })
    }
}

/// One hand-over of a path: which set, by its place in the list, and to whom.
type Step = (usize, u64);

struct Spread {
    /// Sets led by each node that can lead any.
    load: BTreeMap<u64, usize>,
    led: Vec<Led>,
}

impl Spread {
    fn count(&mut self, draining: &BTreeSet<u64>) {
        for led in &self.led {
            for node in &led.candidates {
                self.load.entry(*node).or_default();
            }
            if !draining.contains(&led.leader) {
                *self.load.entry(led.leader).or_default() += 1;
            }
        }
    }

    fn load_of(&self, node: u64) -> usize {
        self.load.get(&node).copied().unwrap_or(0)
    }

    /// Draining nodes hand over what another can lead.
    fn leave(&mut self, draining: &BTreeSet<u64>) {
        for place in 0..self.led.len() {
            let led = &self.led[place];
            if !draining.contains(&led.leader) {
                continue;
            }
            let candidates = led.candidates.iter().copied();
            if let Some(to) = candidates.min_by_key(|node| (self.load_of(*node), *node)) {
                *self.load.entry(to).or_default() += 1;
                self.led[place].leader = to;
            }
        }
    }

    /// Carries out the first path that makes loads more even; false when there is none.
    fn even_out(&mut self) -> bool {
        let mut nodes: Vec<u64> = self.load.keys().copied().collect();
        nodes.sort_by_key(|node| (std::cmp::Reverse(self.load_of(*node)), *node));
        let edges = self.edges();
        let mut paths = nodes.iter().map(|from| (*from, self.path(*from, &edges)));
        let Some((from, path)) = paths.find(|(_, path)| !path.is_empty()) else {
            return false;
        };
        let to = path.last().map_or(from, |(_, to)| *to);
        for (place, to) in path {
            self.led[place].leader = to;
        }
        *self.load.entry(from).or_default() -= 1;
        *self.load.entry(to).or_default() += 1;
        true
    }

    /// For each leader and each node that could take a set over from it, the set to hand over:
    /// rather one that goes back where it was, or has moved already.
    fn edges(&self) -> BTreeMap<u64, BTreeMap<u64, usize>> {
        let mut edges: BTreeMap<u64, BTreeMap<u64, usize>> = BTreeMap::new();
        let cost = |place: usize, to: u64| {
            let led = &self.led[place];
            match (led.leader == led.before, to == led.before) {
                (false, true) => 0,
                (false, false) => 1,
                _ => 2,
            }
        };
        for (place, led) in self.led.iter().enumerate() {
            for to in led.candidates.iter().filter(|to| **to != led.leader) {
                let best = edges
                    .entry(led.leader)
                    .or_default()
                    .entry(*to)
                    .or_insert(place);
                if cost(place, *to) < cost(*best, *to) {
                    *best = place;
                }
            }
        }
        edges
    }

    /// The path from a node to the one that leads the fewest sets of all that it reaches, if that
    /// is at least two less; the shortest one. Empty without such a node.
    fn path(&self, from: u64, edges: &BTreeMap<u64, BTreeMap<u64, usize>>) -> Vec<Step> {
        let mut came: BTreeMap<u64, (u64, usize)> = BTreeMap::new();
        let mut reached = VecDeque::from([from]);
        let mut end = from;
        while let Some(node) = reached.pop_front() {
            if self.load_of(node) < self.load_of(end) {
                end = node;
            }
            for (to, place) in edges.get(&node).into_iter().flatten() {
                if *to != from && !came.contains_key(to) {
                    came.insert(*to, (node, *place));
                    reached.push_back(*to);
                }
            }
        }
        if self.load_of(end) + 2 <= self.load_of(from) {
            steps(end, from, &came)
        } else {
            Vec::new()
        }
    }
}

/// The hand-overs from `from` to `end`, in this order.
fn steps(end: u64, from: u64, came: &BTreeMap<u64, (u64, usize)>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut node = end;
    while node != from
        && let Some((before, place)) = came.get(&node)
    {
        steps.push((*place, node));
        node = *before;
    }
    steps.reverse();
    steps
}
