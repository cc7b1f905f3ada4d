//! What a replica gives to one whose copies of messages are damaged.
//!
//! Messages in memory are found on the set's core; those on disk are read on a blocking thread, a
//! few at a time, so that a question costs the memory of its answer. What is damaged here too, or
//! gone, is left out. Spec: spec/peer.md, "Messages".

use bytes::Bytes;
use sampan_protocol::{ErrorCode, MessageId, QueueId};
use sampan_storage::store::{Reader, StoreError, StoredMessage};

use super::replica::Replica;
use super::request::Refused;
use crate::bodies::{BODIES_LEN_MAX, BodiesAnswer, BodiesRequest};

/// Messages that are read from disk at one time.
const READ_COUNT: usize = 4;

/// Answers a peer's question for messages.
pub(super) async fn give(replica: &Replica, payload: Bytes) -> Result<Bytes, Refused> {
    let malformed = || Refused::new(ErrorCode::MalformedFrame);
    let BodiesRequest { queue, ids } = BodiesRequest::decode(payload).ok_or_else(malformed)?;
    let mut answer = BodiesAnswer::default();
    let mut len = 0;
    for piece in ids.chunks(READ_COUNT) {
        if len >= BODIES_LEN_MAX {
            break;
        }
        let (mut found, missing) = replica.state.borrow().find(queue, piece);
        let reader = replica.state.borrow().reader();
        let read = tokio::task::spawn_blocking(move || read(&reader, queue, &missing)).await;
        found.extend(read.map_err(|_| Refused::new(ErrorCode::ShuttingDown))?);
        len += found
            .iter()
            .map(|(_, message)| message.content.len())
            .sum::<usize>();
        answer.covered_count += piece.len();
        answer.messages.extend(found);
    }
    Ok(answer.encode())
}

/// What is on disk of `ids`, each by itself when one is damaged.
fn read(reader: &Reader, queue: QueueId, ids: &[MessageId]) -> Vec<(MessageId, StoredMessage)> {
    match reader.read(queue, ids) {
        Ok(messages) => {
            let found = ids.iter().zip(messages);
            found
                .filter_map(|(id, message)| Some((*id, message?)))
                .collect()
        }
        Err(StoreError::DamagedMessages { .. }) if ids.len() > 1 => ids
            .iter()
            .flat_map(|id| read(reader, queue, std::slice::from_ref(id)))
            .collect(),
        Err(error) => {
            tracing::warn!(%queue, %error, "a message that a peer asks for cannot be read here");
            Vec::new()
        }
    }
}
