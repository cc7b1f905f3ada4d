//! Looking at messages without receiving them: nothing changes.
//!
//! Pages and chunks that are not in memory are not taken in for this, for nobody would evict them
//! again: the caller reads their rows and gives them along for one look. At most
//! [`PEEK_PAGE_COUNT_MAX`] pages, so a look at ready messages may end early; of chunks no more than
//! messages are wanted, and one.
//!
//! Leases and rests are in the order of their own numbers, so a look at those goes through all of
//! them: some milliseconds with a million messages in flight. An index by id would cost every
//! receive. Spec: spec/semantics.md, "Looking".

use std::collections::BTreeMap;

use sampan_protocol::limits::{BODY_LEN_MAX, HEADERS_LEN_MAX, KEY_LEN_MAX};
use sampan_protocol::{IdSpace, MessageId, MessageState, PeekOf, Timestamp};

use super::{Delayed, Queue};
use crate::chunk::{CHUNK_COUNT, Chunk, Slot};
use crate::fields::FieldError;
use crate::leases::Lease;
use crate::limits::{PAGE_COUNT, PEEK_PAGE_COUNT_MAX};
use crate::page::{Page, Received};
use crate::row_key::RowKey;

/// What a peek asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek {
    /// Which messages.
    pub of: PeekOf,
    /// The last one of the page before; of [`PeekOf::Message`], the one.
    pub id: MessageId,
    /// At most so many.
    pub count_max: u16,
    /// At most so many bytes of headers and bodies, but one message in any case.
    pub len_max: u32,
}

/// One message that was looked at. Its body is read elsewhere, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peeked {
    /// The message.
    pub id: MessageId,
    /// Where it stands.
    pub state: MessageState,
    /// How often it was received.
    pub receive_count: u32,
    /// When it was first received; 0 when it never was.
    pub first_received_at: Timestamp,
    /// When it is ready; 0 when it is.
    pub ready_at: Timestamp,
}

impl Peeked {
    fn ready(id: u64, received: Option<Received>) -> Self {
        Peeked {
            id: MessageId(id),
            state: MessageState::Ready,
            receive_count: received.map_or(0, |received| received.receive_count),
            first_received_at: received.map_or(Timestamp(0), |it| it.first_received_at),
            ready_at: Timestamp(0),
        }
    }

    fn delayed(id: u64, due_at: Timestamp) -> Self {
        Peeked {
            state: MessageState::Delayed,
            ready_at: due_at,
            ..Peeked::ready(id, None)
        }
    }

    fn leased(state: MessageState, slot: &Slot<Lease>) -> Self {
        Peeked {
            id: slot.value.id,
            state,
            receive_count: slot.value.receive_count,
            first_received_at: slot.value.first_received_at,
            ready_at: slot.at,
        }
    }
}

/// Rows that are not in memory, by their number; `None` for one that is gone.
#[derive(Default)]
pub(crate) struct LookRows {
    pages: BTreeMap<u64, Option<Page>>,
    chunks: BTreeMap<u64, Option<Chunk<Delayed>>>,
}

impl LookRows {
    pub(crate) fn push(&mut self, key: RowKey, row: Option<&[u8]>) -> Result<(), FieldError> {
        match key.kind {
            RowKey::PAGE => {
                let page = row.map(Page::decode).transpose()?;
                self.pages.insert(key.number, page);
            }
            RowKey::DELAYED => {
                let chunk = row.map(Chunk::decode).transpose()?;
                self.chunks.insert(key.number, chunk);
            }
            other => return Err(FieldError::Kind(other)),
        }
        Ok(())
    }
}

/// A look in the making.
pub(crate) struct Look<'a> {
    queue: &'a Queue,
    rows: &'a LookRows,
    count_left: usize,
    len_left: u64,
    pub(crate) messages: Vec<Peeked>,
    /// Kinds and numbers of the rows that are needed before anything can be said.
    pub(crate) needs: Vec<(u8, u64)>,
    /// Pages used that are not in memory.
    read_count: usize,
}

impl<'a> Look<'a> {
    fn new(queue: &'a Queue, ask: &Peek, rows: &'a LookRows) -> Self {
        Look {
            queue,
            rows,
            count_left: usize::from(ask.count_max),
            len_left: u64::from(ask.len_max),
            messages: Vec::new(),
            needs: Vec::new(),
            read_count: 0,
        }
    }
}

impl<'a> Look<'a> {
    /// As `push_pages`, of a range that may be empty.
    fn push_range(&mut self, from: u64, until: u64) -> bool {
        from >= until || self.push_pages(from, until)
    }

    /// Adds a message; false when nothing more fits.
    fn push(&mut self, message: Peeked) -> bool {
        const CONTENT_LEN_MAX: usize = BODY_LEN_MAX + HEADERS_LEN_MAX + 2 * KEY_LEN_MAX;
        let id = message.id.0;
        let bound = self.queue.space_of(message.id).marks.bound(id);
        let len = u64::from(bound.content_len_max).min(CONTENT_LEN_MAX as u64);
        if self.count_left == 0 || (len > self.len_left && !self.messages.is_empty()) {
            return false;
        }
        self.count_left -= 1;
        self.len_left = self.len_left.saturating_sub(len);
        self.messages.push(message);
        true
    }

    /// Adds messages; false when the look ends among them.
    fn push_all(&mut self, messages: impl IntoIterator<Item = Peeked>) -> bool {
        messages.into_iter().all(|message| self.push(message))
    }

    /// The pages' messages from `from` up to `until`; false when the look ends there.
    fn push_pages(&mut self, from: u64, until: u64) -> bool {
        for (number, ready_count, page) in self.queue.pages.range(from, until) {
            if self.count_left == 0 {
                return false;
            }
            self.read_count += usize::from(page.is_none());
            if self.read_count > PEEK_PAGE_COUNT_MAX {
                return false;
            }
            let first = number * PAGE_COUNT;
            let place = from.saturating_sub(first);
            let page = match (page, self.rows.pages.get(&number)) {
                (Some(page), _) | (None, Some(Some(page))) => page,
                (None, Some(None)) => continue,
                (None, None) => {
                    self.needs.push((RowKey::PAGE, number));
                    // Of a page that begins before, nobody knows how much is wanted.
                    if place == 0 {
                        let ready_count = usize::try_from(ready_count).unwrap_or(usize::MAX);
                        self.count_left = self.count_left.saturating_sub(ready_count);
                    }
                    continue;
                }
            };
            for (place, received) in page.ready_from(place) {
                if first + u64::from(place) >= until {
                    break;
                }
                if !self.push(Peeked::ready(first + u64::from(place), received)) {
                    return false;
                }
            }
        }
        true
    }

    /// A chunk that is not in memory, if it was read and is not gone; asks for it when it was not.
    fn row_of_chunk(&mut self, number: u64) -> Option<&'a Chunk<Delayed>> {
        let row = self.rows.chunks.get(&number);
        if row.is_none() {
            self.needs.push((RowKey::DELAYED, number));
        }
        row?.as_ref()
    }

    /// The message of an id, if it waits for its delay.
    fn find_one_waiting(&mut self, id: MessageId) -> Option<Peeked> {
        let chunk_number = id.0 / CHUNK_COUNT;
        let (number, live, chunk) = self.queue.waiting.chunks_from(chunk_number).next()?;
        let offset = id.0 % CHUNK_COUNT;
        if number != chunk_number || live >> offset & 1 == 0 {
            return None;
        }
        let chunk = chunk.or_else(|| self.row_of_chunk(number))?;
        let slot = chunk.peek(offset)?;
        Some(Peeked::delayed(id.0, slot.at))
    }

    /// Adds to `found` the first messages behind `after` that wait for their delay.
    fn find_waiting(&mut self, after: MessageId, found: &mut BTreeMap<u64, Peeked>) {
        let (behind, mut left) = (after.0.saturating_add(1), self.count_left);
        for (number, live, chunk) in self.queue.waiting.chunks_from(behind / CHUNK_COUNT) {
            if left == 0 {
                return;
            }
            let first = number * CHUNK_COUNT;
            let Some(chunk) = chunk.or_else(|| self.row_of_chunk(number)) else {
                // Of a chunk that begins before, nobody knows how much is wanted.
                if first >= behind && !self.rows.chunks.contains_key(&number) {
                    left = left.saturating_sub(live.count_ones() as usize);
                }
                continue;
            };
            // A row may still have what was taken since.
            let slots = chunk
                .slots()
                .filter(|(offset, _)| live >> offset & 1 == 1)
                .map(|(offset, slot)| (first + offset, slot.at));
            let wanted = slots.filter(|(id, _)| *id >= behind).take(left);
            let delayed = wanted.map(|(id, at)| (id, Peeked::delayed(id, at)));
            let count_before = found.len();
            found.extend(delayed);
            left -= found.len() - count_before;
        }
    }
}

impl Queue {
    /// Looks at messages, with `rows` for pages that are not in memory.
    pub(crate) fn peek<'a>(&'a self, ask: &Peek, rows: &'a LookRows) -> Look<'a> {
        let mut look = Look::new(self, ask, rows);
        let count = look.count_left;
        match ask.of {
            PeekOf::Ready => self.peek_ready(ask.id, &mut look),
            PeekOf::Delayed => self.peek_delayed(ask.id, &mut look),
            PeekOf::InFlight => drop(look.push_all(self.in_flight_behind(ask.id, count))),
            PeekOf::Message => self.peek_message(ask.id, &mut look),
        }
        look
    }

    /// In the order of receiving: what came back, what fell due, what is fresh; then what is of
    /// groups, by id.
    fn peek_ready(&self, after: MessageId, look: &mut Look<'_>) {
        let (base, behind) = (MessageId::DELAYED_BIT, after.0.saturating_add(1));
        let space = after.space();
        let is_fresh = space == IdSpace::Immediate && after.0 >= self.fresh_first;
        let has_room = match space {
            IdSpace::Grouped => true,
            IdSpace::Delayed => look.push_pages(behind, u64::MAX),
            IdSpace::Immediate if is_fresh => true,
            IdSpace::Immediate => look.push_pages(behind, base) && look.push_pages(base, u64::MAX),
        };
        let first = match space {
            IdSpace::Grouped => self.immediate.next,
            _ if is_fresh => behind,
            _ => self.fresh_first,
        };
        let mut fresh = (first..self.immediate.next).map(|id| Peeked::ready(id, None));
        if has_room && look.push_all(&mut fresh) {
            let first = if after.is_grouped() { behind } else { 0 };
            let ready = self.groups.ready_from(first);
            look.push_all(ready.map(|(id, received)| Peeked::ready(id, received)));
        }
    }

    /// Looks at ready messages in the order of their ids, up to where `ends` says for each kind.
    pub(crate) fn look_by_id<'a>(
        &'a self,
        ask: &Peek,
        ends: [MessageId; 2],
        rows: &'a LookRows,
    ) -> Look<'a> {
        let mut look = Look::new(self, ask, rows);
        let (behind, base) = (ask.id.0.saturating_add(1), self.delayed.base);
        let [immediate_end, delayed_end] = ends.map(|end| end.0);
        let back_end = self.fresh_first.min(immediate_end);
        let mut has_room = look.push_range(behind, back_end);
        for id in behind.max(self.fresh_first)..immediate_end.min(self.immediate.next) {
            has_room = has_room && look.push(Peeked::ready(id, None));
            if !has_room {
                break;
            }
        }
        if has_room {
            look.push_range(behind.max(base), delayed_end);
        }
        look
    }

    fn peek_delayed(&self, after: MessageId, look: &mut Look<'_>) {
        let mut found = self.resting_behind(after, look.count_left);
        look.find_waiting(after, &mut found);
        look.push_all(found.into_values());
    }

    fn resting_behind(&self, after: MessageId, count: usize) -> BTreeMap<u64, Peeked> {
        let resting = self.resting.table.slots();
        let resting = resting.map(|slot| Peeked::leased(MessageState::Resting, &slot));
        lowest_behind(after, count, resting)
    }

    fn in_flight_behind(&self, after: MessageId, count: usize) -> impl Iterator<Item = Peeked> {
        let leases = self.leases.table.slots();
        let leases = leases.map(|slot| Peeked::leased(MessageState::InFlight, &slot));
        lowest_behind(after, count, leases).into_values()
    }

    fn peek_message(&self, id: MessageId, look: &mut Look<'_>) {
        let is_fresh = (self.fresh_first..self.immediate.next).contains(&id.0);
        if is_fresh {
            look.push(Peeked::ready(id.0, None));
            return;
        }
        if let Some(waiting) = look.find_one_waiting(id) {
            look.push(waiting);
            return;
        }
        if let Some(received) = self.groups.find_ready(id) {
            look.push(Peeked::ready(id.0, received));
            return;
        }
        look.push_pages(id.0, id.0.saturating_add(1));
        if !look.messages.is_empty() || !look.needs.is_empty() {
            return;
        }
        let before = MessageId(id.0.saturating_sub(1));
        let hidden = self.resting_behind(before, 1).into_values();
        let hidden = hidden.chain(self.in_flight_behind(before, 1));
        let found = hidden.filter(|message| message.id == id).last();
        look.push_all(found);
    }
}

/// The `count` messages with the lowest ids behind `after`.
fn lowest_behind(
    after: MessageId,
    count: usize,
    messages: impl Iterator<Item = Peeked>,
) -> BTreeMap<u64, Peeked> {
    let mut lowest = BTreeMap::new();
    for message in messages.filter(|message| message.id > after) {
        lowest.insert(message.id.0, message);
        if lowest.len() > count {
            lowest.pop_last();
        }
    }
    lowest
}
