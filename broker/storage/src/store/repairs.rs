//! Messages that another replica sent in place of damaged ones.
//!
//! They wait in memory until a checkpoint has written them. A damaged extent can only go as a
//! whole, so what came for a part of it waits for the rest; a message that is removed meanwhile is
//! waited for no longer.
//!
//! Invariant: every message fits its own record, and all together have at most `REPAIR_LEN_MAX`.
//! Spec: spec/storage.md, "Replacing damaged messages".

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sampan_protocol::{MessageId, QueueId};

use super::error::StoreError;
use super::options::REPAIR_LEN_MAX;
use super::reader::StoredMessage;
use super::segment_extent::Outgoing;
use super::survivors::ExtentSink;

/// A message by queue and id.
pub(super) type RepairKey = (QueueId, u64);

/// The messages that wait.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    waiting: Mutex<BTreeMap<RepairKey, StoredMessage>>,
}

impl Repairs {
    /// Takes `messages` in, or none of them.
    pub(super) fn put(
        &self,
        queue: QueueId,
        messages: Vec<(MessageId, StoredMessage)>,
    ) -> Result<(), StoreError> {
        if let Some((id, _)) = messages.iter().find(|(_, message)| !message.is_as_sent()) {
            return Err(StoreError::WrongReplacement { queue, id: *id });
        }
        let mut waiting = self.waiting();
        let held = waiting.values().map(|message| message.content.len());
        let added = messages.iter().map(|(_, message)| message.content.len());
        let len = held.chain(added).sum();
        if len > REPAIR_LEN_MAX {
            return Err(StoreError::TooLong {
                what: "what waits to replace damaged messages",
                len,
                len_max: REPAIR_LEN_MAX,
            });
        }
        let messages = messages.into_iter();
        waiting.extend(messages.map(|(id, message)| ((queue, id.0), message)));
        Ok(())
    }

    /// Those of `ids` that wait.
    pub(super) fn find(
        &self,
        queue: QueueId,
        ids: &[MessageId],
    ) -> BTreeMap<MessageId, StoredMessage> {
        let waiting = self.waiting();
        if waiting.is_empty() {
            return BTreeMap::new();
        }
        let found = |id: &MessageId| Some((*id, waiting.get(&(queue, id.0))?.clone()));
        ids.iter().filter_map(found).collect()
    }

    /// Writes what is complete, in the transaction of a checkpoint, after its removals. Returns
    /// what need not wait any longer once that has committed.
    pub(super) fn write(
        &self,
        sink: &mut ExtentSink<'_, '_, '_>,
    ) -> Result<Vec<RepairKey>, StoreError> {
        let waiting = self.waiting().clone();
        let mut settled = Vec::new();
        let mut handled: Option<RepairKey> = None;
        for (queue, id) in waiting.keys().copied() {
            if handled.is_some_and(|until| (queue, id) <= until) {
                continue;
            }
            let entry = sink.index.at_or_after(queue, id)?;
            let Some(entry) = entry.filter(|entry| entry.is_alive(id)) else {
                settled.push((queue, id));
                continue;
            };
            handled = Some((queue, entry.last));
            let living: Option<Vec<_>> = entry
                .living()
                .map(|id| Some((id, waiting.get(&(queue, id))?)))
                .collect();
            let Some(living) = living else { continue };
            let outgoing = living.iter().map(|(id, message)| Outgoing {
                id: *id,
                sent_at: message.sent_at,
                record: message.record,
                content: &message.content,
            });
            sink.index.remove(sink.books, &entry.key())?;
            sink.put(queue, &outgoing.collect::<Vec<_>>())?;
            let own = waiting.range((queue, entry.first)..=(queue, entry.last));
            settled.extend(own.map(|(key, _)| *key));
        }
        Ok(settled)
    }

    /// Lets go what a checkpoint has written.
    pub(super) fn settle(&self, settled: &[RepairKey]) {
        let mut waiting = self.waiting();
        settled.iter().for_each(|key| drop(waiting.remove(key)));
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<RepairKey, StoredMessage>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
