//! The three sequences of ids of a queue, and when their ids were given.
//!
//! Each space counts for itself, so that the ids without a delay and without a group lie side by
//! side: of them a backlog is two numbers. Spec: spec/semantics.md, "Ids".

use sampan_protocol::{IdSpace, MessageId};

use super::Queue;
use crate::marks::Marks;

/// The ids of one space, and when they were given.
#[derive(Debug)]
pub(super) struct Space {
    /// Its lowest possible id.
    pub(super) base: u64,
    /// The id that is given next.
    pub(super) next: u64,
    pub(super) marks: Marks,
    /// Up to there messages were given up for their age.
    pub(super) aged_below: u64,
}

impl Space {
    pub(super) fn new(space: IdSpace, next: u64) -> Self {
        let base = space.base();
        Space {
            base,
            next,
            marks: Marks::default(),
            aged_below: base,
        }
    }

    /// One of which no id was given.
    pub(super) fn empty(space: IdSpace) -> Self {
        Space::new(space, space.base() + 1)
    }

    /// Whether messages of this id have passed their retention.
    pub(super) fn has_expired(&self, id: MessageId) -> bool {
        id.0 < self.marks.expired_below(self.next)
    }
}

impl Queue {
    pub(super) fn space(&self, space: IdSpace) -> &Space {
        match space {
            IdSpace::Immediate => &self.immediate,
            IdSpace::Grouped => &self.grouped,
            IdSpace::Delayed => &self.delayed,
        }
    }

    pub(super) fn space_mut(&mut self, space: IdSpace) -> &mut Space {
        match space {
            IdSpace::Immediate => &mut self.immediate,
            IdSpace::Grouped => &mut self.grouped,
            IdSpace::Delayed => &mut self.delayed,
        }
    }

    pub(super) fn space_of(&self, id: MessageId) -> &Space {
        self.space(id.space())
    }
}
