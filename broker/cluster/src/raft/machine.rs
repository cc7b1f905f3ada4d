//! A set's state machine, as openraft wants to see it: entries are applied in the order of the log,
//! and each answers its proposer.
//!
//! Nothing here reads a disk while it holds the state: when the core asks for pages, they are read
//! on a blocking thread and the same entry is applied again from its beginning.
//!
//! Snapshots are the store's checkpoints: openraft only learns up to which log id there is one, so
//! that it may purge the log, or ask for one to be sent. Spec: spec/storage.md, "The queue store".

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use futures::{Stream, TryStreamExt};
use openraft::RaftSnapshotBuilder;
use openraft::storage::{EntryResponder, RaftStateMachine};
use sampan_core::Need;

use super::types::{
    Applied, RaftLogId, RaftPayload, SetConfig, Snapshot, SnapshotData, SnapshotMeta,
    StoredMembership,
};
use crate::set::SetState;

/// The adapter. The state is shared with the set's driver on the same thread.
pub(crate) struct StateMachine {
    state: Rc<RefCell<SetState>>,
}

/// Answers with the newest checkpoint: the store has built it already.
pub(crate) struct SnapshotBuilder {
    state: Rc<RefCell<SetState>>,
}

impl StateMachine {
    pub(crate) fn new(state: Rc<RefCell<SetState>>) -> Self {
        StateMachine { state }
    }

    async fn apply_one(&self, id: RaftLogId, payload: RaftPayload) -> io::Result<Applied> {
        let proposal = match payload {
            RaftPayload::Blank => {
                self.state.borrow_mut().on_blank(id);
                return Ok(Applied::default());
            }
            RaftPayload::Membership(membership) => {
                let stored = StoredMembership::new(Some(id), membership);
                self.state.borrow_mut().on_membership(id, stored);
                return Ok(Applied::default());
            }
            RaftPayload::Normal(proposal) => proposal,
        };
        loop {
            let outcome = self.state.borrow_mut().apply(id, &proposal.0);
            match outcome {
                Ok(replies) => return Ok(Applied(replies)),
                Err(need) => self.supply(need).await?,
            }
        }
    }

    async fn supply(&self, need: Need) -> io::Result<()> {
        let reader = self.state.borrow().reader();
        let joined = tokio::task::spawn_blocking(move || reader.read_rows(&need.0)).await;
        let rows = joined
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        self.state
            .borrow_mut()
            .supply(rows)
            .map_err(io::Error::other)
    }
}

impl RaftStateMachine<SetConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<RaftLogId>, StoredMembership)> {
        let state = self.state.borrow();
        Ok((state.applied(), state.membership().clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<SetConfig>>> + Unpin,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let applied = self.apply_one(entry.log_id, entry.payload).await?;
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        self.state.borrow().notify_driver();
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            state: self.state.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let SnapshotData::Received(incoming) = snapshot else {
            let text = format!("snapshot {meta} is of this node itself");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        };
        let retired = self.state.borrow_mut().retire();
        let retired =
            retired.ok_or_else(|| io::Error::other("the store is being replaced already"))?;
        let installed = tokio::task::spawn_blocking(move || incoming.install(retired)).await;
        let (store, recovered) = installed
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        let mut state = self.state.borrow_mut();
        state.take_up(store, recovered).map_err(io::Error::other)?;
        tracing::info!(%meta, "a snapshot was installed");
        state.notify_driver();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        Ok(current_snapshot(&self.state.borrow()))
    }
}

impl RaftSnapshotBuilder<SetConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let snapshot = current_snapshot(&self.state.borrow());
        snapshot.ok_or_else(|| io::Error::other("there is no checkpoint yet"))
    }
}

fn current_snapshot(state: &SetState) -> Option<Snapshot> {
    let (last_log_id, last_membership) = state.checkpoint()?;
    let meta = SnapshotMeta {
        last_log_id: Some(last_log_id),
        last_membership,
    };
    Some(Snapshot {
        meta,
        snapshot: SnapshotData::Stored,
    })
}
