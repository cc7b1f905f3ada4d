//! A queue as rows: what a freeze takes along, and the way back.
//!
//! A freeze clones references of what changed; bytes are made later, on another thread.
//! Spec: spec/state.md, "State rows".

use sampan_protocol::{AttributeChanges, MessageId, QueueAttributes, QueueId, Timestamp};

use super::deduplication::Keys;
use super::outbox::Outbox;
use super::producers::Producers;
use super::purge::{Purged, covers_chunk};
use super::resting::Resting;
use super::rewinding::{Kept, KeptState};
use super::room::both;
use super::{Queue, Space};
use crate::fields::{FieldError, Fields, put_text};
use crate::frozen::FrozenRow;
use crate::leases::Leases;
use crate::limits::LEASE_NUMBER_MAX;
use crate::marks::Mark;
use crate::row_key::RowKey;
use crate::share::Shares;

const VERSION: u8 = 1;
/// Numbers of producers and keys lie below these: so many were never given, and sums of them fit.
const PRODUCER_NUMBER_MAX: u64 = 1 << 53;
const KEY_NUMBER_MAX: u64 = 1 << 62;

/// The queue's own row: everything of it that is not many.
#[derive(Clone, Debug)]
pub(crate) struct QueueRow {
    name: String,
    attributes: QueueAttributes,
    secret: u64,
    immediate_next: u64,
    fresh_first: u64,
    delayed_next: u64,
    lease_next: u64,
    producer_next: u64,
    producers_swept_at: Timestamp,
    producers_forgotten_until: Timestamp,
    resting_next: u64,
    letter_next: u64,
    immediate_aged_below: u64,
    delayed_aged_below: u64,
    keys_first: u64,
    keys_next: u64,
    purged: Purged,
    kept: KeptState,
    /// Without a delay and with one.
    overdue: [Shares; 2],
}

impl QueueRow {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        encode_attributes(&self.attributes, out);
        for number in [
            self.secret,
            self.immediate_next,
            self.fresh_first,
            self.delayed_next,
            self.lease_next,
            self.producer_next,
            self.producers_swept_at.0,
            self.producers_forgotten_until.0,
            self.resting_next,
            self.letter_next,
            self.immediate_aged_below,
            self.delayed_aged_below,
            self.keys_first,
            self.keys_next,
            self.purged.immediate,
            self.purged.delayed,
            self.purged.lease,
            self.purged.rest,
            self.purged.at.0,
        ] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        self.kept.encode(out);
        self.overdue.iter().for_each(|shares| shares.encode(out));
        put_text(out, &self.name);
    }

    fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let attributes = decode_attributes(&mut fields)?;
        let decoded = QueueRow {
            attributes,
            secret: fields.u64()?,
            immediate_next: fields.u64()?,
            fresh_first: fields.u64()?,
            delayed_next: fields.u64()?,
            lease_next: fields.u64()?,
            producer_next: fields.u64()?,
            producers_swept_at: fields.timestamp()?,
            producers_forgotten_until: fields.timestamp()?,
            resting_next: fields.u64()?,
            letter_next: fields.u64()?,
            immediate_aged_below: fields.u64()?,
            delayed_aged_below: fields.u64()?,
            keys_first: fields.u64()?,
            keys_next: fields.u64()?,
            purged: Purged {
                immediate: fields.u64()?,
                delayed: fields.u64()?,
                lease: fields.u64()?,
                rest: fields.u64()?,
                at: fields.timestamp()?,
            },
            kept: KeptState::decode(&mut fields)?,
            overdue: [Shares::decode(&mut fields)?, Shares::decode(&mut fields)?],
            name: fields.text()?.to_owned(),
        };
        fields.end()?;
        decoded.check()?;
        Ok(decoded)
    }

    fn check(&self) -> Result<(), FieldError> {
        let delayed = MessageId::DELAYED_BIT;
        let holds = (1..=self.immediate_next).contains(&self.fresh_first)
            && self.immediate_next < delayed
            && (delayed + 1..2 * delayed).contains(&self.delayed_next)
            && (1..=LEASE_NUMBER_MAX).contains(&self.lease_next)
            && (1..PRODUCER_NUMBER_MAX).contains(&self.producer_next)
            && self.resting_next > 0
            && self.letter_next > 0
            && self.immediate_aged_below <= self.immediate_next
            && (delayed..=self.delayed_next).contains(&self.delayed_aged_below)
            && self.keys_first <= self.keys_next
            && self.keys_next < KEY_NUMBER_MAX
            && (1..=self.fresh_first).contains(&self.purged.immediate)
            && (delayed + 1..=self.delayed_next).contains(&self.purged.delayed)
            && (1..=self.lease_next).contains(&self.purged.lease)
            && (1..=self.resting_next).contains(&self.purged.rest);
        if holds {
            Ok(())
        } else {
            Err(FieldError::Range)
        }
    }
}

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
            kept: self.kept.state(),
            overdue: [&self.immediate, &self.delayed].map(|space| space.marks.overdue()),
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
        for space in [&mut self.immediate, &mut self.delayed] {
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
        self.immediate
            .marks
            .row_numbers()
            .for_each(|number| push(RowKey::MARK, number));
        self.delayed
            .marks
            .row_numbers()
            .for_each(|number| push(RowKey::MARK, number));
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
        queue.immediate = Space::new(0, row.immediate_next);
        queue.delayed = Space::new(MessageId::DELAYED_BIT, row.delayed_next);
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
        queue.delayed.aged_below = row.delayed_aged_below;
        queue.keys = Keys::new(row.keys_first, row.keys_next);
        queue.purged = row.purged;
        queue.kept = Kept::new(row.kept);
        let marks = both(&mut queue.immediate, &mut queue.delayed);
        for (marks, overdue) in marks.into_iter().zip(row.overdue) {
            marks.restore_overdue(overdue)?;
        }
        Ok(queue)
    }

    /// Takes in one of the rows that hang on the queue's own.
    pub(crate) fn restore_row(&mut self, key: RowKey, row: &[u8]) -> Result<(), FieldError> {
        match key.kind {
            RowKey::MARK => {
                let is_delayed = MessageId(key.number).is_delayed();
                let space = if is_delayed {
                    &mut self.delayed
                } else {
                    &mut self.immediate
                };
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
        let whole = whole && redrive && self.shares_fit();
        if leases && waiting && resting && letters && whole {
            self.outbox.index();
            Ok(())
        } else {
            Err(FieldError::Range)
        }
    }
}

/// All of them, as a list of changes.
pub(crate) fn encode_attributes(attributes: &QueueAttributes, out: &mut Vec<u8>) {
    encode_changes(&(*attributes).into(), out);
}

pub(crate) fn decode_attributes(fields: &mut Fields<'_>) -> Result<QueueAttributes, FieldError> {
    let attributes = decode_changes(fields)?.all();
    attributes.ok_or(FieldError::Range)
}

pub(crate) fn encode_changes(changes: &AttributeChanges, out: &mut Vec<u8>) {
    let named = changes.named();
    let count = u16::try_from(named.clone().count()).expect("attributes are few");
    out.extend_from_slice(&count.to_le_bytes());
    for (tag, value) in named {
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&value.to_le_bytes());
    }
}

pub(crate) fn decode_changes(fields: &mut Fields<'_>) -> Result<AttributeChanges, FieldError> {
    let mut changes = AttributeChanges::default();
    let mut tag_before = 0;
    for _ in 0..fields.u16()? {
        let (tag, value) = (fields.u16()?, fields.u64()?);
        if tag <= tag_before {
            return Err(FieldError::Range);
        }
        let set = changes.set(tag, value);
        set.map_err(|_| FieldError::Range)?;
        tag_before = tag;
    }
    Ok(changes)
}
