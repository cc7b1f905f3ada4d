//! Snapshots on their way to peers that the log can no longer bring up to date.
//!
//! What is sent is the store's newest checkpoint, opened when the sending begins and pinned until
//! it ends. A transfer that is interrupted stays open for [`IDLE_MAX`], and goes on where the peer
//! says it was. While one is open, from before the peer hears of it, openraft is told of its log id
//! as the newest snapshot, and the log behind it is kept: otherwise the peer would be behind the
//! log again when it has arrived.
//!
//! Chunks follow each other one by one, no faster than [`Pace`] allows for the whole node.
//! Spec: spec/peer.md, "Snapshots".

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use openraft::errors::{NetworkError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::SnapshotResponse;
use sampan_protocol::SetId;
use sampan_storage::store::{Reader, SnapshotId, SnapshotReader, StoreError};
use tokio::time::Instant;

use super::state::membership_of;
use crate::calls::{self, Method};
use crate::pace::Pace;
use crate::peer::PeerError;
use crate::raft::network::{PeerOf, SnapshotSender};
use crate::raft::types::{RaftLogId, RaftVote, SetConfig, Snapshot, StoredMembership, from_stored};
use crate::repair::Repairer;

/// A transfer that nothing was heard of for this long is given up.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// A transfer that takes longer keeps too much log; it starts over.
const AGE_MAX: Duration = Duration::from_secs(60 * 60);
/// A peer answers within this time; it may have to sync what it got.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Installing removes the files of the store before.
const INSTALL_MAX: Duration = Duration::from_secs(300);

type Answer = SnapshotResponse<SetConfig>;
type SendError = StreamingError<SetConfig>;

/// A transfer that was begun.
struct Transfer {
    reader: SnapshotReader,
    begun_at: Instant,
}

/// The open transfers of one set, by peer. Clones are one.
#[derive(Clone, Default)]
pub(crate) struct Transfers {
    open: Rc<RefCell<BTreeMap<u64, Parked>>>,
}

/// A transfer's place in the table: it is taken out while it runs.
struct Parked {
    meta: (RaftLogId, StoredMembership),
    used_at: Instant,
    transfer: Option<Transfer>,
}

impl Transfers {
    /// The oldest checkpoint that a transfer is open for.
    pub(crate) fn oldest(&self) -> Option<(RaftLogId, StoredMembership)> {
        self.give_up_idle();
        let open = self.open.borrow();
        let oldest = open.values().min_by_key(|parked| parked.meta.0.index)?;
        Some(oldest.meta.clone())
    }

    /// The log is running out of room: nothing is kept for transfers.
    pub(crate) fn give_up_all(&self) {
        self.open.borrow_mut().clear();
    }

    fn give_up_idle(&self) {
        let mut open = self.open.borrow_mut();
        open.retain(|_, parked| parked.used_at.elapsed() < IDLE_MAX);
    }

    fn take(&self, node: u64) -> Option<Transfer> {
        let mut open = self.open.borrow_mut();
        let transfer = open.get_mut(&node)?.transfer.take()?;
        (transfer.begun_at.elapsed() < AGE_MAX).then_some(transfer)
    }

    /// A transfer waits to be gone on with.
    fn put(&self, node: u64, transfer: Transfer) {
        self.touch(node, transfer.reader.id());
        if let Some(parked) = self.open.borrow_mut().get_mut(&node) {
            parked.transfer = Some(transfer);
        }
    }

    /// Notes that the transfer of the snapshot `id` is used, so that the log behind it is kept; an
    /// older one to the same node is over then, and keeps nothing.
    fn touch(&self, node: u64, id: &SnapshotId) {
        let used_at = Instant::now();
        let applied = from_stored(id.applied);
        let mut open = self.open.borrow_mut();
        if let Some(parked) = open.get_mut(&node)
            && parked.meta.0 == applied
        {
            parked.used_at = used_at;
            return;
        }
        if let Some(membership) = membership_of(&id.membership) {
            let parked = Parked {
                meta: (applied, membership),
                used_at,
                transfer: None,
            };
            open.insert(node, parked);
        }
    }

    fn end(&self, node: u64) {
        self.open.borrow_mut().remove(&node);
    }
}

/// Sends the snapshots of one set.
pub(crate) struct Sender {
    pub(crate) set: SetId,
    pub(crate) incarnation: u128,
    pub(crate) store: Reader,
    pub(crate) repairer: Repairer,
    pub(crate) transfers: Transfers,
    pub(crate) pace: Arc<Pace>,
}

impl SnapshotSender for Rc<Sender> {
    fn send(
        &self,
        peer: PeerOf,
        vote: RaftVote,
        snapshot: Snapshot,
        cancel: LocalBoxFuture<'static, ReplicationClosed>,
        _option: RPCOption,
    ) -> LocalBoxFuture<'static, Result<Answer, SendError>> {
        let sender = self.clone();
        async move {
            let node = peer.link.node();
            let sending = sender.send_to(&peer, vote, snapshot);
            tokio::select! {
                closed = cancel => Err(StreamingError::Closed(closed)),
                sent = sending => {
                    if let Err(error) = &sent {
                        let set = sender.set;
                        tracing::warn!(%set, node, %error, "a snapshot is interrupted");
                    }
                    sent
                }
            }
        }
        .boxed_local()
    }
}

impl Sender {
    async fn send_to(
        &self,
        peer: &PeerOf,
        vote: RaftVote,
        snapshot: Snapshot,
    ) -> Result<Answer, SendError> {
        let node = peer.link.node();
        let wanted = snapshot.meta.last_log_id;
        let transfer = self.begin(node, wanted).await?;
        let set = self.set;
        tracing::info!(%set, node, applied = transfer.reader.id().applied.index,
            len = transfer.reader.id().len_estimate, "sending a snapshot");
        if let Err((back, error)) = self.send_all(peer, transfer).await {
            match back {
                Some(transfer) => self.transfers.put(node, transfer),
                None => self.transfers.end(node),
            }
            return Err(error);
        }
        self.transfers.end(node);
        let (method, payload) = (Method::SnapshotFinish.number(), calls::encode_vote(&vote));
        let call = peer.link.call(Some(set), method, payload, INSTALL_MAX);
        let answer = call.await.map_err(unreachable)?;
        tracing::info!(%set, node, "a snapshot arrived");
        let vote = calls::decode_vote(answer).ok_or_else(|| network("the vote in an answer"))?;
        Ok(SnapshotResponse::new(vote))
    }

    /// The transfer to go on with, or a new one of the newest checkpoint, which is never older than
    /// `wanted`. From now on the log behind it is kept: the peer may take long to answer.
    async fn begin(&self, node: u64, wanted: Option<RaftLogId>) -> Result<Transfer, SendError> {
        if let Some(transfer) = self.transfers.take(node)
            && Some(from_stored(transfer.reader.id().applied)) >= wanted
        {
            self.transfers.touch(node, transfer.reader.id());
            return Ok(transfer);
        }
        let (store, incarnation) = (self.store.clone(), self.incarnation);
        let opened = blocking(move || store.snapshot(incarnation)).await?;
        let reader = opened.ok_or_else(|| network("no checkpoint yet"))?;
        self.transfers.touch(node, reader.id());
        Ok(Transfer {
            reader,
            begun_at: Instant::now(),
        })
    }

    /// Sends every chunk that the peer does not have. On an error that may pass, the transfer comes
    /// back with it.
    async fn send_all(
        &self,
        peer: &PeerOf,
        mut transfer: Transfer,
    ) -> Result<(), (Option<Transfer>, SendError)> {
        let (set, node) = (self.set, peer.link.node());
        let id = Bytes::from(transfer.reader.id().encode());
        let ask = |method: Method, payload: Bytes| {
            let link = peer.link.clone();
            async move {
                let answer = link.call(Some(set), method.number(), payload, ANSWER_MAX);
                let answer = answer.await.map_err(unreachable)?;
                calls::decode_index(answer).map_err(|_| network("place in a snapshot"))
            }
        };
        let mut next = match ask(Method::SnapshotBegin, id).await {
            Ok(next) => next,
            Err(error) => return Err((Some(transfer), error)),
        };
        loop {
            self.transfers.touch(node, transfer.reader.id());
            let (back, chunk) = match read_chunk(transfer, next).await {
                Ok(read) => read,
                // A snapshot that cannot be read is of no use any more.
                Err(error) => {
                    self.mend(&error).await;
                    return Err((None, StreamingError::Network(NetworkError::new(&error))));
                }
            };
            transfer = back;
            let Some(chunk) = chunk else { return Ok(()) };
            let begin = self.pace.begin_at(Instant::now(), chunk.len());
            tokio::time::sleep_until(begin).await;
            next = match ask(Method::SnapshotChunk, chunk).await {
                Ok(next) => next,
                Err(error) => return Err((Some(transfer), error)),
            };
        }
    }
}

impl Sender {
    /// Brings damaged messages back, so that a later checkpoint can be sent.
    async fn mend(&self, error: &StoreError) {
        let StoreError::DamagedMessages { queue, ids, .. } = error else {
            return;
        };
        let read = self.repairer.read(self.set, &self.store, *queue, ids);
        if let Err(error) = read.await {
            tracing::error!(set = %self.set, %error, "damaged messages could not be mended");
        }
    }
}

/// Chunk `number` of the transfer, read on a blocking thread.
async fn read_chunk(
    mut transfer: Transfer,
    number: u64,
) -> Result<(Transfer, Option<Bytes>), StoreError> {
    let read = move || {
        if transfer.reader.next_number() != number {
            transfer.reader.seek(number)?;
        }
        let chunk = transfer.reader.next_chunk()?;
        Ok((transfer, chunk))
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(chunk) => chunk,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, SendError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| StreamingError::Network(NetworkError::new(&error)))?;
    done.map_err(|error| StreamingError::Network(NetworkError::new(&error)))
}

fn unreachable(error: PeerError) -> SendError {
    StreamingError::Unreachable(Unreachable::new(&error))
}

fn network(what: &str) -> SendError {
    let error = std::io::Error::other(what.to_owned());
    StreamingError::Network(NetworkError::new(&error))
}

#[cfg(test)]
mod tests {
    use sampan_storage::log::LogId;

    use super::*;

    fn snapshot(index: u64) -> SnapshotId {
        SnapshotId {
            set: SetId(3),
            cluster: 1,
            sender: 1,
            incarnation: 1,
            applied: LogId {
                term: 2,
                node: 0,
                index,
            },
            fingerprint: index,
            len_estimate: 0,
            membership: Vec::new(),
        }
    }

    #[test]
    fn the_log_is_kept_for_the_snapshot_that_is_sent_now() {
        let transfers = Transfers::default();
        let kept = || transfers.oldest().map(|(id, _)| id.index);
        assert_eq!(kept(), None);
        transfers.touch(2, &snapshot(50));
        assert_eq!(kept(), Some(50));
        // The one before took too long; a newer one has begun.
        transfers.touch(2, &snapshot(90));
        assert_eq!(kept(), Some(90));
        transfers.touch(3, &snapshot(70));
        assert_eq!(kept(), Some(70));
        transfers.end(3);
        assert_eq!(kept(), Some(90));
    }
}
