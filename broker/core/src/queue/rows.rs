//! A queue as rows: what a freeze takes along, and the way back.
//!
//! A freeze clones references of what changed; bytes are made later, on another thread.
//! Spec: spec/state.md, "State rows".

use sampan_protocol::{GroupMode, IdSpace, MessageId, QueueId};

use super::Queue;
use super::deduplication::Keys;
use super::groups::Groups;
use super::outbox::Outbox;
use super::producers::Producers;
use super::purge::covers_chunk;
use super::resting::Resting;
use super::rewinding::Kept;
use super::room::all_marks;
use super::spaces::Space;
use crate::fields::FieldError;
use crate::frozen::FrozenRow;
use crate::leases::Leases;
use crate::marks::Mark;
use crate::row_key::RowKey;

mod queue_row;

pub(crate) use queue_row::{
    QueueRow, decode_attributes, decode_changes, encode_attributes, encode_changes,
};

impl Queue {
    fn row(&self) -> QueueRow {
        QueueRow {
            name: self.name.clone(),
            attributes: self.attributes,
            secret: self.leases.secret(),
            immediate_next: self.immediate.next,
            fresh_first: self.fresh_first,
            delayed_next: self.delayed.next,
            lease_next: self.leases.next,
            producer_next: self.producers.next(),
            producers_swept_at: self.producers.swept_at(),
            producers_forgotten_until: self.producers.forgotten_until(),
            resting_next: self.resting.next,
            letter_next: self.outbox.next,
            immediate_aged_below: self.immediate.aged_below,
            delayed_aged_below: self.delayed.aged_below,
            keys_first: self.keys.first(),
            keys_next: self.keys.next(),
            purged: self.purged,
            grouped_next: self.grouped.next,
            grouped_aged_below: self.grouped.aged_below,
            turns: [self.groups.turns_from, self.groups.turn_next],
            groups_first: self.groups.are_first,
            kept: self.kept.state(),
            overdue: IdSpace::ALL.map(|space| self.space(space).marks.overdue()),
        }
    }

    fn key(&self, kind: u8, number: u64) -> RowKey {
        RowKey {
            queue: self.id,
            kind,
            number,
        }
    }

    /// Hands over every row that changed since the last freeze.
    pub(crate) fn freeze(&mut self, rows: &mut Vec<(RowKey, FrozenRow)>) {
        let queue = self.id;
        let mut push = |kind, number, row: Option<FrozenRow>| {
            rows.push((
                RowKey {
                    queue,
                    kind,
                    number,
                },
                row.unwrap_or(FrozenRow::Gone),
            ));
        };
        push(
            RowKey::QUEUE,
            0,
            Some(FrozenRow::Queue(Box::new(self.row()))),
        );
        for space in [&mut self.immediate, &mut self.grouped, &mut self.delayed] {
            space
                .marks
                .freeze(|number, mark| push(RowKey::MARK, number, mark.map(FrozenRow::Mark)));
        }
        self.pages.freeze_directory(|number, directory| {
            push(
                RowKey::DIRECTORY,
                number,
                directory.map(FrozenRow::Directory),
            );
        });
        self.leases.freeze(|number, chunk| {
            push(RowKey::LEASES, number, chunk.map(FrozenRow::Leases));
        });
        self.waiting.freeze_directory(|number, directory| {
            let row = directory.map(FrozenRow::DelayedDirectory);
            push(RowKey::DELAYED_DIRECTORY, number, row);
        });
        self.waiting.freeze(|number, chunk| {
            push(RowKey::DELAYED, number, chunk.map(FrozenRow::Delayed));
        });
        self.resting.table.freeze(|number, chunk| {
            push(RowKey::RESTING, number, chunk.map(FrozenRow::Leases));
        });
        self.outbox.table.freeze(|number, chunk| {
            push(RowKey::LETTERS, number, chunk.map(FrozenRow::Letters));
        });
        self.groups.ready.freeze(|number, chunk| {
            push(RowKey::GROUPED, number, chunk.map(FrozenRow::Groups));
        });
        self.groups.held.freeze(|number, chunk| {
            push(RowKey::HELD, number, chunk.map(FrozenRow::Groups));
        });
        self.lanes.freeze(|source, highest| {
            push(RowKey::LANE, source, Some(FrozenRow::Lane(highest)));
        });
        let redrive = self.redrives.freeze();
        if let Some(redrive) = redrive {
            push(RowKey::REDRIVE, 0, Some(FrozenRow::Redrive(redrive)));
        }
        self.producers.freeze(|number, producer| {
            push(RowKey::PRODUCER, number, producer.map(FrozenRow::Producer));
        });
        self.producers.freeze_replies(|number, reply| {
            push(RowKey::REPLY, number, reply.map(FrozenRow::Reply));
        });
        self.keys
            .freeze(|number, chunk| push(RowKey::KEYS, number, chunk.map(FrozenRow::Keys)));
        self.kept
            .freeze(|first, run| push(RowKey::KEPT, first, run.map(FrozenRow::Kept)));
        self.pages
            .freeze(|number, page| push(RowKey::PAGE, number, page.map(FrozenRow::Page)));
    }

    /// The keys of all rows that may be stored, for a queue that goes.
    pub(crate) fn row_keys(&self, keys: &mut Vec<RowKey>) {
        let mut push = |kind, number| keys.push(self.key(kind, number));
        push(RowKey::QUEUE, 0);
        for space in IdSpace::ALL {
            let marks = &self.space(space).marks;
            marks
                .row_numbers()
                .for_each(|number| push(RowKey::MARK, number));
        }
        let groups = [
            (RowKey::GROUPED, &self.groups.ready),
            (RowKey::HELD, &self.groups.held),
        ];
        for (kind, table) in groups {
            table.row_numbers().for_each(|number| push(kind, number));
        }
        self.pages
            .directory_numbers()
            .iter()
            .for_each(|number| push(RowKey::DIRECTORY, *number));
        self.leases
            .table
            .row_numbers()
            .for_each(|number| push(RowKey::LEASES, number));
        self.waiting
            .directory_numbers()
            .iter()
            .for_each(|number| push(RowKey::DELAYED_DIRECTORY, *number));
        self.waiting
            .row_numbers()
            .for_each(|number| push(RowKey::DELAYED, number));
        self.resting
            .table
            .row_numbers()
            .for_each(|number| push(RowKey::RESTING, number));
        self.outbox
            .table
            .row_numbers()
            .for_each(|number| push(RowKey::LETTERS, number));
        self.lanes
            .row_numbers()
            .for_each(|number| push(RowKey::LANE, number));
        if self.redrives.newest().is_some() {
            push(RowKey::REDRIVE, 0);
        }
        self.producers
            .row_numbers()
            .for_each(|number| push(RowKey::PRODUCER, number));
        self.producers
            .reply_row_numbers()
            .for_each(|number| push(RowKey::REPLY, number));
        self.keys
            .row_numbers()
            .for_each(|number| push(RowKey::KEYS, number));
        self.kept
            .row_numbers()
            .for_each(|first| push(RowKey::KEPT, first));
        self.pages
            .row_numbers()
            .for_each(|number| push(RowKey::PAGE, number));
    }

    /// The queue of its own row, with nothing in it yet but its fresh messages.
    pub(crate) fn restore(id: QueueId, row: &[u8]) -> Result<Self, FieldError> {
        let row = QueueRow::decode(row)?;
        let mut queue = Queue::new(id, row.name, row.attributes, row.secret);
        queue.immediate = Space::new(IdSpace::Immediate, row.immediate_next);
        queue.grouped = Space::new(IdSpace::Grouped, row.grouped_next);
        queue.delayed = Space::new(IdSpace::Delayed, row.delayed_next);
        let is_ordered = row.attributes.groups == GroupMode::Ordered;
        queue.groups = Groups::new(is_ordered, row.turns, row.groups_first);
        queue.fresh_first = row.fresh_first;
        queue.leases = Leases::new(row.secret, row.lease_next);
        queue.producers = Producers::new(
            row.producer_next,
            row.producers_swept_at,
            row.producers_forgotten_until,
        );
        queue.resting = Resting::new(row.resting_next);
        queue.outbox = Outbox::new(row.letter_next);
        queue.immediate.aged_below = row.immediate_aged_below;
        queue.grouped.aged_below = row.grouped_aged_below;
        queue.delayed.aged_below = row.delayed_aged_below;
        queue.keys = Keys::new(row.keys_first, row.keys_next);
        queue.purged = row.purged;
        queue.kept = Kept::new(row.kept);
        let marks = all_marks(&mut queue.immediate, &mut queue.grouped, &mut queue.delayed);
        for (marks, overdue) in marks.into_iter().zip(row.overdue) {
            marks.restore_overdue(overdue)?;
        }
        Ok(queue)
    }

    /// Takes in one of the rows that hang on the queue's own.
    pub(crate) fn restore_row(&mut self, key: RowKey, row: &[u8]) -> Result<(), FieldError> {
        match key.kind {
            RowKey::MARK => {
                let space = self.space_mut(MessageId(key.number).space());
                if key.number >= space.next {
                    return Err(FieldError::Range);
                }
                space.marks.restore(Mark::decode(key.number, row)?)
            }
            RowKey::DIRECTORY => {
                let is_buried = |page| self.purged.covers_page(page);
                self.pages.restore_directory(key.number, row, is_buried)
            }
            RowKey::LEASES => {
                let is_buried = covers_chunk(self.purged.lease, key.number);
                self.leases.table.restore_row(key.number, row, is_buried)
            }
            RowKey::DELAYED_DIRECTORY => {
                let is_buried = |chunk| covers_chunk(self.purged.delayed, chunk);
                self.waiting.restore_directory(key.number, row, is_buried)
            }
            RowKey::RESTING => {
                let is_buried = covers_chunk(self.purged.rest, key.number);
                self.resting.table.restore_row(key.number, row, is_buried)
            }
            RowKey::GROUPED | RowKey::HELD => {
                let is_buried = covers_chunk(self.purged.grouped, key.number);
                let is_held = key.kind == RowKey::HELD;
                self.groups.restore_row(is_held, key.number, row, is_buried)
            }
            RowKey::LETTERS => self.outbox.table.restore_row(key.number, row, false),
            RowKey::LANE => self.lanes.restore_row(key.number, row),
            RowKey::REDRIVE => self.redrives.restore_row(key.number, row),
            RowKey::PRODUCER => self.producers.restore_row(key.number, row),
            RowKey::KEYS => self.keys.restore_row(key.number, row),
            RowKey::KEPT => {
                let next = match MessageId(key.number).is_delayed() {
                    true => self.delayed.next,
                    false => self.fresh_first,
                };
                self.kept.restore_row(key.number, row, next)
            }
            RowKey::REPLY => self.producers.restore_reply(key.number, row),
            _ => self.supply(key, row),
        }
    }

    /// Checks, once all its rows are there, that none of them speaks of what was never given; makes
    /// what is not stored.
    pub(crate) fn finish_restore(&mut self) -> Result<(), FieldError> {
        let leases = self
            .leases
            .table
            .last_number()
            .is_none_or(|last| last < self.leases.next);
        let waiting = self.waiting.lies_in(self.delayed.base, self.delayed.next);
        let resting = self
            .resting
            .table
            .last_number()
            .is_none_or(|last| last < self.resting.next);
        let letters = self
            .outbox
            .table
            .last_number()
            .is_none_or(|last| last < self.outbox.next);
        let whole = self.producers.is_whole() && self.keys.is_whole() && self.kept.is_whole();
        let redrive = self.redrives.fits([self.immediate.next, self.delayed.next]);
        let held = self.leases.table.slots().chain(self.resting.table.slots());
        let held = held.map(|slot| slot.value.id);
        let groups = self.groups.index(self.grouped.next, held);
        let whole = whole && redrive && groups && self.shares_fit();
        if leases && waiting && resting && letters && whole {
            self.outbox.index();
            Ok(())
        } else {
            Err(FieldError::Range)
        }
    }
}
