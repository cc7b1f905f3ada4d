//! A snapshot that comes in: taken chunk by chunk beside the running store, then installed.
//!
//! The writer blocks on the disk, so it works on blocking threads; between two chunks it lies here.
//! One snapshot at a time: another sender's makes the one before it go.
//! Spec: spec/peer.md, "Snapshots".

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use sampan_protocol::ErrorCode;
use sampan_storage::io::Folder;
use sampan_storage::store::{SnapshotId, SnapshotWriter, StoreError, StoreIdentity, StoreOptions};

use super::replica::Replica;
use super::request::Refused;
use super::state::membership_of;
use crate::calls;
use crate::raft::types::{Snapshot, SnapshotData, SnapshotMeta, from_stored};
use crate::suspicion::Voters;

/// The intake of one set. Clones are one.
#[derive(Clone)]
pub(crate) struct Intake {
    folder: Arc<dyn Folder>,
    identity: StoreIdentity,
    receiving: Rc<RefCell<Option<SnapshotWriter>>>,
}

impl Intake {
    /// For the set whose store is in `folder`.
    pub(crate) fn new(folder: Arc<dyn Folder>, identity: StoreIdentity) -> Self {
        Intake {
            folder,
            identity,
            receiving: Rc::default(),
        }
    }

    /// A snapshot is offered: which of its chunks is wanted first?
    pub(super) async fn begin(&self, replica: &Replica, payload: Bytes) -> Result<Bytes, Refused> {
        let malformed = || refuse("the id of a snapshot is malformed");
        let id = SnapshotId::decode(&payload).ok_or_else(malformed)?;
        if id.set != self.identity.set || id.cluster != self.identity.cluster {
            return Err(refuse("the snapshot is of another set or cluster"));
        }
        let before = self.receiving.borrow_mut().take();
        let (folder, identity) = (self.folder.clone(), self.identity);
        let set = replica.set;
        tracing::info!(%set, sender = id.sender, applied = id.applied.index, "a snapshot comes");
        let (writer, next) = blocking(move || match before {
            Some(writer) if *writer.id() == id => {
                let next = writer.next_number();
                Ok((writer, next))
            }
            before => {
                drop(before);
                SnapshotWriter::resume(folder, identity, StoreOptions::default(), &id)
            }
        })
        .await?;
        *self.receiving.borrow_mut() = Some(writer);
        Ok(calls::encode_index(next))
    }

    /// One chunk: which is wanted next?
    pub(super) async fn chunk(&self, payload: Bytes) -> Result<Bytes, Refused> {
        let mut writer = self.take()?;
        let (writer, next) = blocking(move || {
            let next = writer.write_chunk(payload)?;
            Ok::<_, StoreError>((writer, next))
        })
        .await?;
        *self.receiving.borrow_mut() = Some(writer);
        Ok(calls::encode_index(next))
    }

    /// All of it is there: it takes the place of the store.
    pub(super) async fn finish(&self, replica: &Replica, payload: Bytes) -> Result<Bytes, Refused> {
        let vote = calls::decode_vote(payload).ok_or_else(|| refuse("a malformed vote"))?;
        let writer = self.take()?;
        let incoming = blocking(move || writer.finish()).await?;
        let damaged = || refuse("the membership in the snapshot is malformed");
        let id = incoming.id();
        let meta = SnapshotMeta {
            last_log_id: Some(from_stored(id.applied)),
            last_membership: membership_of(&id.membership).ok_or_else(damaged)?,
        };
        let members = &meta.last_membership;
        let voters = Voters::of(members.log_id().as_ref(), members.membership());
        let (known, set) = (replica.suspicion.hard_state().clone(), replica.set);
        blocking(move || known.note_voters(set, &voters)).await?;
        let snapshot = Snapshot {
            meta,
            snapshot: SnapshotData::Received(Box::new(incoming)),
        };
        let installed = replica.raft.install_full_snapshot(vote, snapshot).await;
        let response = installed.map_err(|error| {
            tracing::error!(set = %replica.set, %error, "a snapshot was not installed");
            Refused::new(ErrorCode::Internal)
        })?;
        Ok(calls::encode_vote(&response.vote))
    }

    fn take(&self) -> Result<SnapshotWriter, Refused> {
        let writer = self.receiving.borrow_mut().take();
        writer.ok_or_else(|| refuse("no snapshot is being received"))
    }
}

async fn blocking<T: Send + 'static, E: std::error::Error + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Refused> {
    let failed = |error: &dyn std::fmt::Display| {
        tracing::error!(%error, "receiving a snapshot failed");
        refuse(&error.to_string())
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| failed(&error))?
        .map_err(|error| failed(&error))
}

fn refuse(text: &str) -> Refused {
    Refused {
        text: text.to_owned(),
        ..Refused::new(ErrorCode::ClusterRefused)
    }
}
