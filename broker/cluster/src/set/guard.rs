//! Before anything is appended to a peer: has its log shrunk?
//!
//! openraft takes a follower at its word: what it confirmed once, it has. A follower whose folder
//! is an older copy breaks that without knowing. So whenever a connection is new, the peer is first
//! asked how far its log goes; if that is less than what it confirmed, it is told, becomes suspect,
//! and is brought back like any other suspect.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use openraft::type_config::async_runtime::WatchReceiver;
use sampan_protocol::SetId;

use crate::calls::{Method, Standing};
use crate::raft::network::AppendGuard;
use crate::raft::types::SetRaft;
use crate::reach::Reach;

/// The guard of one set. Clones are one.
#[derive(Clone)]
pub(crate) struct LogGuard {
    reach: Reach,
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    raft: OnceCell<SetRaft>,
    /// By node: the connection on which its log was found sound.
    checked: RefCell<BTreeMap<u64, u64>>,
    /// Nodes that are being asked.
    asking: RefCell<BTreeMap<u64, u64>>,
}

impl LogGuard {
    pub(crate) fn new(reach: Reach) -> Self {
        LogGuard {
            reach,
            inner: Rc::default(),
        }
    }

    /// The set that asks.
    pub(crate) fn bind(&self, raft: SetRaft) {
        // It is bound once, right after the set is made.
        drop(self.inner.raft.set(raft));
    }

    fn ask(&self, node: u64, set: SetId, connection: u64) {
        let Some(raft) = self.inner.raft.get().cloned() else {
            return;
        };
        if self.inner.asking.borrow_mut().insert(node, connection) == Some(connection) {
            return;
        }
        let guard = self.clone();
        tokio::task::spawn_local(async move {
            if guard.is_sound(&raft, node, set).await {
                guard.inner.checked.borrow_mut().insert(node, connection);
            }
            guard.inner.asking.borrow_mut().remove(&node);
        });
    }

    async fn is_sound(&self, raft: &SetRaft, node: u64, set: SetId) -> bool {
        // Looked up before the peer is asked, or its answer could be older.
        let confirmed = {
            let metrics = raft.data_metrics();
            let metrics = metrics.borrow_watched();
            let replication = metrics.replication.iter().flatten();
            let mut of_node = replication.filter(|(known, _)| **known == node);
            of_node
                .next()
                .and_then(|(_, matched)| Some(matched.as_ref()?.index))
        };
        let answer = self
            .reach
            .call(node, Some(set), Method::Standing, Bytes::new());
        let Some(standing) = answer.await.ok().and_then(Standing::decode) else {
            return false;
        };
        let has_shrunk = standing.last.map(|id| id.index) < confirmed;
        if !has_shrunk {
            return true;
        }
        if !standing.is_suspect {
            tracing::error!(%set, node, confirmed, has = standing.last.map(|id| id.index),
                "a replica has less than it confirmed");
            let told = self
                .reach
                .call(node, Some(set), Method::Suspect, Bytes::new());
            if told.await.is_err() {
                return false;
            }
        }
        // It starts over: openraft must not take what it confirmed before for granted.
        matches!(
            raft.trigger().allow_next_revert(&node, true).await,
            Ok(Ok(()))
        )
    }
}

impl AppendGuard for LogGuard {
    fn may_append(&self, node: u64, set: SetId) -> bool {
        let Some(peers) = self.reach.peers() else {
            return false;
        };
        let Some(connection) = peers.link(node).connection_number() else {
            return false;
        };
        if self.inner.checked.borrow().get(&node) == Some(&connection) {
            return true;
        }
        self.ask(node, set, connection);
        false
    }
}
