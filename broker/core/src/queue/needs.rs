//! Which evicted rows an entry could touch: found out before anything is changed.
//!
//! Of pages the answer may name one too many (a receive can stop early by length), never one too
//! few:
//! - due work touches the pages of what lapses, has rested or falls due, and the lowest ones that
//!   expire or are given up;
//! - a receive takes the lowest pages until it has enough; due work removes at most its budget from
//!   pages that expire or are given up, and whatever else happens in the entry only adds ready
//!   messages;
//! - a rewind touches no page itself, and due work those of the lowest messages that it brings
//!   back;
//! - a release or a change of visibility to 0 touches the page of the message. A lease made in the
//!   same entry came from a page named here, or from the fresh range with no page left at all;
//! - a send or a delivery to a queue that makes room takes the lowest pages until it has given up
//!   enough. How much the queue holds by then is not known before, so it is taken for the most;
//! - a purge touches the pages of the next ids: those of ids given in the same entry are here;
//! - a delayed message that is made ready touches its page;
//! - a step of a redrive touches the pages of its messages and those of what is fresh up to its
//!   cursor; a redriven message that comes back touches its page, and so did the step.
//!
//! And of chunks of delayed messages: due work touches those with a deadline that has come and
//! those that are buried, a send with a delay (its own, or the queue's by then) and a purge the one
//! of the next id, another instant the message's.
//!
//! Spec: spec/state.md, "Rows that leave memory".

use std::collections::BTreeSet;

use sampan_protocol::{Handles, MessageBatch, MessageId, QueueAttributes, Timestamp, WhenFull};

use super::spaces::Space;
use super::{Fate, Queue, RedriveStep};
use crate::chunk::CHUNK_COUNT;
use crate::limits::{DUE_WORK_MAX, OVERFLOW_COUNT_MAX, PAGE_COUNT};
use crate::row_key::RowKey;
use crate::share::Share;

/// The evicted rows of one queue that one entry could touch.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Kinds and numbers.
    pub(crate) rows: BTreeSet<(u8, u64)>,
    /// Messages that the receives of the entry ask for, and that redrives take before them.
    wanted: u64,
    /// What the entry may add: sends, deliveries, and what comes back.
    added: Share,
    /// The lowest limits under which the queue makes room, by changes of the entry.
    limits: Option<Share>,
    /// Sends and deliveries.
    send_count: u64,
    /// Messages that these give up.
    overflow: u64,
}

impl Needs {
    fn note_limits(&mut self, attributes: &QueueAttributes) {
        if attributes.when_full == WhenFull::Refuse {
            return;
        }
        let before = self.limits.unwrap_or(Share {
            count: u64::MAX,
            bytes: u64::MAX,
        });
        self.limits = Some(Share {
            count: before.count.min(attributes.message_count_max),
            bytes: before.bytes.min(attributes.byte_count_max),
        });
    }
}

impl Queue {
    /// Rows that due work touches.
    pub(crate) fn need_for_due(&self, now: Timestamp, needs: &mut Needs) {
        if self.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        for space in [&self.immediate, &self.delayed] {
            let mut swept = 0;
            for (page, ready_count) in self.leaving(space, now) {
                if swept >= DUE_WORK_MAX {
                    break;
                }
                swept += ready_count;
                self.need_page(page, needs);
            }
        }
        let mut cleared = 0;
        for (page, ready_count) in self.pages.buried() {
            if cleared >= DUE_WORK_MAX {
                break;
            }
            cleared += ready_count;
            self.need_page(page, needs);
        }
        self.waiting.due_chunks(now, DUE_WORK_MAX, |chunk| {
            self.need_chunk(chunk, needs);
            self.need_page(chunk * CHUNK_COUNT / PAGE_COUNT, needs);
        });
        self.waiting
            .buried_chunks(DUE_WORK_MAX, |chunk| self.need_chunk(chunk, needs));
        for page in self.pages_of_returning() {
            self.need_page(page, needs);
        }
        for table in [&self.resting.table, &self.leases.table] {
            table.peek_due(now, DUE_WORK_MAX, |_, slot| {
                self.need_page(slot.value.id.0 / PAGE_COUNT, needs);
            });
        }
    }

    /// Rows that a purge touches.
    pub(crate) fn need_for_purge(&self, needs: &mut Needs) {
        self.need_chunk(self.delayed.next / CHUNK_COUNT, needs);
        for next in [self.immediate.next, self.delayed.next] {
            self.need_page(next / PAGE_COUNT, needs);
        }
    }

    /// Where a delayed message is, and where it would be when ready.
    pub(crate) fn need_for_message(&self, id: MessageId, needs: &mut Needs) {
        self.need_chunk(id.0 / CHUNK_COUNT, needs);
        self.need_page(id.0 / PAGE_COUNT, needs);
    }

    /// Pages that give back touches.
    pub(crate) fn need_for_handles(&self, handles: &Handles, needs: &mut Needs) {
        self.messages_of(handles)
            .for_each(|id| self.need_page(id.0 / PAGE_COUNT, needs));
    }

    /// Pages that a step of a redrive touches.
    pub(crate) fn need_for_redrive(&self, step: &RedriveStep, needs: &mut Needs) {
        // A receive behind it finds less on the lowest pages.
        needs.wanted += step.picks.len() as u64;
        self.touched_by_step(step)
            .for_each(|id| self.need_page(id / PAGE_COUNT, needs));
    }

    /// Pages that redriven messages come back to.
    pub(crate) fn need_for_fates(&self, fates: &[(u64, Fate)], needs: &mut Needs) {
        for id in self.coming_back(fates) {
            self.need_page(id.0 / PAGE_COUNT, needs);
            needs.added.add(Share {
                count: 1,
                bytes: self.outbox.bytes(),
            });
        }
    }

    /// Pages that a receive touches, together with the receives before it.
    pub(crate) fn need_for_receive(&self, count_max: u16, now: Timestamp, needs: &mut Needs) {
        needs.wanted += u64::from(count_max);
        self.need_lowest(now, needs);
    }

    /// Attributes that a send behind finds.
    pub(crate) fn need_for_set(&self, attributes: &QueueAttributes, needs: &mut Needs) {
        if attributes.delay_ms > 0 {
            self.need_chunk(self.delayed.next / CHUNK_COUNT, needs);
        }
        needs.note_limits(attributes);
    }

    /// What a send behind finds more of.
    pub(crate) fn need_for_rewind(&self, needs: &mut Needs) {
        needs.added.add(self.returnable());
    }

    /// The chunk that the next delayed message goes to, if a send has one, and the pages of the
    /// messages that a send, or a delivery, could give up.
    pub(crate) fn need_for_send(&self, batch: &MessageBatch, now: Timestamp, needs: &mut Needs) {
        if batch.has_delays() || self.attributes.delay_ms > 0 {
            self.need_chunk(self.delayed.next / CHUNK_COUNT, needs);
        }
        let records = batch.records();
        let more = records.map(|record| Share::one(record.content_len()));
        needs.added = more.fold(needs.added, Share::plus);
        needs.send_count += 1;
        needs.note_limits(&self.attributes);
        let Some(limits) = needs.limits else {
            return;
        };
        let coming_back = match self.is_rewinding() {
            true => self.returnable(),
            false => Share::default(),
        };
        let over = self.here().plus(coming_back).plus(needs.added).less(limits);
        let most = needs.send_count * OVERFLOW_COUNT_MAX;
        needs.overflow = match over.bytes {
            0 => needs.overflow.max(over.count.min(most)),
            _ => most,
        };
        if needs.overflow > 0 {
            self.need_lowest(now, needs);
        }
    }

    /// The lowest pages, until they have what the entry takes from there.
    fn need_lowest(&self, now: Timestamp, needs: &mut Needs) {
        let wanted = needs.wanted + needs.overflow;
        let ends = [&self.immediate, &self.delayed].map(|space| self.leaving_until(space, now));
        let leaves = |page: u64| {
            let is_delayed = page >= self.delayed.base / PAGE_COUNT;
            page * PAGE_COUNT < ends[usize::from(is_delayed)]
        };
        let (mut staying, mut all) = (0, 0);
        for (page, ready_count) in self.pages.directory_below(u64::MAX) {
            if staying >= wanted || all >= wanted + DUE_WORK_MAX {
                return;
            }
            self.need_page(page, needs);
            all += ready_count;
            if !leaves(page) {
                staying += ready_count;
            }
        }
    }

    fn need_page(&self, page: u64, needs: &mut Needs) {
        if self.pages.is_evicted(page) {
            needs.rows.insert((RowKey::PAGE, page));
        }
    }

    fn need_chunk(&self, chunk: u64, needs: &mut Needs) {
        if self.waiting.is_evicted(chunk) {
            needs.rows.insert((RowKey::DELAYED, chunk));
        }
    }

    /// The pages with messages that expire or are given up, the lowest first.
    fn leaving(&self, space: &Space, now: Timestamp) -> impl Iterator<Item = (u64, u64)> + '_ {
        let base = space.base / PAGE_COUNT;
        let pages = self.pages.directory_below(self.leaving_until(space, now));
        pages.filter(move |(page, _)| *page >= base)
    }

    /// Ids of the space below this one expire or are given up by `now`; its base when none is.
    fn leaving_until(&self, space: &Space, now: Timestamp) -> u64 {
        let expired = space
            .marks
            .end_of_expired(now, self.attributes.retention_ms, space.next);
        let end = expired.max(self.aging_until(space, now));
        if end > space.marks.expired_below(space.next) {
            end
        } else {
            space.base
        }
    }
}
