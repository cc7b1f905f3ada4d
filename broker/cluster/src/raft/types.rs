//! openraft's type parameters for a set.
//!
//! Standard Raft: one leader per term, so a log id is a term and an index. An entry's payload is
//! shared ([`Proposal`]): the log, the peers and the state machine hold the same bytes.

use std::fmt;
use std::sync::Arc;

use openraft::impls::leader_id_std;
use openraft::{BasicNode, EntryPayload, RaftTypeConfig};
use sampan_core::{Entry, Reply};
use sampan_storage::store::Incoming;

use super::machine::StateMachine;
use super::runtime::CoreRuntime;

/// The parameters themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SetConfig;

/// What a set's leader proposes: one entry of the core, shared.
#[derive(Clone, Debug)]
pub(crate) struct Proposal(pub(crate) Arc<Entry>);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands at {}", self.0.commands.len(), self.0.stamp)
    }
}

/// What applying one entry answers: one reply per command, in order.
#[derive(Debug, Default)]
pub(crate) struct Applied(pub(crate) Vec<Reply>);

/// Calls back once, on the set's core thread, when an entry is applied or was refused.
pub(crate) struct Responder<T>(Box<dyn FnOnce(T)>);

impl<T> Responder<T> {
    pub(crate) fn new(on_complete: impl FnOnce(T) + 'static) -> Self {
        Responder(Box::new(on_complete))
    }
}

impl<T: 'static> openraft::raft::responder::Responder<SetConfig, T> for Responder<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}

/// What a snapshot is made of, as far as openraft carries it about.
#[derive(Debug, Default)]
pub(crate) enum SnapshotData {
    /// One of this node: it is in the store, and is opened when it is sent.
    #[default]
    Stored,
    /// One that was received, whole and checked.
    Received(Box<Incoming>),
}

/// An instant as openraft tells it.
pub(crate) type RaftInstant = <CoreRuntime as openraft::AsyncRuntime>::Instant;
pub(crate) type LeaderId = leader_id_std::LeaderId<u64, u64>;
pub(crate) type CommittedLeaderId = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub(crate) type RaftLogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type RaftVote = openraft::Vote<LeaderId>;
pub(crate) type RaftEntry = openraft::Entry<CommittedLeaderId, RaftPayload>;
pub(crate) type RaftPayload = EntryPayload<Proposal, u64, BasicNode>;
pub(crate) type Membership = openraft::Membership<u64, BasicNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, BasicNode>;
pub(crate) type SnapshotMeta = openraft::storage::SnapshotMeta<CommittedLeaderId, u64, BasicNode>;
pub(crate) type Snapshot =
    openraft::storage::Snapshot<CommittedLeaderId, u64, BasicNode, SnapshotData>;
pub(crate) type SetRaft = openraft::Raft<SetConfig, StateMachine>;
pub(crate) type Fatal = openraft::errors::Fatal<SetConfig>;
pub(crate) type WriteResult = openraft::raft::ClientWriteResult<SetConfig>;

impl RaftTypeConfig for SetConfig {
    type D = Proposal;
    type R = Applied;
    type NodeId = u64;
    type Node = BasicNode;
    type Term = u64;
    type LeaderId = LeaderId;
    type Vote = RaftVote;
    type Payload = RaftPayload;
    type Entry = RaftEntry;
    type AsyncRuntime = CoreRuntime;
    type Responder<T>
        = Responder<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

/// A log id as the node's log keeps it. In standard Raft the leader's node is not part of it.
pub(crate) fn to_stored(id: &RaftLogId) -> sampan_storage::log::LogId {
    sampan_storage::log::LogId {
        term: id.committed_leader_id().term,
        node: 0,
        index: id.index,
    }
}

/// The way back of [`to_stored`].
pub(crate) fn from_stored(id: sampan_storage::log::LogId) -> RaftLogId {
    RaftLogId::new(CommittedLeaderId::new(id.term), id.index)
}
