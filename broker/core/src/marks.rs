//! When messages were sent, how long they are at most and how many bytes they have together, by
//! runs of ids: a bounded list of marks.
//!
//! An instant and a length per message would be memory that grows with the backlog. A mark speaks
//! for all ids from its first up to the next mark's. The newest marks span a second; when the list
//! is full, neighbours are joined, so that a mark spans a 16th of its age but at most a 500th of
//! the retention. A joined mark keeps the later instant for expiry and the longer length: a message
//! never expires early, and never passes the length that a receive asked for.
//!
//! Messages that are still there when their mark has expired, in flight or delayed, are overdue: a
//! group of its own.
//!
//! Invariants: first ids rise, instants do not fall; marks cover every id that was given, whose
//! mark has not expired, and which was not purged; `live` is the sum over the marks and what is
//! overdue. Spec: spec/semantics.md, "Retention", "Bytes"; spec/state.md, "Marks".

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use sampan_protocol::Timestamp;

use crate::fields::{FieldError, Fields};
use crate::limits::{MARK_COUNT_MAX, MARK_SPAN_MIN_MS, RETENTION_PRECISION};
use crate::row_changes::RowChanges;
use crate::share::{Share, Shares};

const VERSION: u8 = 1;
/// Marks that joining by age must free; else a step coarser is taken.
const JOIN_FREED_MIN: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The first id that it speaks for.
    pub(crate) first: u64,
    /// When the first of them was sent.
    pub(crate) sent_at: Timestamp,
    /// When the last of them was sent.
    pub(crate) last_sent_at: Timestamp,
    /// No content of them is longer than two to this power.
    pub(crate) class: u8,
    pub(crate) shares: Shares,
}

impl Mark {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.push(self.class);
        out.extend_from_slice(&self.sent_at.0.to_le_bytes());
        out.extend_from_slice(&self.last_sent_at.0.to_le_bytes());
        self.shares.encode(out);
    }

    pub(crate) fn decode(first: u64, row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let class = fields.u8()?;
        let (sent_at, last_sent_at) = (fields.timestamp()?, fields.timestamp()?);
        let shares = Shares::decode(&mut fields)?;
        fields.end()?;
        if class > 31 || sent_at > last_sent_at {
            return Err(FieldError::Range);
        }
        Ok(Mark {
            first,
            sent_at,
            last_sent_at,
            class,
            shares,
        })
    }
}

/// The class of a content length: the smallest power of two that is not below it.
pub(crate) fn class_of(content_len: usize) -> u8 {
    let class = content_len.next_power_of_two().trailing_zeros();
    u8::try_from(class).expect("a usize has 64 bits").min(31)
}

/// A run of ids that share a bound of their content length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) content_len_max: u32,
    /// The first id behind the run.
    pub(crate) end: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Marks {
    marks: VecDeque<Mark>,
    /// Of messages whose mark has expired.
    overdue: Shares,
    /// Of all messages that are there.
    live: Share,
    changes: RowChanges,
}

impl Marks {
    /// Takes note of messages from id `first` on, sent now.
    pub(crate) fn note(
        &mut self,
        first: u64,
        now: Timestamp,
        class: u8,
        retention_ms: u64,
        content: Share,
    ) {
        self.live.add(content);
        if let Some(last) = self.marks.back_mut()
            && last.class == class
            && now.0.saturating_sub(last.sent_at.0) < MARK_SPAN_MIN_MS
        {
            last.last_sent_at = now;
            last.shares.live.add(content);
            self.changes.on_change(last.first);
            return;
        }
        if self.marks.len() >= MARK_COUNT_MAX {
            self.make_room(now, retention_ms);
        }
        self.marks.push_back(Mark {
            first,
            sent_at: now,
            last_sent_at: now,
            class,
            shares: Shares {
                live: content,
                kept: Share::default(),
            },
        });
        self.changes.on_change(first);
    }

    fn make_room(&mut self, now: Timestamp, retention_ms: u64) {
        let widest = (retention_ms / RETENTION_PRECISION).max(MARK_SPAN_MIN_MS);
        let by_age = |mark: &Mark| {
            let age = now.0.saturating_sub(mark.last_sent_at.0);
            (age / 16).clamp(MARK_SPAN_MIN_MS, widest)
        };
        self.join(by_age);
        if self.marks.len() > MARK_COUNT_MAX - JOIN_FREED_MIN {
            self.join(|_| widest);
        }
        if self.marks.len() >= MARK_COUNT_MAX {
            self.join_closest();
        }
    }

    /// Joins neighbours as long as the joined mark spans no more than `span_max` says.
    fn join(&mut self, span_max: impl Fn(&Mark) -> u64) {
        let mut joined: VecDeque<Mark> = VecDeque::with_capacity(self.marks.len());
        for mark in std::mem::take(&mut self.marks) {
            match joined.back_mut() {
                Some(last) if mark.last_sent_at.0 - last.sent_at.0 <= span_max(&mark) => {
                    absorb(last, mark, &mut self.changes);
                }
                _ => joined.push_back(mark),
            }
        }
        self.marks = joined;
    }

    /// Joins the two neighbours that make the narrowest mark. Only marks from the time of another
    /// retention can make this needed.
    fn join_closest(&mut self) {
        let span =
            |place: &usize| self.marks[*place].last_sent_at.0 - self.marks[*place - 1].sent_at.0;
        if let Some(place) = (1..self.marks.len()).min_by_key(span)
            && let Some(mark) = self.marks.remove(place)
        {
            absorb(&mut self.marks[place - 1], mark, &mut self.changes);
        }
    }

    fn place_of(&self, id: u64) -> usize {
        self.marks
            .partition_point(|mark| mark.first <= id)
            .saturating_sub(1)
    }

    /// The bound of the content lengths from `id` on.
    pub(crate) fn bound(&self, id: u64) -> Bound {
        let place = self.place_of(id);
        let class = self.marks.get(place).map_or(31, |mark| mark.class);
        let end = self
            .marks
            .get(place + 1)
            .map_or(u64::MAX, |next| next.first);
        Bound {
            content_len_max: 1 << class,
            end,
        }
    }

    /// When the message was sent, or a little before.
    pub(crate) fn sent_at(&self, id: u64) -> Option<Timestamp> {
        self.marks.get(self.place_of(id)).map(|mark| mark.sent_at)
    }

    /// When the last message of the mark that speaks for `id` was sent, and where that mark ends.
    pub(crate) fn stretch(&self, id: u64) -> Option<(Timestamp, u64)> {
        let mark = self.marks.get(self.place_of(id))?;
        Some((mark.last_sent_at, self.bound(id).end))
    }

    /// When the oldest mark's messages expire.
    pub(crate) fn next_expiry(&self, retention_ms: u64) -> Option<Timestamp> {
        self.marks
            .front()
            .map(|mark| mark.last_sent_at.after_ms(retention_ms))
    }

    /// Ids below this one have expired; `next` is the id that is given next.
    pub(crate) fn expired_below(&self, next: u64) -> u64 {
        self.marks.front().map_or(next, |mark| mark.first)
    }

    /// Where the messages of the oldest mark end.
    pub(crate) fn front_end(&self, next: u64) -> u64 {
        self.marks.get(1).map_or(next, |mark| mark.first)
    }

    /// The first id that will not have expired at `now`.
    pub(crate) fn end_of_expired(&self, now: Timestamp, retention_ms: u64, next: u64) -> u64 {
        let is_over = |mark: &Mark| mark.last_sent_at.after_ms(retention_ms) <= now;
        let live = self.marks.get(self.marks.partition_point(is_over));
        live.map_or(next, |mark| mark.first)
    }

    /// The first id of the first mark with a message that was sent at `to` or later.
    pub(crate) fn first_sent_from(&self, to: Timestamp, next: u64) -> u64 {
        let is_before = |mark: &Mark| mark.last_sent_at < to;
        let mark = self.marks.get(self.marks.partition_point(is_before));
        mark.map_or(next, |mark| mark.first)
    }

    /// The oldest mark has expired: what is left of its messages is overdue.
    pub(crate) fn drop_front(&mut self) {
        if let Some(mark) = self.marks.pop_front() {
            self.overdue.add(mark.shares);
            self.changes.on_removal(mark.first, true);
        }
    }

    /// No message is left that a mark could speak for.
    pub(crate) fn clear(&mut self) {
        while !self.marks.is_empty() {
            self.drop_front();
        }
        (self.overdue, self.live) = (Shares::default(), Share::default());
    }

    /// All messages that are there.
    pub(crate) fn live(&self) -> Share {
        self.live
    }

    pub(crate) fn overdue(&self) -> Shares {
        self.overdue
    }

    /// All messages that were deleted and are kept.
    pub(crate) fn kept(&self) -> Share {
        let marks = self.marks.iter().map(|mark| mark.shares.kept);
        marks.fold(self.overdue.kept, Share::plus)
    }

    /// The first id of the mark that speaks for `id`, and the messages that are there of it.
    pub(crate) fn live_of(&self, id: u64) -> (u64, Share) {
        let mark = self.marks.get(self.place_of(id));
        let mark = mark.filter(|mark| mark.first <= id);
        mark.map_or((0, self.overdue.live), |mark| {
            (mark.first, mark.shares.live)
        })
    }

    /// Messages are gone: what they take along.
    pub(crate) fn take(&mut self, first: u64, count: u64) -> Share {
        let taken = self.edit(first, count, |shares, count| shares.live.take(count));
        self.live = self.live.less(taken);
        taken
    }

    /// A message that was taken is back, with as many bytes.
    pub(crate) fn give_back(&mut self, id: u64, bytes: u64) {
        let share = Share { count: 1, bytes };
        self.edit(id, 1, |shares, _| {
            shares.live.add(share);
            share
        });
        self.live.add(share);
    }

    /// Messages are deleted and kept.
    pub(crate) fn keep(&mut self, first: u64, count: u64) {
        let taken = self.edit(first, count, |shares, count| {
            let share = shares.live.take(count);
            shares.kept.add(share);
            share
        });
        self.live = self.live.less(taken);
    }

    /// Messages that were kept are there again.
    pub(crate) fn bring_back(&mut self, first: u64, count: u64) {
        let back = self.edit(first, count, |shares, count| {
            let share = shares.kept.take(count);
            shares.live.add(share);
            share
        });
        self.live.add(back);
    }

    /// Messages that were kept are gone.
    pub(crate) fn let_go(&mut self, first: u64, count: u64) {
        self.edit(first, count, |shares, count| shares.kept.take(count));
    }

    /// Lets `change` work on the shares of each mark that speaks for some of the messages; the sum
    /// of what it says.
    fn edit(
        &mut self,
        first: u64,
        count: u64,
        mut change: impl FnMut(&mut Shares, u64) -> Share,
    ) -> Share {
        let (mut id, end) = (first, first + count);
        let mut next_place = self.marks.partition_point(|mark| mark.first <= id);
        let mut sum = Share::default();
        while id < end {
            let next = self.marks.get(next_place);
            let until = next.map_or(end, |next| next.first.min(end));
            let mark = next_place
                .checked_sub(1)
                .map(|place| &mut self.marks[place]);
            sum.add(match mark {
                None => change(&mut self.overdue, until - id),
                Some(mark) => {
                    self.changes.on_change(mark.first);
                    change(&mut mark.shares, until - id)
                }
            });
            (id, next_place) = (until, next_place + 1);
        }
        sum
    }

    pub(crate) fn freeze(&mut self, mut each: impl FnMut(u64, Option<Mark>)) {
        let (changed, gone) = self.changes.take();
        gone.into_iter().for_each(|first| each(first, None));
        for first in changed {
            each(first, self.marks.get(self.place_of(first)).copied());
        }
    }

    pub(crate) fn row_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.marks
            .iter()
            .map(|mark| mark.first)
            .chain(self.changes.gone())
    }

    pub(crate) fn restore(&mut self, mark: Mark) -> Result<(), FieldError> {
        let follows = self
            .marks
            .back()
            .is_none_or(|last| last.first < mark.first && last.last_sent_at <= mark.sent_at);
        if !follows || self.marks.len() >= MARK_COUNT_MAX {
            return Err(FieldError::Range);
        }
        self.add_restored(mark.shares)?;
        self.marks.push_back(mark);
        Ok(())
    }

    pub(crate) fn restore_overdue(&mut self, overdue: Shares) -> Result<(), FieldError> {
        self.overdue = overdue;
        self.add_restored(overdue)
    }

    fn add_restored(&mut self, shares: Shares) -> Result<(), FieldError> {
        let sum = |more, before: u64| before.checked_add(more).ok_or(FieldError::Range);
        self.live = Share {
            count: sum(shares.live.count, self.live.count)?,
            bytes: sum(shares.live.bytes, self.live.bytes)?,
        };
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.marks.len()
    }
}

fn absorb(last: &mut Mark, mark: Mark, changes: &mut RowChanges) {
    last.last_sent_at = mark.last_sent_at;
    last.class = last.class.max(mark.class);
    last.shares.add(mark.shares);
    changes.on_change(last.first);
    changes.on_removal(mark.first, true);
}
