//! Sending: a batch gets its ids, all of it or nothing; one that was stored before gets its first
//! reply.
//!
//! A batch without delays and groups is one run of ids and costs one look at each record. With
//! them, the batch is cut into runs where messages of different places meet. A batch with
//! deduplication keys goes by `send_keyed`. Spec: spec/semantics.md, "Sending".

use sampan_protocol::{
    ErrorCode, GroupMode, MessageBatch, MessageId, MessageRecord, ProducerNumber, QueueAttributes,
    Sent, Timestamp,
};

use super::deduplication::Digest;
use super::groups::Group;
use super::producers::Turn;
use super::{Delayed, Queue};
use crate::effect::Effect;
use crate::marks::class_of;
use crate::reply::Refusal;
use crate::share::Share;

/// What a look over the whole table of a batch tells.
#[derive(Default)]
struct Survey {
    content_len_max: usize,
    tally: Tally,
    has_keys: bool,
}

/// Where a message of a batch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind what is fresh.
    Fresh,
    /// Into its group.
    Group(Group),
    /// To what waits, for so many milliseconds.
    Delayed(u64),
}

/// How many messages go where, and how long they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) fresh: Share,
    pub(super) grouped: Share,
    pub(super) delayed: Share,
}

impl Tally {
    pub(super) fn add(&mut self, place: Place, content_len: usize) {
        let share = match place {
            Place::Fresh => &mut self.fresh,
            Place::Group(_) => &mut self.grouped,
            Place::Delayed(_) => &mut self.delayed,
        };
        share.add(Share::one(content_len));
    }

    pub(super) fn total(self) -> Share {
        self.fresh.plus(self.grouped).plus(self.delayed)
    }
}

impl Queue {
    pub(crate) fn send(
        &mut self,
        producer: Option<ProducerNumber>,
        batch: &MessageBatch,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<Sent, Refusal> {
        let Some(producer) = producer else {
            return self.send_once(batch, now, effects);
        };
        match self.producers.turn(producer, now)? {
            Turn::Repeat(sent) => Ok(sent),
            Turn::Next => {
                let sent = self.send_once(batch, now, effects)?;
                self.producers.note(producer.session, now, &sent);
                Ok(sent)
            }
        }
    }

    fn send_once(
        &mut self,
        batch: &MessageBatch,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<Sent, Refusal> {
        let survey = survey(batch, &self.attributes)?;
        if survey.has_keys && self.attributes.dedup_window_ms > 0 {
            return self.send_keyed(batch, now, effects);
        }
        let surplus = self.check_room(survey.tally)?;
        self.give_way(surplus, now, effects);
        let class = class_of(survey.content_len_max);
        self.note_marks(survey.tally, class, now);
        let count = batch.count() as u64;
        if survey.tally.fresh.count < count {
            return Ok(self.send_by_place(batch, now, effects));
        }
        let first = self.give_immediate(count);
        let count = u32::try_from(count).expect("a batch has at most 256 messages");
        self.store(
            effects,
            batch,
            now,
            Run {
                first,
                index: 0,
                count,
            },
        );
        Ok(Sent {
            runs: vec![(first, count)],
        })
    }

    /// Notes that messages of a class are about to get the next ids.
    pub(super) fn note_marks(&mut self, tally: Tally, class: u8, now: Timestamp) {
        let retention_ms = self.attributes.retention_ms;
        self.flags.gained |= tally.fresh.count > 0;
        for (space, share) in [
            (&mut self.immediate, tally.fresh),
            (&mut self.grouped, tally.grouped),
            (&mut self.delayed, tally.delayed),
        ] {
            if share.count > 0 {
                let first = space.next;
                space.marks.note(first, now, class, retention_ms, share);
            }
        }
    }

    /// The next id for a message that goes there.
    pub(super) fn give(&mut self, place: Place, now: Timestamp) -> MessageId {
        match place {
            Place::Fresh => self.give_immediate(1),
            Place::Group(group) => self.give_grouped(group),
            Place::Delayed(delay_ms) => self.give_delayed(now.after_ms(delay_ms)),
        }
    }

    /// The group of a message, in a queue that goes by groups.
    pub(super) fn group_of(
        &self,
        batch: &MessageBatch,
        record: &MessageRecord,
        start: usize,
    ) -> Option<Group> {
        if record.group_key_len == 0 || self.attributes.groups == GroupMode::Off {
            return None;
        }
        let key = batch.group_key(record, start);
        Some(Group(Digest::of(self.leases.secret(), key).word()))
    }

    pub(super) fn place_of(
        &self,
        batch: &MessageBatch,
        record: &MessageRecord,
        start: usize,
    ) -> Place {
        let group = self.group_of(batch, record, start);
        match (group, delay_of(record, &self.attributes)) {
            (Some(group), _) => Place::Group(group),
            (None, 0) => Place::Fresh,
            (None, delay_ms) => Place::Delayed(delay_ms),
        }
    }

    fn give_grouped(&mut self, group: Group) -> MessageId {
        let id = MessageId(self.grouped.next);
        self.grouped.next += 1;
        self.trace.on_number(group.0);
        self.in_groups(|groups| groups.add(id, group));
        id
    }

    fn give_immediate(&mut self, count: u64) -> MessageId {
        let first = MessageId(self.immediate.next);
        self.immediate.next += count;
        first
    }

    fn give_delayed(&mut self, due_at: Timestamp) -> MessageId {
        let id = MessageId(self.delayed.next);
        self.delayed.next += 1;
        self.waiting.extend(id.0, 1, due_at, |_| Delayed);
        id
    }

    fn send_by_place(
        &mut self,
        batch: &MessageBatch,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Sent {
        let mut runs: Vec<Run> = Vec::new();
        for (index, (record, start)) in (0u16..).zip(batch.messages(0)) {
            let id = self.give(self.place_of(batch, &record, start), now);
            Run::push(&mut runs, id, index);
        }
        let sent = Sent {
            runs: runs.iter().map(|run| (run.first, run.count)).collect(),
        };
        runs.into_iter()
            .for_each(|run| self.store(effects, batch, now, run));
        sent
    }

    pub(super) fn store(
        &self,
        effects: &mut Vec<Effect>,
        batch: &MessageBatch,
        sent_at: Timestamp,
        run: Run,
    ) {
        let Run {
            first,
            index,
            count,
        } = run;
        let (queue, batch) = (self.id, batch.clone());
        effects.push(Effect::Stored {
            queue,
            first,
            index,
            count,
            sent_at,
            batch,
        });
    }
}

/// Messages of a batch that lie side by side and have ids side by side.
pub(super) struct Run {
    first: MessageId,
    index: u16,
    count: u32,
}

impl Run {
    /// Adds the message at a place of the batch, behind those that were added before.
    pub(super) fn push(runs: &mut Vec<Run>, id: MessageId, index: u16) {
        match runs.last_mut() {
            Some(run)
                if run.first.plus(u64::from(run.count)) == id
                    && u32::from(run.index) + run.count == u32::from(index) =>
            {
                run.count += 1;
            }
            _ => runs.push(Run {
                first: id,
                index,
                count: 1,
            }),
        }
    }
}

fn delay_of(record: &MessageRecord, attributes: &QueueAttributes) -> u64 {
    match record.delay_ms {
        MessageRecord::DELAY_DEFAULT => attributes.delay_ms,
        delay_ms => delay_ms,
    }
}

/// Checks every message of the batch against the queue's attributes.
fn survey(batch: &MessageBatch, attributes: &QueueAttributes) -> Result<Survey, Refusal> {
    let mut survey = Survey::default();
    for record in batch.records() {
        if record.body_len > attributes.message_size_max {
            let (have, limit) = (record.body_len, attributes.message_size_max);
            let text = format!("a body has {have} bytes, this queue takes at most {limit}");
            return Err(Refusal::with_text(ErrorCode::MessageTooLarge, text));
        }
        let delay_ms = delay_of(&record, attributes);
        if delay_ms > attributes.retention_ms {
            let limit = attributes.retention_ms;
            let text =
                format!("a delay of {delay_ms} ms is over the queue's retention of {limit} ms");
            return Err(Refusal::with_text(ErrorCode::DelayOutOfRange, text));
        }
        let is_grouped = record.group_key_len > 0 && attributes.groups != GroupMode::Off;
        survey.has_keys |= record.dedup_key_len > 0;
        let share = match (is_grouped, delay_ms) {
            (true, 0) => &mut survey.tally.grouped,
            (true, _) => return Err(delay_in_group(delay_ms)),
            (false, 0) => &mut survey.tally.fresh,
            (false, _) => &mut survey.tally.delayed,
        };
        share.add(Share::one(record.content_len()));
        survey.content_len_max = survey.content_len_max.max(record.content_len());
    }
    Ok(survey)
}

fn delay_in_group(delay_ms: u64) -> Refusal {
    let text = format!(
        "a message with a group key has a delay of {delay_ms} ms, its own or the queue's; 0 is none"
    );
    Refusal::with_text(ErrorCode::DelayInGroup, text)
}
