//! openraft's types and those of the peer frames, there and back.

use crate::peer::{WireLogId, WireVote};
use crate::raft::types::{CommittedLeaderId, LeaderId, RaftLogId, RaftVote};

pub(super) fn to_wire_vote(vote: &RaftVote) -> WireVote {
    WireVote {
        term: vote.leader_id.term,
        node: vote.leader_id.voted_for,
        is_committed: vote.committed,
    }
}

pub(super) fn from_wire_vote(vote: WireVote) -> RaftVote {
    RaftVote {
        leader_id: LeaderId {
            term: vote.term,
            voted_for: vote.node,
        },
        committed: vote.is_committed,
    }
}

pub(super) fn to_wire_id(id: &RaftLogId) -> WireLogId {
    WireLogId {
        term: id.committed_leader_id().term,
        index: id.index,
    }
}

pub(super) fn from_wire_id(id: WireLogId) -> RaftLogId {
    RaftLogId::new(CommittedLeaderId::new(id.term), id.index)
}
