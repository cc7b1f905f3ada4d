//! Looking at messages without receiving them: nothing changes.
//!
//! Pages that are not in memory are not taken in for this, for nobody would evict them again: the
//! caller reads their rows and gives them along for one look. At most [`PEEK_PAGE_COUNT_MAX`], so a
//! look at ready messages may end early.
//!
//! Leases and rests are in the order of their own numbers, so a look at those goes through all of
//! them: some milliseconds with a million messages in flight. An index by id would cost every
//! receive. Spec: spec/semantics.md, "Looking".

use std::collections::BTreeMap;

use sampan_protocol::limits::{BODY_LEN_MAX, HEADERS_LEN_MAX, KEY_LEN_MAX};
use sampan_protocol::{MessageId, MessageState, PeekOf, Timestamp};

use super::Queue;
use crate::chunk::Slot;
use crate::leases::Lease;
use crate::limits::{PAGE_COUNT, PEEK_PAGE_COUNT_MAX};
use crate::page::{Page, Received};

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

/// Rows of pages that are not in memory, by their number; `None` for one that is gone.
pub(crate) type PageRows = BTreeMap<u64, Option<Page>>;

/// A look in the making.
pub(crate) struct Look<'a> {
    queue: &'a Queue,
    rows: &'a PageRows,
    count_left: usize,
    len_left: u64,
    pub(crate) messages: Vec<Peeked>,
    /// Pages that are needed before anything can be said.
    pub(crate) needs: Vec<u64>,
    /// Pages used that are not in memory.
    read_count: usize,
}

impl<'a> Look<'a> {
    fn new(queue: &'a Queue, ask: &Peek, rows: &'a PageRows) -> Self {
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

impl Look<'_> {
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

    fn push_all(&mut self, messages: impl IntoIterator<Item = Peeked>) {
        for message in messages {
            if !self.push(message) {
                return;
            }
        }
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
            let page = match (page, self.rows.get(&number)) {
                (Some(page), _) | (None, Some(Some(page))) => page,
                (None, Some(None)) => continue,
                (None, None) => {
                    self.needs.push(number);
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
}

impl Queue {
    /// Looks at messages, with `rows` for pages that are not in memory.
    pub(crate) fn peek<'a>(&'a self, ask: &Peek, rows: &'a PageRows) -> Look<'a> {
        let mut look = Look::new(self, ask, rows);
        let count = look.count_left;
        match ask.of {
            PeekOf::Ready => self.peek_ready(ask.id, &mut look),
            PeekOf::Delayed => look.push_all(self.delayed_behind(ask.id, count)),
            PeekOf::InFlight => look.push_all(self.in_flight_behind(ask.id, count)),
            PeekOf::Message => self.peek_message(ask.id, &mut look),
        }
        look
    }

    /// In the order of receiving: what came back, what fell due, what is fresh.
    fn peek_ready(&self, after: MessageId, look: &mut Look<'_>) {
        let (base, behind) = (MessageId::DELAYED_BIT, after.0.saturating_add(1));
        let is_fresh = !after.is_delayed() && after.0 >= self.fresh_first;
        let has_room = match (is_fresh, after.is_delayed()) {
            (true, _) => true,
            (false, true) => look.push_pages(behind, u64::MAX),
            (false, false) => look.push_pages(behind, base) && look.push_pages(base, u64::MAX),
        };
        if has_room {
            let first = if is_fresh { behind } else { self.fresh_first };
            let fresh = first..self.immediate.next;
            look.push_all(fresh.map(|id| Peeked::ready(id, None)));
        }
    }

    /// Looks at ready messages in the order of their ids, up to where `ends` says for each kind.
    pub(crate) fn look_by_id<'a>(
        &'a self,
        ask: &Peek,
        ends: [MessageId; 2],
        rows: &'a PageRows,
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

    fn delayed_behind(&self, after: MessageId, count: usize) -> impl Iterator<Item = Peeked> {
        let resting = self.resting.table.slots();
        let resting = resting.map(|slot| Peeked::leased(MessageState::Resting, &slot));
        let mut found = lowest_behind(after, count, resting);
        let waiting = self.waiting.slots_from(after.0.saturating_add(1));
        let waiting = waiting.take(count);
        found.extend(waiting.map(|(id, slot)| (id, Peeked::delayed(id, slot.at))));
        found.into_values()
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
        if let Some(slot) = self.waiting.peek(id.0) {
            look.push(Peeked::delayed(id.0, slot.at));
            return;
        }
        look.push_pages(id.0, id.0.saturating_add(1));
        if !look.messages.is_empty() || !look.needs.is_empty() {
            return;
        }
        let before = MessageId(id.0.saturating_sub(1));
        let hidden = self.delayed_behind(before, 1);
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
