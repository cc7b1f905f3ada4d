//! Sending: a batch gets its ids, all of it or nothing; one that was stored before gets its first
//! reply.
//!
//! A batch without delays is one run of ids and costs one look at each record. With delays, the
//! batch is cut into runs where delayed and immediate messages meet. A batch with deduplication
//! keys goes by `send_keyed`. Spec: spec/semantics.md, "Sending".

use sampan_protocol::{
    ErrorCode, MessageBatch, MessageId, MessageRecord, ProducerNumber, QueueAttributes, Sent,
    Timestamp,
};

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
    immediate: Share,
    delayed: Share,
    has_keys: bool,
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
        let (immediate, delayed) = (survey.immediate, survey.delayed);
        let surplus = self.check_room(immediate.plus(delayed), delayed.count)?;
        self.give_way(surplus, now, effects);
        let class = class_of(survey.content_len_max);
        self.note_marks(immediate, delayed, class, now);
        if delayed.count > 0 {
            return Ok(self.send_by_delay(batch, now, effects));
        }
        let first = self.give_immediate(immediate.count);
        let count = u32::try_from(immediate.count).expect("a batch has at most 256 messages");
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
    pub(super) fn note_marks(
        &mut self,
        immediate: Share,
        delayed: Share,
        class: u8,
        now: Timestamp,
    ) {
        let retention_ms = self.attributes.retention_ms;
        if immediate.count > 0 {
            let marks = &mut self.immediate.marks;
            marks.note(self.immediate.next, now, class, retention_ms, immediate);
            self.flags.gained = true;
        }
        if delayed.count > 0 {
            let marks = &mut self.delayed.marks;
            marks.note(self.delayed.next, now, class, retention_ms, delayed);
        }
    }

    /// The next id for a message of this delay; a delayed one then waits.
    pub(super) fn give(&mut self, delay_ms: u64, now: Timestamp) -> MessageId {
        match delay_ms {
            0 => self.give_immediate(1),
            delay_ms => self.give_delayed(now.after_ms(delay_ms)),
        }
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

    fn send_by_delay(
        &mut self,
        batch: &MessageBatch,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Sent {
        let mut runs: Vec<Run> = Vec::new();
        for (index, record) in (0u16..).zip(batch.records()) {
            let id = self.give(delay_of(&record, &self.attributes), now);
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

pub(super) fn delay_of(record: &MessageRecord, attributes: &QueueAttributes) -> u64 {
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
        if record.group_key_len != 0 {
            return Err(ErrorCode::ReservedField.into());
        }
        let delay_ms = delay_of(&record, attributes);
        if delay_ms > attributes.retention_ms {
            let limit = attributes.retention_ms;
            let text =
                format!("a delay of {delay_ms} ms is over the queue's retention of {limit} ms");
            return Err(Refusal::with_text(ErrorCode::DelayOutOfRange, text));
        }
        survey.has_keys |= record.dedup_key_len > 0;
        let share = match delay_ms {
            0 => &mut survey.immediate,
            _ => &mut survey.delayed,
        };
        share.add(Share::one(record.content_len()));
        survey.content_len_max = survey.content_len_max.max(record.content_len());
    }
    Ok(survey)
}
