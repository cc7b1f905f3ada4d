//! Reads bodies, and brings those that are damaged here back from another replica.
//!
//! A damaged extent is one fault of one disk: the other replicas have the same messages, each in
//! files of its own. So a read that meets one asks them, in turn, and reads again. What came is
//! taken only when it fits the checksum that its sender gave; the store keeps it in memory until a
//! checkpoint has written it in place of the damaged extent.
//!
//! Invariants: one repair at a time on a node, so that many readers of one damaged extent fetch it
//! once; what waits in memory is bounded by the store. A message that no replica has is told from
//! one that is gone: whoever asked must not take a lost message for a deleted one.
//! Spec: spec/storage.md, "Replacing damaged messages".

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sampan_protocol::{ErrorCode, MessageId, QueueId, SetId};
use sampan_storage::store::{Reader, StoreError, StoredMessage};
use tokio::sync::Mutex;

use crate::bodies::{BODIES_COUNT_MAX, BodiesAnswer, BodiesRequest};
use crate::calls::Method;
use crate::reach::Reach;
use crate::set::Refused;

/// Messages as they were read.
#[derive(Debug, Default)]
pub struct Bodies {
    /// In the order of the ids; `None`: gone, or lost.
    pub messages: Vec<Option<StoredMessage>>,
    /// How many of them are damaged here, and no other replica that could be asked has them.
    pub lost_count: usize,
}

/// Brings damaged messages back. Cheap to clone; all clones are one.
#[derive(Clone)]
pub(crate) struct Repairer {
    reach: Reach,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Held by whoever repairs.
    turn: Mutex<()>,
    damaged_count: AtomicU64,
    repaired_count: AtomicU64,
}

impl Repairer {
    pub(crate) fn new(reach: Reach) -> Self {
        Repairer {
            reach,
            shared: Arc::default(),
        }
    }

    /// Messages found damaged since the start.
    pub(crate) fn damaged_count(&self) -> u64 {
        self.shared.damaged_count.load(Ordering::Relaxed)
    }

    /// Messages brought back since the start.
    pub(crate) fn repaired_count(&self) -> u64 {
        self.shared.repaired_count.load(Ordering::Relaxed)
    }

    /// The messages of `queue` with these ids, damaged ones from another replica.
    ///
    /// # Errors
    ///
    /// The store cannot be read at all.
    pub(crate) async fn read(
        &self,
        set: SetId,
        reader: &Reader,
        queue: QueueId,
        ids: &[MessageId],
    ) -> Result<Bodies, StoreError> {
        let mut lost = BTreeSet::new();
        let mut turn = None;
        loop {
            let wanted = ids.iter().copied().filter(|id| !lost.contains(id));
            let error = match read_here(reader, queue, wanted.collect()).await {
                Ok(messages) => return Ok(in_order(ids, &lost, messages)),
                Err(error) => error,
            };
            let StoreError::DamagedMessages { queue, ids, .. } = &error else {
                return Err(error);
            };
            if turn.is_none() {
                // Somebody else may have brought them back meanwhile.
                turn = Some(self.shared.turn.lock().await);
                continue;
            }
            self.on_damage(set, &error, ids.len());
            // Each of them is in memory or given up from now on, so this ends.
            lost.extend(self.bring_back(set, reader, *queue, ids).await);
        }
    }

    fn on_damage(&self, set: SetId, error: &StoreError, count: usize) {
        if let StoreError::DamagedMessages {
            file,
            offset,
            what,
            queue,
            ..
        } = error
        {
            tracing::error!(%set, %queue, file, offset, count, what, "stored messages are damaged");
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.shared
            .damaged_count
            .fetch_add(count, Ordering::Relaxed);
    }

    /// Asks the other replicas for `ids`; returns those that none of them has.
    async fn bring_back(
        &self,
        set: SetId,
        reader: &Reader,
        queue: QueueId,
        ids: &[MessageId],
    ) -> BTreeSet<MessageId> {
        let mut missing: BTreeSet<MessageId> = ids.iter().copied().collect();
        for node in self.other_replicas(set) {
            if missing.is_empty() {
                break;
            }
            let asked: Vec<MessageId> = missing.iter().copied().collect();
            let taken = match self.fetch(node, set, queue, &asked).await {
                Ok(found) => take_in(reader, queue, found),
                Err(refused) => {
                    tracing::warn!(%set, node, error = %refused, "a replica gives no messages");
                    continue;
                }
            };
            if taken.is_empty() {
                continue;
            }
            let count = taken.len();
            missing.retain(|id| !taken.contains(id));
            let added = u64::try_from(count).unwrap_or(u64::MAX);
            self.shared
                .repaired_count
                .fetch_add(added, Ordering::Relaxed);
            tracing::info!(%set, %queue, node, count, "damaged messages were brought back");
        }
        if !missing.is_empty() {
            let count = missing.len();
            tracing::error!(%set, %queue, count, "no other replica has these damaged messages");
        }
        missing
    }

    fn other_replicas(&self, set: SetId) -> impl Iterator<Item = u64> + use<> {
        let line = self.reach.board.line(set);
        let own = self.reach.node;
        let all = line.voters.into_iter().chain(line.learners);
        all.filter(move |node| *node != own)
    }

    /// What one replica has of `ids`, as far as it is as its sender gave it.
    async fn fetch(
        &self,
        node: u64,
        set: SetId,
        queue: QueueId,
        ids: &[MessageId],
    ) -> Result<Vec<(MessageId, StoredMessage)>, Refused> {
        let mut found = Vec::new();
        let mut rest = ids;
        while !rest.is_empty() {
            let now = &rest[..rest.len().min(BODIES_COUNT_MAX)];
            let request = BodiesRequest {
                queue,
                ids: now.to_vec(),
            };
            let asked = self
                .reach
                .call(node, Some(set), Method::Bodies, request.encode());
            let answer = BodiesAnswer::decode(asked.await?);
            let answer = answer.filter(|answer| (1..=now.len()).contains(&answer.covered_count));
            let answer = answer.ok_or_else(|| Refused::new(ErrorCode::MalformedFrame))?;
            let is_good = |(id, message): &(MessageId, StoredMessage)| {
                now.contains(id) && message.is_as_sent()
            };
            found.extend(answer.messages.into_iter().filter(is_good));
            rest = &rest[answer.covered_count..];
        }
        Ok(found)
    }
}

/// Hands messages to the store; returns those that it took.
fn take_in(
    reader: &Reader,
    queue: QueueId,
    messages: Vec<(MessageId, StoredMessage)>,
) -> Vec<MessageId> {
    let ids = messages.iter().map(|(id, _)| *id).collect();
    match reader.replace_damaged(queue, messages) {
        Ok(()) => ids,
        Err(error) => {
            tracing::error!(%queue, %error, "messages for damaged ones cannot be taken in");
            Vec::new()
        }
    }
}

/// Reads on a blocking thread.
async fn read_here(
    reader: &Reader,
    queue: QueueId,
    ids: Vec<MessageId>,
) -> Result<Vec<Option<StoredMessage>>, StoreError> {
    let reader = reader.clone();
    let read = move || reader.read(queue, &ids);
    match tokio::task::spawn_blocking(read).await {
        Ok(messages) => messages,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// `messages` are those of `ids` that are not lost.
fn in_order(
    ids: &[MessageId],
    lost: &BTreeSet<MessageId>,
    messages: Vec<Option<StoredMessage>>,
) -> Bodies {
    let lost_count = ids.iter().filter(|id| lost.contains(*id)).count();
    if lost_count == 0 {
        return Bodies {
            messages,
            lost_count,
        };
    }
    let mut rest = messages.into_iter();
    let message = |id: &MessageId| match lost.contains(id) {
        true => None,
        false => rest.next().flatten(),
    };
    Bodies {
        messages: ids.iter().map(message).collect(),
        lost_count,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_counted_and_leaves_a_gap() {
        let ids = [MessageId(1), MessageId(2), MessageId(3)];
        let lost = BTreeSet::from([MessageId(2), MessageId(9)]);
        let message = StoredMessage {
            sent_at: sampan_protocol::Timestamp(5),
            record: sampan_protocol::MessageRecord {
                body_len: 0,
                body_crc32c: 0,
                delay_ms: 0,
                headers_len: 0,
                group_key_len: 0,
                dedup_key_len: 0,
            },
            content: bytes::Bytes::new(),
        };
        let bodies = in_order(&ids, &lost, vec![Some(message.clone()), None]);
        assert_eq!(bodies.messages, [Some(message), None, None]);
        assert_eq!(bodies.lost_count, 1);
    }
}
