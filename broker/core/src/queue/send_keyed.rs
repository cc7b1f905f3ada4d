//! Sending a batch with deduplication keys: what was stored before is not stored again.
//!
//! First every message is judged and nothing is changed, for the batch may be refused; then ids are
//! given. Limits are judged on what would be stored: a batch of repeats fits into a full queue.
//!
//! Invariant: a key is remembered exactly when a message with it was stored.
//! Spec: spec/semantics.md, "Deduplication".

use std::collections::BTreeMap;

use sampan_protocol::{MessageBatch, MessageId, Sent, Timestamp};

use super::Queue;
use super::deduplication::Digest;
use super::send::{Place, Run, Tally};
use crate::effect::Effect;
use crate::marks::class_of;
use crate::reply::Refusal;

/// What is to become of one message of a batch.
enum Fate {
    /// To be stored there, and its key, if it has one, to be remembered.
    New { place: Place, key: Option<Digest> },
    /// A message with its key was stored.
    Repeat(MessageId),
    /// An earlier message of the batch, at this place, has its key.
    RepeatOf(usize),
}

/// What is to become of a batch, and what that takes.
#[derive(Default)]
struct Plan {
    fates: Vec<Fate>,
    tally: Tally,
    key_count: u64,
    content_len_max: usize,
}

impl Queue {
    pub(super) fn send_keyed(
        &mut self,
        batch: &MessageBatch,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<Sent, Refusal> {
        self.keys.forget(self.attributes.dedup_window_ms, now);
        let plan = self.plan(batch);
        let surplus = self.check_room(plan.tally)?;
        self.keys.check_room(plan.key_count)?;
        self.give_way(surplus, now, effects);
        self.keys.make_room(plan.key_count);
        let class = class_of(plan.content_len_max);
        self.note_marks(plan.tally, class, now);
        let mut ids: Vec<MessageId> = Vec::with_capacity(plan.fates.len());
        let mut runs = Vec::new();
        for (index, fate) in (0u16..).zip(plan.fates) {
            ids.push(match fate {
                Fate::New { place, key } => {
                    let id = self.give(place, now);
                    Run::push(&mut runs, id, index);
                    self.remember(key, id, now);
                    id
                }
                Fate::Repeat(id) => id,
                Fate::RepeatOf(place) => ids[place],
            });
        }
        for run in runs {
            self.store(effects, batch, now, run);
        }
        Ok(Sent::of(ids))
    }

    fn plan(&self, batch: &MessageBatch) -> Plan {
        let secret = self.leases.secret();
        let mut plan = Plan::default();
        let mut places: BTreeMap<Digest, usize> = BTreeMap::new();
        for (index, (record, start)) in batch.messages(0).enumerate() {
            let key = batch.dedup_key(&record, start);
            let key = (!key.is_empty()).then(|| Digest::of(secret, key));
            if let Some(id) = key.and_then(|key| self.keys.find(key)) {
                plan.fates.push(Fate::Repeat(id));
                continue;
            }
            if let Some(first) = key.and_then(|key| places.get(&key)) {
                plan.fates.push(Fate::RepeatOf(*first));
                continue;
            }
            let place = self.place_of(batch, &record, start);
            plan.tally.add(place, record.content_len());
            if let Some(key) = key {
                places.insert(key, index);
                plan.key_count += 1;
            }
            plan.content_len_max = plan.content_len_max.max(record.content_len());
            plan.fates.push(Fate::New { place, key });
        }
        plan
    }

    fn remember(&mut self, key: Option<Digest>, id: MessageId, now: Timestamp) {
        if let Some(key) = key {
            self.keys.remember(key, id, now);
            self.trace.on_number(key.word());
        }
    }
}
