//! Messages with a group key, in a queue that goes by them.
//!
//! They have ids of their own (`GROUPED_BIT`) and are neither in the fresh range nor in pages: what
//! is ready of them is taken from the middle, group by group. `ready` and `held` (in flight or
//! resting) say of each message which group it is of; they are what is stored. Who is next is in
//! the index, made from them.
//!
//! Ordered: a group with a held message is locked, the others are served by the ids of their
//! fronts. Otherwise groups take turns: a turn is a number that a group gets when it becomes
//! non-empty and when it was served, and that lies with its front. A queue whose groups were
//! switched off serves what it has in turns too.
//!
//! Every change of a group goes by how it stood before and how it stands after: no case can be
//! forgotten, and a message that others of its group are before changes no order.
//!
//! Invariants: a message of a group is ready or held here exactly when it is ready, in flight or
//! resting in the queue; no other is here. Spec: spec/semantics.md, "Groups".

mod chunk;
mod index;
mod links;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use chunk::{Group, GroupChunk};
pub(crate) use table::Table;

use chunk::Member;
use index::Index;
use sampan_protocol::MessageId;

use crate::fields::FieldError;
use crate::page::Received;

/// Messages that are indexed together after a restore: 4 MiB of them.
const INDEXED_AT_ONCE: usize = 1 << 18;

/// How a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Nothing of it is ready.
    Empty,
    Locked {
        ready: u32,
    },
    /// In line, with the ready message that is its front.
    Next {
        turn: u64,
        front: u64,
    },
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Groups {
    pub(super) ready: Table,
    pub(super) held: Table,
    index: Index,
    /// What purges left of earlier indexes.
    remains: Vec<Index>,
    is_ordered: bool,
    /// The first turn that counts: groups that had none since take theirs first, by the ids of
    /// their fronts.
    pub(super) turns_from: u64,
    /// The turn that is given next; from 1.
    pub(super) turn_next: u64,
    /// Groups are served before messages without a key by the next receive that finds both.
    pub(super) are_first: bool,
}

impl Groups {
    pub(super) fn new(is_ordered: bool, turns: [u64; 2], are_first: bool) -> Self {
        let [turns_from, turn_next] = turns;
        Groups {
            ready: Table::default(),
            held: Table::default(),
            index: Index::default(),
            remains: Vec::new(),
            is_ordered,
            turns_from,
            turn_next,
            are_first,
        }
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    pub(super) fn ready_count(&self) -> u64 {
        self.ready.count()
    }

    /// Ready messages that no receive gets, for their groups are locked.
    pub(super) fn locked_count(&self) -> u64 {
        self.index.locked
    }

    /// Ready messages that a receive could get.
    pub(super) fn receivable_count(&self) -> u64 {
        self.ready.count() - self.index.locked
    }

    /// Messages ready, in flight or resting.
    pub(super) fn count(&self) -> u64 {
        self.ready.count() + self.held.count()
    }

    /// The lowest ready id.
    pub(super) fn first_ready(&self) -> Option<u64> {
        self.ready.first()
    }

    /// Ready messages from `first` on, ascending, and what those that came back brought along.
    pub(super) fn ready_from(
        &self,
        first: u64,
    ) -> impl Iterator<Item = (u64, Option<Received>)> + '_ {
        let members = self.ready.members_from(first);
        members.map(|(id, member)| (id, member.past))
    }

    /// A ready message, and what it brought along if it came back.
    pub(super) fn find_ready(&self, id: MessageId) -> Option<Option<Received>> {
        self.ready.get(id.0).map(|member| member.past)
    }

    /// The group that is served next.
    pub(super) fn next_group(&self) -> Option<Group> {
        let (_, front) = self.index.order.first()?;
        self.ready.get(*front).map(|member| member.group)
    }

    /// The ready ids of a group, ascending.
    pub(super) fn ids_of(&self, group: Group) -> impl Iterator<Item = u64> + '_ {
        self.index.ids(group)
    }

    /// A message that was sent.
    pub(super) fn add(&mut self, id: MessageId, group: Group) {
        self.change(group, |groups| {
            groups.put(id.0, Member { group, past: None })
        });
    }

    /// A held message is ready again.
    pub(super) fn come_back(&mut self, id: MessageId, past: Option<Received>) {
        let Some(Member { group, .. }) = self.held.remove(id.0) else {
            return;
        };
        self.change(group, |groups| {
            groups.index.let_go(group);
            groups.put(id.0, Member { group, past });
        });
    }

    /// A held message is gone.
    pub(super) fn let_go(&mut self, id: MessageId) {
        if let Some(Member { group, .. }) = self.held.remove(id.0) {
            self.change(group, |groups| groups.index.let_go(group));
        }
    }

    /// Hands out the first ready messages of the group that is next.
    pub(super) fn hand_out(
        &mut self,
        group: Group,
        ids: &[u64],
        mut each: impl FnMut(u64, Option<Received>),
    ) {
        let before = self.standing(group);
        for id in ids {
            if let Some(member) = self.take(*id) {
                self.index.hold(group);
                self.held.insert(*id, Member { group, past: None });
                each(*id, member.past);
            }
        }
        self.rank(group, before, None);
    }

    /// Takes up to `count` ready messages below `end`, the lowest ids first; tells how many.
    pub(super) fn take_lowest(
        &mut self,
        end: u64,
        count: u64,
        mut each: impl FnMut(MessageId, Option<Received>),
    ) -> u64 {
        let mut taken = 0;
        while taken < count
            && let Some(id) = self.ready.first().filter(|id| *id < end)
            && let Some(Member { group, past }) = self.ready.get(id)
        {
            self.change(group, |groups| {
                groups.take(id);
            });
            each(MessageId(id), past);
            taken += 1;
        }
        taken
    }

    /// Goes by another rule from now on.
    pub(super) fn set_ordered(&mut self, is_ordered: bool) {
        if self.is_ordered != is_ordered {
            self.is_ordered = is_ordered;
            self.turns_from = self.turn_next;
            self.make_order();
        }
    }

    /// Buries everything, as `next` is the id that is given next; tells of what is gone at once.
    pub(super) fn bury(&mut self, next: u64, each: impl FnMut(u64)) {
        self.ready.bury(next, each);
        // Those are told of as leases and rests.
        self.held.bury(next, |_| ());
        let index = std::mem::take(&mut self.index);
        if self.has_buried() {
            self.remains.push(index);
        }
    }

    pub(super) fn has_buried(&self) -> bool {
        self.ready.has_buried() || self.held.has_buried()
    }

    /// Takes what is buried until `work` is used up.
    pub(super) fn take_buried(&mut self, work: &mut u64, each: impl FnMut(u64)) {
        let before = *work;
        self.ready.take_buried(work, each);
        self.held.take_buried(work, |_| ());
        // Memory only: that of the last chunk's rest goes with the tables' end.
        while let Some(index) = self.remains.last_mut()
            && (index.shrink(2 * (before - *work)) || !self.has_buried())
        {
            self.remains.pop();
        }
    }

    pub(super) fn restore_row(
        &mut self,
        is_held: bool,
        number: u64,
        row: &[u8],
        is_buried: bool,
    ) -> Result<(), FieldError> {
        let table = if is_held {
            &mut self.held
        } else {
            &mut self.ready
        };
        table.restore_row(number, row, is_buried)
    }

    /// Makes the index of tables that were read. `held`: every message in flight or resting. False
    /// when the tables speak of others, or of messages that were never given.
    pub(super) fn index(&mut self, next: u64, held: impl Iterator<Item = MessageId>) -> bool {
        let base = MessageId::GROUPED_BIT;
        let lasts = [self.ready.last(), self.held.last()];
        let is_given = |last: u64| (base + 1..next).contains(&last);
        let firsts = [self.ready.first(), self.held.first()];
        let mut ends = lasts.into_iter().chain(firsts).flatten();
        if !ends.all(is_given) || self.ready.members_from(0).any(|(id, _)| self.is_held(id)) {
            return false;
        }
        let mut held_count = 0;
        for id in held.filter(|id| id.is_grouped()) {
            held_count += 1;
            if !self.is_held(id.0) {
                return false;
            }
        }
        self.index_ready();
        for (_, member) in self.held.members_from(0) {
            self.index.hold(member.group);
        }
        self.make_order();
        held_count == self.held.count()
    }

    /// By groups, some messages at a time: one by one by their ids, each would look into another
    /// part of the index, and all of them sorted would take more memory than the index itself.
    fn index_ready(&mut self) {
        let members = self.ready.members_from(0);
        let mut members = members.map(|(id, member)| (member.group, id)).peekable();
        let mut some = Vec::new();
        while members.peek().is_some() {
            some.clear();
            some.extend(members.by_ref().take(INDEXED_AT_ONCE));
            some.sort_unstable();
            for (group, id) in &some {
                self.index.add_ready(*group, *id);
            }
        }
    }

    fn is_held(&self, id: u64) -> bool {
        self.held.get(id).is_some()
    }

    fn make_order(&mut self) {
        let (mut order, mut locked) = (Vec::new(), 0);
        for (group, front) in self.index.fronts() {
            let counts = self.index.counts(group);
            match self.is_ordered {
                true if counts.held > 0 => locked += u64::from(counts.ready),
                true => order.push((0, front)),
                false => order.push((self.turn(front), front)),
            }
        }
        (self.index.order, self.index.locked) = (order.into_iter().collect(), locked);
    }

    fn put(&mut self, id: u64, member: Member) {
        self.ready.insert(id, member);
        self.index.add_ready(member.group, id);
    }

    fn take(&mut self, id: u64) -> Option<Member> {
        let member = self.ready.remove(id)?;
        self.index.remove_ready(member.group, id);
        Some(member)
    }

    /// The turn of a group that has this front; 0 when it had none yet.
    fn turn(&self, front: u64) -> u64 {
        match self.ready.turn(front) {
            turn if turn < self.turns_from => 0,
            turn => turn,
        }
    }

    /// Lets `work` change a group; it keeps its turn.
    fn change(&mut self, group: Group, work: impl FnOnce(&mut Self)) {
        let before = self.standing(group);
        work(self);
        let turn = match before {
            Standing::Next { turn, .. } => Some(turn),
            Standing::Locked { .. } | Standing::Empty => None,
        };
        self.rank(group, before, turn);
    }

    fn standing(&self, group: Group) -> Standing {
        let counts = self.index.counts(group);
        match self.index.front(group) {
            None => Standing::Empty,
            Some(_) if self.is_ordered && counts.held > 0 => Standing::Locked {
                ready: counts.ready,
            },
            Some(front) if self.is_ordered => Standing::Next { turn: 0, front },
            Some(front) => Standing::Next {
                turn: self.turn(front),
                front,
            },
        }
    }

    /// Ranks a group anew that stood as `before`: in line at this turn, or behind all others.
    fn rank(&mut self, group: Group, before: Standing, turn: Option<u64>) {
        let mut after = self.standing(group);
        if let Standing::Next { turn: place, front } = &mut after
            && !self.is_ordered
        {
            let turn = turn.unwrap_or_else(|| {
                self.turn_next += 1;
                self.turn_next - 1
            });
            if *place != turn {
                self.ready.set_turn(*front, turn);
                *place = turn;
            }
        }
        if after == Standing::Empty {
            self.index.forget_empty(group);
        }
        if before == after {
            return;
        }
        match before {
            Standing::Empty => (),
            Standing::Locked { ready } => self.index.locked -= u64::from(ready),
            Standing::Next { turn, front } => drop(self.index.order.remove(&(turn, front))),
        }
        match after {
            Standing::Empty => (),
            Standing::Locked { ready } => self.index.locked += u64::from(ready),
            Standing::Next { turn, front } => drop(self.index.order.insert((turn, front))),
        }
    }

    #[cfg(test)]
    pub(super) fn chunk_count(&self) -> usize {
        self.ready.chunk_count() + self.held.chunk_count()
    }
}
