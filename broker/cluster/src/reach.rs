//! Reaching a set wherever it is led: through its handle on this node, or through a peer.
//!
//! What a node asks for itself goes this way: steps of the catalog, reads of set 0, hand-overs. One
//! hop at most: the node that is asked answers for its own replica or refuses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sampan_core::{Command, Reply};
use sampan_protocol::{ErrorCode, SetId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::board::Board;
use crate::calls::{self, Method};
use crate::catalog::Directory;
use crate::clock::{ClusterTime, TimeSource};
use crate::peer::{CallError, PeerError, Peers};
use crate::set::{Refused, SetHandle, SetRequest, ToReplica};

/// A peer answers within this time or is taken for gone.
const CALL_MAX: Duration = Duration::from_secs(6);
/// How long to wait for this node's own replica to catch up with what the leader confirmed.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);

/// The way to every set of the cluster from this node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reach {
    pub(crate) node: u64,
    pub(crate) board: Board,
    sets: Arc<[SetHandle]>,
    replicas: Arc<[mpsc::Sender<ToReplica>]>,
    /// None in a cluster of one.
    peers: Option<Peers>,
    directory: watch::Receiver<Arc<Directory>>,
    time: Arc<ClusterTime>,
}

/// What a reach is made of.
pub(crate) struct ReachParts {
    pub(crate) node: u64,
    pub(crate) board: Board,
    pub(crate) sets: Arc<[SetHandle]>,
    pub(crate) replicas: Arc<[mpsc::Sender<ToReplica>]>,
    pub(crate) peers: Option<Peers>,
    pub(crate) directory: watch::Receiver<Arc<Directory>>,
    pub(crate) time: Arc<ClusterTime>,
}

impl Reach {
    pub(crate) fn new(parts: ReachParts) -> Self {
        Reach {
            node: parts.node,
            board: parts.board,
            sets: parts.sets,
            replicas: parts.replicas,
            peers: parts.peers,
            directory: parts.directory,
            time: parts.time,
        }
    }

    /// The queues and the cluster as set 0 on this node knows them.
    pub(crate) fn directory(&self) -> Arc<Directory> {
        self.directory.borrow().clone()
    }

    /// A set of this node.
    pub(crate) fn set(&self, set: SetId) -> Result<&SetHandle, Refused> {
        let handle = self.sets.get(set.0 as usize);
        handle.ok_or_else(|| Refused::retry_after(ErrorCode::NoLeader, 500))
    }

    /// The task that serves peers for a set of this node.
    pub(crate) fn replica(&self, set: SetId) -> Option<&mpsc::Sender<ToReplica>> {
        self.replicas.get(set.0 as usize)
    }

    /// Whether this node leads the set.
    pub(crate) fn leads(&self, set: SetId) -> bool {
        self.board.leader(set) == Some(self.node)
    }

    /// Carries a command out at the set's leader.
    ///
    /// # Errors
    ///
    /// `no leader`, `outcome unknown`, `shutting down`. What the core refuses is a reply.
    pub(crate) async fn propose(&self, set: SetId, command: Command) -> Result<Reply, Refused> {
        if self.leads(set) {
            return self.set(set)?.propose(command).await;
        }
        let payload = calls::encode_command(command);
        let answer = self.call_leader(set, Method::Propose, payload).await?;
        calls::decode_reply(answer)
    }

    /// Returns when this node has applied everything of the set that was acknowledged before.
    ///
    /// # Errors
    ///
    /// `no leader` when that could not be confirmed.
    pub(crate) async fn confirm(&self, set: SetId) -> Result<(), Refused> {
        if self.leads(set) {
            return self.confirm_here(set).await.map(drop);
        }
        let answer = self
            .call_leader(set, Method::ReadIndex, Bytes::new())
            .await?;
        let index = calls::decode_index(answer)?;
        let no_leader = || Refused::retry_after(ErrorCode::NoLeader, 100);
        let replica = self.replica(set).ok_or_else(no_leader)?;
        let (done, applied) = oneshot::channel();
        let asked = replica.send(ToReplica::AwaitApplied { index, done }).await;
        asked.map_err(|_| Refused::new(ErrorCode::ShuttingDown))?;
        match tokio::time::timeout(CATCH_UP_MAX, applied).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(no_leader()),
        }
    }

    /// Up to where a majority agrees that this node, which leads the set, has applied.
    pub(crate) async fn confirm_here(&self, set: SetId) -> Result<u64, Refused> {
        let (done, confirmed) = oneshot::channel();
        self.set(set)?.request(SetRequest::Confirm(done)).await?;
        confirmed
            .await
            .map_err(|_| Refused::new(ErrorCode::ShuttingDown))?
    }

    /// Asks the leader of a set, wherever it is; this node too, through its own replica.
    pub(crate) async fn call_leader(
        &self,
        set: SetId,
        method: Method,
        payload: Bytes,
    ) -> Result<Bytes, Refused> {
        let leader = self.board.leader(set);
        let leader = leader.ok_or_else(|| Refused::retry_after(ErrorCode::NoLeader, 100))?;
        self.call(leader, Some(set), method, payload).await
    }

    /// Asks one node.
    pub(crate) async fn call(
        &self,
        node: u64,
        set: Option<SetId>,
        method: Method,
        payload: Bytes,
    ) -> Result<Bytes, Refused> {
        let unreachable = || {
            let refused = Refused::retry_after(ErrorCode::NoLeader, 100);
            Refused {
                text: format!("node {node} is not connected"),
                ..refused
            }
        };
        let peers = self.peers.as_ref().ok_or_else(unreachable)?;
        let link = peers.link(node);
        let answer = link.call(set, method.number(), payload, CALL_MAX).await;
        answer.map_err(|error| refused(&error))
    }

    /// How far each node's wall clock is ahead of the cluster's time, in milliseconds.
    pub(crate) fn clock_offsets_ms(&self) -> BTreeMap<u64, i64> {
        let Some(peers) = &self.peers else {
            return BTreeMap::new();
        };
        let now = self.time.read();
        let signed = |millis: u64| i64::try_from(millis).unwrap_or(i64::MAX / 2);
        let estimates = peers.clocks().estimates(now.monotonic_ms).into_iter();
        let mut offsets: BTreeMap<u64, i64> = estimates
            .map(|(node, wall_ms)| (node, signed(wall_ms) - signed(now.wall_ms)))
            .collect();
        offsets.insert(self.node, self.time.own_offset_ms());
        offsets
    }

    /// The connections to the peers.
    pub(crate) fn peers(&self) -> Option<&Peers> {
        self.peers.as_ref()
    }
}

/// What a failed call means to whoever asked for something.
pub(crate) fn refused(error: &PeerError) -> Refused {
    match error {
        PeerError::Failed(refusal) => from_call_error(refusal),
        error if error.may_be_applied() => Refused::new(ErrorCode::OutcomeUnknown),
        error => Refused {
            text: error.to_string(),
            ..Refused::retry_after(ErrorCode::NoLeader, 100)
        },
    }
}

/// A refusal as it travels between nodes.
pub(crate) fn to_call_error(refused: &Refused) -> CallError {
    CallError {
        number: refused.code.number(),
        text: refused.text.clone(),
    }
}

fn from_call_error(error: &CallError) -> Refused {
    let code = ErrorCode::from_number(error.number).unwrap_or(ErrorCode::Internal);
    Refused {
        text: error.text.clone(),
        ..Refused::retry_after(code, if code.retry() { 100 } else { 0 })
    }
}
