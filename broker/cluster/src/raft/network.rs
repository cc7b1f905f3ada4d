//! openraft's way to the peers, on top of the peer network.
//!
//! Appends are streams without a task of their own ([`append_stream`]); votes and the transfer of
//! leadership are calls ([`calls`]); [`serve`] is the other end of both, on the set's core. How a
//! snapshot travels is decided by whoever keeps them ([`SnapshotSender`]).
//!
//! Invariant: no entry goes to a node whose log may have shrunk ([`AppendGuard`]): openraft takes a
//! follower at its word.

mod append_stream;
mod calls;
mod catch_up;
mod codec;
mod nobody;
mod pieces;
mod serve;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::LocalBoxFuture;
use futures::stream::LocalBoxStream;
use futures::{FutureExt, Stream, StreamExt};
use openraft::BasicNode;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use sampan_protocol::SetId;

use super::types::{RaftVote, SetConfig, Snapshot, SnapshotData};
use crate::pace::Pace;
use crate::peer::{Link, PeerError};
use append_stream::AppendStream;
use catch_up::CatchUp;

pub(crate) use calls::{candidate_log, encode_denial, is_transfer, is_vote};
pub(crate) use nobody::Peers;
pub(crate) use serve::{serve_append, serve_raft_call};

/// Shortest and longest pause before an unreachable peer is tried again.
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// A call gets at least so long, however short openraft's own bound is.
const CALL_TIME_MIN: Duration = Duration::from_millis(100);

pub(crate) type RpcError = RPCError<SetConfig>;
type AppendResults<'s> = LocalBoxStream<'s, Result<StreamAppendResult<SetConfig>, RpcError>>;

/// Knows which followers a leader may send entries to.
pub(crate) trait AppendGuard {
    /// Whether `node` still has the log that it said it had. Asked when a stream is opened.
    fn may_append(&self, node: u64, set: SetId) -> bool;
}

/// Sends snapshots.
pub(crate) trait SnapshotSender {
    /// Sends `snapshot` and waits until the peer has installed it, or until `cancel` is ready.
    fn send(
        &self,
        peer: PeerOf,
        vote: RaftVote,
        snapshot: Snapshot,
        cancel: LocalBoxFuture<'static, ReplicationClosed>,
        option: RPCOption,
    ) -> LocalBoxFuture<'static, Result<SnapshotResponse<SetConfig>, StreamingError<SetConfig>>>;
}

/// Makes one set's connections to its peers.
#[derive(Clone)]
pub(crate) struct PeerNetwork {
    pub(crate) peers: crate::peer::Peers,
    pub(crate) set: SetId,
    pub(crate) guard: Rc<dyn AppendGuard>,
    pub(crate) snapshots: Rc<dyn SnapshotSender>,
    /// Old entries keep to it.
    pub(crate) catch_up_pace: Arc<Pace>,
}

impl RaftNetworkFactory<SetConfig> for PeerNetwork {
    type Network = PeerOf;

    async fn new_client(&mut self, target: u64, _node: &BasicNode) -> PeerOf {
        PeerOf {
            link: self.peers.link(target),
            set: self.set,
            guard: self.guard.clone(),
            snapshots: self.snapshots.clone(),
            catch_up_pace: self.catch_up_pace.clone(),
        }
    }
}

/// One peer of one set.
#[derive(Clone)]
pub(crate) struct PeerOf {
    pub(crate) link: Link,
    pub(crate) set: SetId,
    guard: Rc<dyn AppendGuard>,
    snapshots: Rc<dyn SnapshotSender>,
    catch_up_pace: Arc<Pace>,
}

#[derive(Debug, thiserror::Error)]
#[error("node {0} may have lost what it confirmed, or its vote: nothing is sent to it yet")]
struct MayHaveShrunk(u64);

impl PeerOf {
    fn check_guard(&self) -> Result<(), RpcError> {
        let node = self.link.node();
        match self.guard.may_append(node, self.set) {
            true => Ok(()),
            false => Err(Unreachable::new(&MayHaveShrunk(node)).into()),
        }
    }

    async fn call(
        &self,
        method: u16,
        payload: Bytes,
        option: &RPCOption,
    ) -> Result<Bytes, RpcError> {
        let time_max = option.hard_ttl().max(CALL_TIME_MIN);
        let called = self.link.call(Some(self.set), method, payload, time_max);
        called.await.map_err(to_rpc_error)
    }

    async fn ask_for_vote(
        &self,
        method: u16,
        request: &VoteRequest<SetConfig>,
        option: &RPCOption,
    ) -> Result<VoteResponse<SetConfig>, RpcError> {
        let payload = calls::encode_vote_request(request);
        let answer = self.call(method, payload, option).await?;
        calls::decode_vote_response(answer).map_err(|error| network_error(&error))
    }
}

/// openraft pauses before it tries an unreachable node again; any other error it repeats at once.
pub(crate) fn to_rpc_error(error: PeerError) -> RpcError {
    Unreachable::new(&error).into()
}

fn network_error(error: &(impl std::error::Error + 'static)) -> RpcError {
    openraft::errors::NetworkError::new(error).into()
}

impl RaftNetworkV2<SetConfig> for PeerOf {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<SetConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<SetConfig>, RpcError> {
        let input = Box::pin(futures::stream::once(async { request }));
        let mut results = self.stream_append(input, option).await?;
        let missing = || network_error(&std::io::Error::other("no answer to an append"));
        let result = results.next().await.ok_or_else(missing)??;
        Ok(result.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> LocalBoxFuture<'s, Result<AppendResults<'s>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<SetConfig>> + Unpin + 'static,
    {
        async move {
            self.check_guard()?;
            let opened = self.link.open_append(self.set);
            let channel = opened.map_err(to_rpc_error)?;
            let stream =
                AppendStream::new(channel, input, CatchUp::new(self.catch_up_pace.clone()));
            Ok(stream.boxed_local())
        }
        .boxed_local()
    }

    async fn vote(
        &mut self,
        request: VoteRequest<SetConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<SetConfig>, RpcError> {
        self.ask_for_vote(calls::VOTE, &request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<SetConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<SetConfig>, RpcError> {
        self.ask_for_vote(calls::PRE_VOTE, &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<SetConfig>, StreamingError<SetConfig>> {
        self.check_guard()?;
        let snapshots = self.snapshots.clone();
        let cancel = cancel.boxed_local();
        let sent = snapshots.send(self.clone(), vote, snapshot, cancel, option);
        sent.await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<SetConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<SetConfig>, RpcError> {
        let payload = calls::encode_transfer_request(&request);
        let answer = self.call(calls::TRANSFER_LEADER, payload, &option).await?;
        calls::decode_transfer_response(answer).map_err(|error| network_error(&error))
    }

    fn backoff(&self) -> Option<Backoff> {
        let double = |pause: &Duration| Some((*pause * 2).min(BACKOFF_MAX));
        let pauses = std::iter::successors(Some(BACKOFF_MIN), double);
        Some(Backoff::new(pauses))
    }
}
