//! The way to the peers.
//!
//! A set with a single voter has none, so every call answers "unreachable": openraft never makes
//! one as long as the membership names this node alone.

use std::future::Future;

use openraft::BasicNode;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};

use super::types::{RaftVote, SetConfig, Snapshot};

/// Makes the connection to a peer.
#[derive(Clone, Debug)]
pub(crate) struct Peers;

/// The connection to one peer.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    node: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("node {0} is not a peer of this node")]
struct NoSuchPeer(u64);

impl Peer {
    fn unreachable(&self) -> Unreachable<SetConfig> {
        Unreachable::new(&NoSuchPeer(self.node))
    }
}

impl RaftNetworkFactory<SetConfig> for Peers {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> Peer {
        Peer { node: target }
    }
}

impl RaftNetworkV2<SetConfig> for Peer {
    type SnapshotData = ();

    async fn append_entries(
        &mut self,
        _request: AppendEntriesRequest<SetConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<SetConfig>, RPCError<SetConfig>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _request: VoteRequest<SetConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<SetConfig>, RPCError<SetConfig>> {
        Err(self.unreachable().into())
    }

    async fn pre_vote(
        &mut self,
        _request: VoteRequest<SetConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<SetConfig>, RPCError<SetConfig>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _vote: RaftVote,
        _snapshot: Snapshot,
        _cancel: impl Future<Output = ReplicationClosed> + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<SetConfig>, StreamingError<SetConfig>> {
        Err(StreamingError::Unreachable(self.unreachable()))
    }
}
