//! Which messages of which group are ready, and which group is served next: made from the tables,
//! never stored.
//!
//! Ready messages leave a group at its front, and nearly all enter it at one of its ends. So a
//! group is a **chain**: the ids of its ends, and a link from each message to the next
//! (`links.rs`): 5 bytes a message and 58 a group, in a tree whose nodes are two thirds full. What
//! belongs between the ends, or too far from them, is a **stray**, in one tree of (group, id), 30
//! bytes each: only what comes back behind one of its group that is ready again. One such tree for
//! all messages needs no second case, and 25 bytes a message more; a list per group is an
//! allocation per group, and moves a long group to grow. See
//! docs/design/2026-11-30-groups-in-memory.md.
//!
//! Which messages are strays hangs on the order in which they came, and is not the same after a
//! restore; what is served hangs on the ids alone.
//!
//! Invariants: `lines` has each group with a ready or held message and no other; a ready message is
//! in its group's chain or a stray; ids rise along a chain, and all but its last are linked;
//! `order` has the front of each group that may be served, at its turn; `locked` are the ready
//! messages of the others. Spec: spec/semantics.md, "Groups".

use std::collections::{BTreeMap, BTreeSet};
use std::iter::{from_fn, successors};

use super::chunk::Group;
use super::links::Links;

/// How many messages of a group there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) ready: u32,
    /// In flight or resting.
    pub(super) held: u32,
}

/// One group.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    /// The first id of its chain; means nothing when that is empty.
    first: u64,
    /// From there to its last id.
    reach: u32,
    chained: u32,
    strays: u32,
    held: u32,
}

impl Line {
    /// The first and the last id of the chain.
    fn ends(&self) -> Option<[u64; 2]> {
        let last = self.first + u64::from(self.reach);
        (self.chained > 0).then_some([self.first, last])
    }

    /// Takes an id into the chain if it belongs at one of its ends; tells which two ids that links.
    fn chain(&mut self, id: u64) -> Result<Option<[u64; 2]>, Stray> {
        let (ends, link) = match self.ends() {
            None => ([id, id], None),
            Some([first, last]) if last < id => ([first, id], Some([last, id])),
            Some([first, last]) if id < first => ([id, last], Some([id, first])),
            Some(_) => return Err(Stray),
        };
        self.reach = u32::try_from(ends[1] - ends[0]).map_err(|_| Stray)?;
        self.first = ends[0];
        self.chained += 1;
        Ok(link)
    }
}

/// An id is not at the end of a chain.
struct Stray;

/// See the head of the file.
#[derive(Debug, Default)]
pub(super) struct Index {
    lines: BTreeMap<Group, Line>,
    links: Links,
    strays: BTreeSet<(Group, u64)>,
    /// By turn; in an ordered queue all turns are 0, so by the ids of the fronts.
    pub(super) order: BTreeSet<(u64, u64)>,
    pub(super) locked: u64,
}

impl Index {
    fn line(&self, group: Group) -> Line {
        self.lines.get(&group).copied().unwrap_or_default()
    }

    pub(super) fn counts(&self, group: Group) -> Counts {
        let line = self.line(group);
        Counts {
            ready: line.chained + line.strays,
            held: line.held,
        }
    }

    /// The ready ids of a group, ascending.
    pub(super) fn ids(&self, group: Group) -> impl Iterator<Item = u64> + '_ {
        let line = self.line(group);
        let next = |id: &u64| Some(id + u64::from(self.links.get(*id)?));
        let first = line.ends().map(|[first, _]| first);
        let mut chain = successors(first, next).peekable();
        let mut strays = self.strays(group, line).peekable();
        from_fn(move || match (chain.peek(), strays.peek()) {
            (Some(id), Some(stray)) if id < stray => chain.next(),
            (_, Some(_)) => strays.next(),
            _ => chain.next(),
        })
    }

    fn strays(&self, group: Group, line: Line) -> impl Iterator<Item = u64> + '_ {
        let range = (line.strays > 0).then(|| self.strays.range((group, 0)..=(group, u64::MAX)));
        range.into_iter().flatten().map(|(_, id)| *id)
    }

    pub(super) fn front(&self, group: Group) -> Option<u64> {
        self.front_of(group, self.line(group))
    }

    fn front_of(&self, group: Group, line: Line) -> Option<u64> {
        let first = line.ends().map(|[first, _]| first);
        first
            .into_iter()
            .chain(self.strays(group, line).next())
            .min()
    }

    pub(super) fn add_ready(&mut self, group: Group, id: u64) {
        let line = self.lines.entry(group).or_default();
        match line.chain(id) {
            Ok(None) => (),
            Ok(Some([from, to])) => {
                let distance = u32::try_from(to - from).expect("within the chain's reach");
                self.links.set(from, distance);
            }
            Err(Stray) => {
                line.strays += 1;
                self.strays.insert((group, id));
            }
        }
    }

    /// Takes the front of a group.
    pub(super) fn remove_ready(&mut self, group: Group, id: u64) {
        let line = self.lines.entry(group).or_default();
        if line.ends().is_some_and(|[first, _]| first == id) {
            let distance = self.links.take(id).unwrap_or(0);
            line.first += u64::from(distance);
            line.reach -= distance;
            line.chained -= 1;
        } else {
            let is_stray = self.strays.remove(&(group, id));
            assert!(is_stray, "a ready message leaves its group at the front");
            line.strays -= 1;
        }
    }

    pub(super) fn hold(&mut self, group: Group) {
        self.lines.entry(group).or_default().held += 1;
    }

    pub(super) fn let_go(&mut self, group: Group) {
        self.lines.entry(group).or_default().held -= 1;
    }

    /// Forgets a group that has no message.
    pub(super) fn forget_empty(&mut self, group: Group) {
        if self.counts(group) == Counts::default() {
            self.lines.remove(&group);
        }
    }

    /// The front of every group that has one.
    pub(super) fn fronts(&self) -> impl Iterator<Item = (Group, u64)> + '_ {
        let lines = self.lines.iter();
        lines.filter_map(|(group, line)| Some((*group, self.front_of(*group, *line)?)))
    }

    /// Frees a part of what an emptied queue's index holds; true when nothing is left.
    pub(super) fn shrink(&mut self, count: u64) -> bool {
        for _ in 0..count {
            let left = [
                self.lines.pop_first().is_some(),
                self.links.shrink(),
                self.strays.pop_first().is_some(),
                self.order.pop_first().is_some(),
            ];
            if left == [false; 4] {
                return true;
            }
        }
        false
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let trees_are_empty = self.strays.is_empty() && self.order.is_empty();
        self.lines.is_empty() && self.links.is_empty() && trees_are_empty
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    const FAR: u64 = 1 << 32;

    fn ids(index: &Index, group: Group) -> Vec<u64> {
        index.ids(group).collect()
    }

    fn stray_count(index: &Index) -> usize {
        index.strays.len()
    }

    /// Goal: what enters and leaves in any order is told like a plain set of ids, and only what
    /// belongs between two others is a stray. Method: few groups and few ids, many times.
    #[test]
    fn chains_and_strays_together_are_the_ids_of_a_group() {
        let mut random = StdRng::seed_from_u64(7);
        let (mut index, mut naive) = (Index::default(), BTreeSet::new());
        let mut most_strays = 0;
        for _ in 0..50_000 {
            let group = Group(random.random_range(0..3));
            // An id is one group's.
            let id =
                3 * random.random_range(1..100) + group.0 + FAR / 2 * random.random_range(0..4);
            let front = naive.range((group, 0)..=(group, u64::MAX)).next().copied();
            match front {
                Some((_, front)) if random.random_ratio(49, 100) => {
                    index.remove_ready(group, front);
                    naive.remove(&(group, front));
                }
                _ if naive.insert((group, id)) => index.add_ready(group, id),
                _ => (),
            }
            index.forget_empty(group);
            let expected: Vec<u64> = naive
                .range((group, 0)..=(group, u64::MAX))
                .map(|(_, id)| *id)
                .collect();
            assert_eq!(index.counts(group).ready as usize, expected.len());
            assert_eq!(index.front(group), expected.first().copied());
            assert_eq!(ids(&index, group), expected);
            most_strays = most_strays.max(stray_count(&index));
        }
        assert!(most_strays > 10, "{most_strays}");
        for (group, id) in naive {
            index.remove_ready(group, id);
            index.forget_empty(group);
        }
        assert!(index.is_empty());
    }

    #[test]
    fn only_what_comes_back_between_others_or_far_from_them_is_a_stray() {
        let (mut index, group) = (Index::default(), Group(1));
        for id in [20, 30, 10, 40] {
            index.add_ready(group, id);
        }
        assert_eq!(stray_count(&index), 0, "at an end");
        index.add_ready(group, 25);
        assert_eq!(stray_count(&index), 1, "in the middle");
        index.add_ready(group, 10 + FAR);
        index.add_ready(group, 9 + FAR);
        assert_eq!(
            stray_count(&index),
            2,
            "one is too far, one is just near enough"
        );
        assert_eq!(ids(&index, group), [10, 20, 25, 30, 40, 9 + FAR, 10 + FAR]);
        index.remove_ready(group, 10);
        index.add_ready(group, 11 + FAR);
        assert_eq!(
            stray_count(&index),
            2,
            "what is near goes with the first id"
        );
    }

    #[test]
    #[should_panic(expected = "leaves its group at the front")]
    fn a_message_that_leaves_in_the_middle_is_a_bug() {
        let mut index = Index::default();
        for id in [1, 2, 3] {
            index.add_ready(Group(1), id);
        }
        index.remove_ready(Group(1), 2);
    }
}
