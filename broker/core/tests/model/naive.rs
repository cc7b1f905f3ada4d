//! A queue as one would write it in an hour: one map of messages, each with its state.
//!
//! It knows no ranges, pages, leases or marks. Where the specification leaves the broker a choice
//! (when exactly within its tolerance a message expires, how few messages fit a length), the model
//! follows the broker and checks that the choice was allowed.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use sampan_core::{Delivery, Peeked, Redrive, Refusal, Reply};
use sampan_protocol::{
    DeathReason, ErrorCode, GroupMode, Handles, MessageBatch, MessageId, MessageRecord,
    MessageState, PeekOf, ProducerNumber, QueueAttributes, ReceiptHandle, Timestamp,
};

use crate::groups::Groups;
use crate::keys::Keys;
use crate::mail::Mail;
use crate::producers::{Judged, Producers};
use crate::rewinding::Kept;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready {
        is_fresh: bool,
    },
    Delayed {
        due_at: u64,
    },
    InFlight {
        handle: ReceiptHandle,
        visible_at: u64,
    },
    /// It came back unhandled and waits.
    Resting {
        ready_at: u64,
    },
    /// It was given up: the number of its letter, 0 when nobody takes it.
    Moving {
        number: u64,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// For a message that came from another queue, when it came.
    pub(crate) sent_at: u64,
    pub(crate) content_len: u64,
    pub(crate) group_key: Vec<u8>,
    pub(crate) state: State,
    pub(crate) receive_count: u32,
    pub(crate) first_received_at: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Naive {
    pub(crate) attributes: QueueAttributes,
    retention_longest: u64,
    pub(crate) content_longest: u64,
    pub(crate) content_shortest: u64,
    pub(crate) messages: BTreeMap<u64, Message>,
    /// Ready ids in the order of handing out: those that came back before the fresh ones.
    pub(crate) ready: BTreeSet<(bool, u64)>,
    /// Delayed and in flight, by the instant that ends it.
    hidden: BTreeSet<(u64, u64)>,
    delayed_count: u64,
    /// What was sent up to here has expired, even when the retention was raised afterwards.
    pub(crate) expired_until: u64,
    pub(crate) next: u64,
    pub(crate) next_grouped: u64,
    pub(crate) next_delayed: u64,
    pub(crate) groups: Groups,
    pub(crate) producers: Producers,
    keys: Keys,
    pub(crate) handles: Vec<ReceiptHandle>,
    given: BTreeMap<ReceiptHandle, u64>,
    pub(crate) gained: bool,
    pub(crate) now: u64,
    /// Ids that the broker says are gone, and the model has not accounted for yet.
    pub(crate) removed: BTreeSet<u64>,
    /// Messages that were given up, and those that came.
    pub(crate) mail: Mail,
    /// Purged, and the broker has not said so yet.
    pub(crate) buried: BTreeSet<u64>,
    /// Ids that were next at the last purge.
    purged: [u64; 2],
    /// The newest one.
    pub(crate) redrive: Option<Redrive>,
    /// Deleted, and the broker keeps them.
    pub(crate) kept: Kept,
}

impl Naive {
    pub(crate) fn new(attributes: QueueAttributes) -> Self {
        Naive {
            attributes,
            retention_longest: attributes.retention_ms,
            content_longest: 1,
            content_shortest: u64::MAX,
            messages: BTreeMap::new(),
            ready: BTreeSet::new(),
            hidden: BTreeSet::new(),
            delayed_count: 0,
            expired_until: 0,
            next: 1,
            next_grouped: MessageId::GROUPED_BIT + 1,
            next_delayed: MessageId::DELAYED_BIT + 1,
            groups: Groups::default(),
            producers: Producers::default(),
            keys: Keys::default(),
            handles: Vec::new(),
            given: BTreeMap::new(),
            gained: false,
            now: 0,
            removed: BTreeSet::new(),
            mail: Mail::default(),
            buried: BTreeSet::new(),
            purged: [0, MessageId::DELAYED_BIT],
            redrive: None,
            kept: Kept::default(),
        }
    }

    pub(crate) fn set_attributes(&mut self, attributes: QueueAttributes) {
        self.gained |= self.attributes.is_paused && !attributes.is_paused;
        for window_ms in [self.attributes.dedup_window_ms, attributes.dedup_window_ms] {
            self.keys.forget(window_ms, self.now);
        }
        let before = self.attributes.groups;
        self.gaining(|naive| {
            naive.attributes = attributes;
            naive.on_rule(before);
        });
        if attributes.rewind_ms == 0 {
            self.drop_kept();
        }
        if attributes.dead_letter_queue != 0 {
            self.readdress();
        }
        self.retention_longest = self.retention_longest.max(attributes.retention_ms);
    }

    /// How many messages there are, in whatever state.
    pub(crate) fn count(&self) -> usize {
        self.messages.len()
    }

    /// Ready, delayed, in flight.
    pub(crate) fn counts(&self) -> (u64, u64, u64) {
        let hidden = self.hidden.len() as u64;
        (
            (self.ready.len() + self.groups.ready_ids().len()) as u64,
            self.delayed_count,
            hidden - self.delayed_count,
        )
    }

    /// When the first delayed message and the first one in flight become ready.
    pub(crate) fn next_ready(&self) -> [Option<u64>; 2] {
        let is_in_flight = |id: &u64| matches!(self.messages[id].state, State::InFlight { .. });
        [false, true].map(|wanted| {
            let mut hidden = self.hidden.iter();
            let first = hidden.find(|(_, id)| is_in_flight(id) == wanted);
            first.map(|(at, _)| *at)
        })
    }

    /// When the oldest ready message was sent. In each group, the lowest id is the oldest.
    pub(crate) fn oldest_ready(&self) -> Option<u64> {
        let groups = [(false, 0), (false, MessageId::DELAYED_BIT), (true, 0)];
        let first = |group: &(bool, u64)| self.ready.range(*group..).next();
        let firsts = groups.iter().filter_map(first).map(|(_, id)| *id);
        let firsts = firsts.chain(self.groups.ready_ids().first().copied());
        firsts.map(|id| self.messages[&id].sent_at).min()
    }

    /// How much earlier than true the oldest message may be said to be, and how late it expires.
    pub(crate) fn tolerance(&self) -> u64 {
        self.retention_longest / 500 + 1_000
    }

    pub(crate) fn enter(&mut self, id: u64, state: State) {
        let key = self.messages[&id].group_key.clone();
        let is_grouped = MessageId(id).is_grouped();
        if is_grouped && matches!(state, State::InFlight { .. } | State::Resting { .. }) {
            self.groups.hold(&key, id);
        }
        match state {
            State::Moving { number } => drop(self.mail.outbox.insert(id, number)),
            State::Ready { .. } if is_grouped => self.groups.add(&key, id),
            State::Ready { is_fresh } => drop(self.ready.insert((is_fresh, id))),
            State::Delayed { due_at: at } | State::Resting { ready_at: at } => {
                self.hidden.insert((at, id));
                self.delayed_count += 1;
            }
            State::InFlight { visible_at, .. } => drop(self.hidden.insert((visible_at, id))),
        }
        self.gained |= matches!(state, State::Ready { .. }) && !is_grouped;
        self.messages.get_mut(&id).unwrap().state = state;
    }

    pub(crate) fn leave(&mut self, id: u64) {
        let (state, key) = (self.messages[&id].state, &self.messages[&id].group_key);
        let is_grouped = MessageId(id).is_grouped();
        if is_grouped && matches!(state, State::InFlight { .. } | State::Resting { .. }) {
            assert!(self.groups.let_go(key, id));
        }
        let left = match state {
            State::Moving { .. } => self.mail.outbox.remove(&id).is_some(),
            State::Ready { .. } if is_grouped => self.groups.remove(key, id),
            State::Ready { is_fresh } => self.ready.remove(&(is_fresh, id)),
            State::Delayed { due_at: at } | State::Resting { ready_at: at } => {
                self.delayed_count -= 1;
                self.hidden.remove(&(at, id))
            }
            State::InFlight { visible_at, .. } => self.hidden.remove(&(visible_at, id)),
        };
        assert!(left, "{id} was in no list");
    }

    /// A message that was sent now, or came.
    pub(crate) fn store(&mut self, id: u64, content_len: u64, group_key: &[u8], state: State) {
        self.content_longest = self.content_longest.max(content_len);
        self.content_shortest = self.content_shortest.min(content_len);
        let message = Message {
            sent_at: self.now,
            content_len,
            group_key: group_key.to_vec(),
            state,
            receive_count: 0,
            first_received_at: None,
        };
        self.messages.insert(id, message);
        self.gaining(|naive| naive.enter(id, state));
    }

    pub(crate) fn drop_message(&mut self, id: u64) {
        self.gaining(|naive| naive.leave(id));
        self.messages.remove(&id);
    }

    /// Ready again, or gone when the broker says so and the retention has passed.
    pub(crate) fn come_back(&mut self, id: u64) {
        if self.removed.remove(&id) {
            assert!(
                self.messages[&id].sent_at <= self.expired_until,
                "{id} expired early"
            );
            self.drop_message(id);
        } else if self.mail.is_given_up(id) {
            self.give_up(id, DeathReason::Age);
        } else {
            self.check_not_too_old(id);
            // In a group there is no other order than that of the ids.
            let is_fresh = MessageId(id).is_grouped();
            self.gaining(|naive| {
                naive.leave(id);
                naive.enter(id, State::Ready { is_fresh });
            });
        }
    }

    /// A redriven message whose target is gone.
    pub(crate) fn come_home(&mut self, id: u64) {
        let message = self.messages.get_mut(&id).unwrap();
        (message.receive_count, message.first_received_at) = (0, None);
        if id >= self.purged[usize::from(MessageId(id).is_delayed())] {
            return self.come_back(id);
        }
        self.drop_message(id);
        assert!(self.removed.remove(&id), "the body of {id} was not removed");
    }

    /// A receiver gave it up or let it lapse: it may have to rest.
    fn come_back_unhandled(&mut self, id: u64) {
        let most = self.attributes.receive_count_max;
        let is_spent = most > 0 && self.messages[&id].receive_count >= most;
        if is_spent && !self.removed.contains(&id) {
            return self.give_up(id, DeathReason::ReceiveCount);
        }
        let rest_ms = self.rest_ms(id);
        let has_room = self.delayed_count < self.attributes.delayed_count_max;
        if rest_ms == 0 || !has_room || self.removed.contains(&id) {
            return self.come_back(id);
        }
        self.leave(id);
        let ready_at = self.now + rest_ms;
        self.enter(id, State::Resting { ready_at });
    }

    /// As in spec/semantics.md, "Redelivery".
    fn rest_ms(&self, id: u64) -> u64 {
        let count = u64::from(self.messages[&id].receive_count);
        let (min, max) = (
            u64::from(self.attributes.redelivery_delay_min_ms),
            u64::from(self.attributes.redelivery_delay_max_ms),
        );
        let full = (1..count.min(40)).fold(min, |delay, _| (delay * 2).min(max));
        let golden = 0x9e37_79b9_7f4a_7c15_u64;
        let x = (id ^ (count << 32)).wrapping_mul(golden);
        let y = x.rotate_left(32).wrapping_mul(golden);
        let half = full / 2;
        half + u64::try_from(u128::from(y) * u128::from(full - half + 1) / (1 << 64)).unwrap()
    }

    /// Time moves: what lapses, falls due, expires. `removed` is what the broker removed.
    pub(crate) fn on_time(&mut self, now: u64, removed: BTreeSet<u64>) {
        self.begin(now, removed);
        self.expire_groups();
        self.end_hidden();
        self.expire();
    }

    /// The same when nothing expires at `now` that has not yet.
    pub(crate) fn on_entry(&mut self, now: u64, removed: BTreeSet<u64>) {
        self.begin(now, removed);
        self.end_hidden();
    }

    fn begin(&mut self, now: u64, mut removed: BTreeSet<u64>) {
        removed.retain(|id| !self.buried.remove(id));
        self.now = now;
        self.removed = removed;
        self.leave_window();
        let retention_ms = self.attributes.retention_ms;
        self.expired_until = self.expired_until.max(now.saturating_sub(retention_ms));
    }

    /// What is ready in groups goes before what is hidden comes back: it is not there any more
    /// when its group is served again.
    fn expire_groups(&mut self) {
        for id in self.groups.ready_ids() {
            if self.removed.remove(&id) {
                let message = &self.messages[&id];
                let expiry = message.sent_at + self.attributes.retention_ms;
                assert!(expiry <= self.now, "{id} expired early");
                self.drop_message(id);
            } else if self.mail.is_given_up(id) {
                self.give_up(id, DeathReason::Age);
            }
        }
    }

    fn end_hidden(&mut self) {
        let now = self.now;
        self.groups.begin_instant();
        while let Some((_, id)) = self.hidden.first().copied().filter(|(at, _)| *at <= now) {
            match self.messages[&id].state {
                State::InFlight { .. } => self.come_back_unhandled(id),
                _ => self.come_back(id),
            }
        }
        self.groups.is_instant = false;
    }

    fn expire(&mut self) {
        let (now, retention_ms) = (self.now, self.attributes.retention_ms);
        // One that is not here yet is sent and cancelled in the entry.
        let state = |id: &u64| self.messages.get(id).map(|message| message.state);
        let is_ready = |id: &u64| matches!(state(id), Some(State::Ready { .. }));
        let (ready, rest): (Vec<u64>, Vec<u64>) = std::mem::take(&mut self.removed)
            .into_iter()
            .partition(is_ready);
        self.removed.extend(rest);
        for id in ready {
            assert!(
                self.messages[&id].sent_at + retention_ms <= now,
                "{id} expired early"
            );
            self.drop_message(id);
        }
        self.give_up_ready();
        if let Some(oldest) = self.oldest_ready() {
            let latest = oldest + retention_ms + self.tolerance();
            assert!(
                latest >= now,
                "a message should have expired at {latest}, now is {now}"
            );
        }
    }

    /// A send with or without a number.
    pub(crate) fn send(
        &mut self,
        producer: Option<ProducerNumber>,
        batch: &MessageBatch,
        reply: &Reply,
    ) {
        let Some(producer) = producer else {
            return self.send_once(batch, reply);
        };
        match self.producers.judge(producer, self.now, reply) {
            Judged::Next => {
                self.send_once(batch, reply);
                if let Reply::Sent(sent) = reply {
                    self.producers.note(producer, self.now, sent);
                }
            }
            Judged::Repeat(sent) => assert_eq!(*reply, Reply::Sent(sent)),
            Judged::Refused(code) => assert_refused(reply, code),
        }
    }

    fn send_once(&mut self, batch: &MessageBatch, reply: &Reply) {
        let delay_of = |record: &MessageRecord| match record.delay_ms {
            MessageRecord::DELAY_DEFAULT => self.attributes.delay_ms,
            delay_ms => delay_ms,
        };
        let has_groups = self.attributes.groups != GroupMode::Off;
        for record in batch.records() {
            if record.body_len > self.attributes.message_size_max {
                return assert_refused(reply, ErrorCode::MessageTooLarge);
            }
            if delay_of(&record) > self.attributes.retention_ms {
                return assert_refused(reply, ErrorCode::DelayOutOfRange);
            }
            if has_groups && record.group_key_len > 0 && delay_of(&record) > 0 {
                return assert_refused(reply, ErrorCode::DelayInGroup);
            }
        }
        self.keys.forget(self.attributes.dedup_window_ms, self.now);
        let stored = self.to_store(batch);
        let to_store = || batch.records().zip(&stored).filter(|(_, stored)| **stored);
        let count = to_store().count() as u64;
        let bytes = to_store().map(|(record, _)| record.content_len() as u64);
        let Some(surplus) = self.surplus(count, bytes.sum(), reply) else {
            return assert_refused(reply, ErrorCode::QueueFull);
        };
        let delayed = to_store().filter(|(record, _)| delay_of(record) > 0);
        let delayed = delayed.count() as u64;
        if delayed > 0 && self.delayed_count + delayed > self.attributes.delayed_count_max {
            return assert_refused(reply, ErrorCode::TooManyDelayed);
        }
        let delays: Vec<u64> = batch.records().map(|record| delay_of(&record)).collect();
        self.give_way(surplus);
        let mut ids = Vec::new();
        let messages = batch.messages(0).zip(stored);
        for (((record, start), is_stored), delay_ms) in messages.zip(delays) {
            let key = batch.dedup_key(&record, start);
            if !is_stored {
                ids.push(self.keys.find(key).unwrap());
                continue;
            }
            let group_key = batch.group_key(&record, start);
            let (next, state) = match delay_ms {
                0 if has_groups && !group_key.is_empty() => {
                    (&mut self.next_grouped, State::Ready { is_fresh: true })
                }
                0 => (&mut self.next, State::Ready { is_fresh: true }),
                _ => (
                    &mut self.next_delayed,
                    State::Delayed {
                        due_at: self.now + delay_ms,
                    },
                ),
            };
            let id = *next;
            *next += 1;
            self.store(id, record.content_len() as u64, group_key, state);
            ids.push(id);
            if !key.is_empty() && self.attributes.dedup_window_ms > 0 {
                self.keys.remember(key, id, self.now);
            }
        }
        let Reply::Sent(sent) = reply else {
            panic!("{reply:?} to a send")
        };
        let runs = sent.runs.iter();
        let told: Vec<u64> = runs
            .flat_map(|(first, count)| first.0..first.0 + u64::from(*count))
            .collect();
        assert_eq!(told, ids);
    }

    /// Which messages of a batch are not repeats, by their keys.
    fn to_store(&self, batch: &MessageBatch) -> Vec<bool> {
        let mut seen = BTreeSet::new();
        let messages = batch.messages(0);
        let judged = messages.map(|(record, start)| {
            let key = batch.dedup_key(&record, start);
            let counts = !key.is_empty() && self.attributes.dedup_window_ms > 0;
            !counts || (self.keys.find(key).is_none() && seen.insert(key))
        });
        judged.collect()
    }

    pub(crate) fn purge(&mut self, reply: &Reply) {
        let is_here = |id: &u64| !self.mail.outbox.contains_key(id);
        self.purged = [self.next, self.next_delayed];
        let gone: Vec<u64> = self.messages.keys().copied().filter(is_here).collect();
        assert_eq!(*reply, Reply::Purged(gone.len() as u64));
        self.drop_kept();
        for id in gone {
            self.drop_message(id);
            if !self.removed.remove(&id) {
                self.buried.insert(id);
            }
        }
    }

    pub(crate) fn reschedule(&mut self, id: u64, delay_ms: Option<u64>, reply: &Reply) {
        if delay_ms.is_some_and(|delay_ms| delay_ms > self.attributes.retention_ms) {
            return assert_refused(reply, ErrorCode::DelayOutOfRange);
        }
        let message = self.messages.get(&id);
        if !message.is_some_and(|message| matches!(message.state, State::Delayed { .. })) {
            return assert_refused(reply, ErrorCode::MessageNotFound);
        }
        assert_eq!(*reply, Reply::Done);
        match delay_ms {
            None => {
                self.drop_message(id);
                assert!(self.removed.remove(&id), "the body of {id} was not removed");
            }
            Some(0) => self.come_back(id),
            Some(delay_ms) => {
                self.leave(id);
                let due_at = self.now + delay_ms;
                self.enter(id, State::Delayed { due_at });
            }
        }
    }

    /// What a look finds: id, state, receive count, first received at, ready at.
    pub(crate) fn look(&self, of: PeekOf) -> Vec<Peeked> {
        let peeked = |id: &u64| {
            let message = &self.messages[id];
            let (state, ready_at) = match message.state {
                State::Ready { .. } => (MessageState::Ready, 0),
                State::Delayed { due_at } => (MessageState::Delayed, due_at),
                State::Resting { ready_at } => (MessageState::Resting, ready_at),
                State::InFlight { visible_at, .. } => (MessageState::InFlight, visible_at),
                State::Moving { .. } => return None,
            };
            Some(Peeked {
                id: MessageId(*id),
                state,
                receive_count: message.receive_count,
                first_received_at: Timestamp(message.first_received_at.unwrap_or(0)),
                ready_at: Timestamp(ready_at),
            })
        };
        if of == PeekOf::Ready {
            let grouped = self.groups.ready_ids();
            let ready = self.ready.iter().map(|(_, id)| id).chain(&grouped);
            return ready.filter_map(peeked).collect();
        }
        let all = self.messages.keys().filter_map(peeked);
        let is_asked = |state| match of {
            PeekOf::Delayed => matches!(state, MessageState::Delayed | MessageState::Resting),
            PeekOf::InFlight => state == MessageState::InFlight,
            _ => true,
        };
        all.filter(|peeked| is_asked(peeked.state)).collect()
    }

    /// Mostly the id of a delayed message.
    pub(crate) fn random_id(&self, random: &mut StdRng) -> u64 {
        let delayed = self.messages.range(MessageId::DELAYED_BIT..);
        let delayed: Vec<u64> = delayed.map(|(id, _)| *id).collect();
        let other = [0, 1, self.next_delayed, self.next, u64::MAX];
        let chosen = delayed.choose(random).filter(|_| random.random_ratio(7, 8));
        *chosen.unwrap_or_else(|| other.choose(random).unwrap())
    }

    pub(crate) fn receive(
        &mut self,
        count_max: u16,
        len_max: u64,
        timeout_ms: Option<u32>,
        reply: &Reply,
    ) {
        let in_flight = self.counts().2;
        let room = self
            .attributes
            .in_flight_count_max
            .saturating_sub(in_flight);
        let is_paused = self.attributes.is_paused;
        let receivable = [self.ready.len() as u64, self.receivable_of_groups()];
        if room == 0 && !is_paused && receivable != [0; 2] {
            return assert_refused(reply, ErrorCode::TooManyInFlight);
        }
        let most = if is_paused {
            0
        } else {
            room.min(count_max.into())
        };
        let Reply::Received(deliveries) = reply else {
            panic!("{reply:?} to a receive")
        };
        let ids: Vec<u64> = deliveries.iter().map(|delivery| delivery.id.0).collect();
        let expected = self.expected(usize::try_from(most).unwrap(), &ids);
        assert_eq!(ids, expected[..ids.len().min(expected.len())]);
        let len: u64 = ids.iter().map(|id| self.messages[id].content_len).sum();
        assert!(
            len <= len_max || ids.len() == 1,
            "{len} bytes in a receive of {len_max}"
        );
        if ids.len() < expected.len() {
            let bound = self.content_longest.next_power_of_two();
            assert!(
                !ids.is_empty() && (ids.len() as u64 + 1) * bound > len_max,
                "too few"
            );
        }
        self.check_locks(&ids);
        if !ids.is_empty() && !receivable.contains(&0) {
            self.groups.are_first = !self.groups.are_first;
        }
        let timeout_ms = timeout_ms.unwrap_or(self.attributes.visibility_timeout_ms);
        for delivery in deliveries {
            self.hand_out(delivery, self.now + u64::from(timeout_ms));
        }
    }

    /// What a receive of `most` messages hands out, if lengths do not matter.
    fn expected(&self, most: usize, told: &[u64]) -> Vec<u64> {
        let groupless: Vec<u64> = self.ready.iter().take(most).map(|(_, id)| *id).collect();
        let of_groups = self.expected_of_groups(most, told);
        let groups_first = self.groups.are_first && !groupless.is_empty();
        let sides = match groups_first {
            true => [of_groups, groupless],
            false => [groupless, of_groups],
        };
        sides.into_iter().flatten().take(most).collect()
    }

    fn hand_out(&mut self, delivery: &Delivery, visible_at: u64) {
        let (id, handle, now) = (delivery.id.0, delivery.handle, self.now);
        self.leave(id);
        self.enter(id, State::InFlight { handle, visible_at });
        self.on_handed_out(id);
        let message = self.messages.get_mut(&id).unwrap();
        message.receive_count += 1;
        let first_received_at = *message.first_received_at.get_or_insert(now);
        assert_eq!(delivery.receive_count, message.receive_count);
        assert_eq!(delivery.first_received_at, Timestamp(first_received_at));
        assert_eq!(delivery.visible_at, Timestamp(visible_at));
        assert!(delivery.handle.0 < 1 << 63 && delivery.handle.0 > 0);
        assert!(
            self.given.insert(delivery.handle, delivery.id.0).is_none(),
            "handle given twice"
        );
        self.handles.push(delivery.handle);
    }

    fn check(&self, handle: ReceiptHandle) -> Result<u64, ErrorCode> {
        let id = self.given.get(&handle).ok_or(ErrorCode::ReceiptMalformed)?;
        match self.messages.get(id).map(|message| message.state) {
            Some(State::InFlight { handle: latest, .. }) if latest == handle => Ok(*id),
            _ => Err(ErrorCode::ReceiptExpired),
        }
    }

    fn for_each(&mut self, handles: &Handles, reply: &Reply, mut act: impl FnMut(&mut Naive, u64)) {
        let mut failures = Vec::new();
        for (place, handle) in (0..).zip(handles.iter()) {
            match self.check(handle) {
                Ok(id) => act(self, id),
                Err(code) => failures.push((place, code)),
            }
        }
        let Reply::Handles(results) = reply else {
            panic!("{reply:?} to handles")
        };
        assert_eq!(results.failures, failures);
    }

    pub(crate) fn delete(&mut self, handles: &Handles, reply: &Reply) {
        self.for_each(handles, reply, Naive::delete_one);
    }

    pub(crate) fn change_visibility(&mut self, handles: &Handles, timeout_ms: u32, reply: &Reply) {
        self.for_each(handles, reply, |naive, id| {
            if timeout_ms == 0 {
                return naive.come_back_unhandled(id);
            }
            let visible_at = naive.now + u64::from(timeout_ms);
            if let State::InFlight { handle, .. } = naive.messages[&id].state {
                naive.leave(id);
                naive.enter(id, State::InFlight { handle, visible_at });
            }
        });
    }

    pub(crate) fn release(&mut self, handles: &Handles, reply: &Reply) {
        self.for_each(handles, reply, |naive, id| {
            let message = naive.messages.get_mut(&id).unwrap();
            message.receive_count -= 1;
            if message.receive_count == 0 {
                message.first_received_at = None;
            }
            naive.come_back(id);
        });
    }
}

pub(crate) fn assert_refused(reply: &Reply, code: ErrorCode) {
    assert!(
        matches!(reply, Reply::Refused(Refusal { code: told, .. }) if *told == code),
        "{reply:?}"
    );
}
