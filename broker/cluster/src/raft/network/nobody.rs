//! The network of a set with a single voter: there is nobody to reach.

use std::rc::Rc;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use openraft::BasicNode;
use openraft::errors::{ReplicationClosed, StreamingError};
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::SnapshotResponse;
use sampan_protocol::SetId;

use super::{AppendGuard, PeerOf, SnapshotSender};
use crate::pace::Pace;
use crate::peer::{Link, PeerError};
use crate::raft::types::{RaftVote, SetConfig, Snapshot};

/// Makes connections that reach nobody.
#[derive(Clone, Debug)]
pub(crate) struct Peers;

struct Nobody;

impl AppendGuard for Nobody {
    fn may_append(&self, _node: u64, _set: SetId) -> bool {
        false
    }
}

impl SnapshotSender for Nobody {
    fn send(
        &self,
        peer: PeerOf,
        _vote: RaftVote,
        _snapshot: Snapshot,
        _cancel: LocalBoxFuture<'static, ReplicationClosed>,
        _option: RPCOption,
    ) -> LocalBoxFuture<'static, Result<SnapshotResponse<SetConfig>, StreamingError<SetConfig>>>
    {
        let error = super::to_rpc_error(PeerError::NotConnected(peer.link.node()));
        async move { Err(error.into()) }.boxed_local()
    }
}

impl RaftNetworkFactory<SetConfig> for Peers {
    type Network = PeerOf;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> PeerOf {
        PeerOf {
            link: Link::new(target, Arc::default()),
            set: SetId(0),
            guard: Rc::new(Nobody),
            catch_up_pace: Arc::new(Pace::new(u64::MAX)),
            snapshots: Rc::new(Nobody),
        }
    }
}
