//! The calls that openraft makes: votes, and the transfer of leadership.
//!
//! Spec: spec/peer.md, "Calls".

use bytes::{BufMut, Bytes, BytesMut};
use openraft::raft::{
    TransferLeaderError, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::codec::{from_wire_id, from_wire_vote, to_wire_id, to_wire_vote};
use crate::peer::{Fields, FrameError, get_log_id, get_vote, put_log_id, put_vote};
use crate::raft::types::{RaftLogId, RaftVote, SetConfig};

/// Methods; those from 16 on are not the consensus'.
pub(super) const VOTE: u16 = 1;
pub(super) const PRE_VOTE: u16 = 2;
pub(super) const TRANSFER_LEADER: u16 = 3;

const TRANSFER_ACCEPTED: u8 = 0;
const TRANSFER_VOTE_CHANGED: u8 = 1;
const TRANSFER_LOG_NOT_FLUSHED: u8 = 2;

/// Whether a method asks for a vote, or whether it would be granted.
pub(crate) fn is_vote(method: u16) -> bool {
    method == VOTE || method == PRE_VOTE
}

/// Whether a method hands leadership over.
pub(crate) fn is_transfer(method: u16) -> bool {
    method == TRANSFER_LEADER
}

/// The log that a candidate has, by its request for a vote.
pub(crate) fn candidate_log(payload: Bytes) -> Option<Option<RaftLogId>> {
    let request = decode_vote_request(payload).ok()?;
    Some(request.last_log_id)
}

/// The answer of a replica that grants no vote, with its own vote and the end of its log.
pub(crate) fn encode_denial(vote: &RaftVote, last_log_id: Option<RaftLogId>) -> Bytes {
    encode_vote_response(&VoteResponse {
        vote: *vote,
        vote_granted: false,
        last_log_id,
    })
}

pub(super) fn encode_vote_request(request: &VoteRequest<SetConfig>) -> Bytes {
    let mut out = BytesMut::new();
    put_vote(&mut out, to_wire_vote(&request.vote));
    put_log_id(&mut out, request.last_log_id.as_ref().map(to_wire_id));
    out.put_u8(u8::from(request.leadership_transfer));
    out.freeze()
}

pub(super) fn decode_vote_request(payload: Bytes) -> Result<VoteRequest<SetConfig>, FrameError> {
    let mut fields = Fields::new(payload);
    let vote = from_wire_vote(get_vote(&mut fields)?);
    let last_log_id = get_log_id(&mut fields, "last log id")?.map(from_wire_id);
    let leadership_transfer = fields.bool("whether leadership is transferred")?;
    fields.end()?;
    Ok(VoteRequest {
        vote,
        last_log_id,
        leadership_transfer,
    })
}

pub(super) fn encode_vote_response(response: &VoteResponse<SetConfig>) -> Bytes {
    let mut out = BytesMut::new();
    put_vote(&mut out, to_wire_vote(&response.vote));
    out.put_u8(u8::from(response.vote_granted));
    put_log_id(&mut out, response.last_log_id.as_ref().map(to_wire_id));
    out.freeze()
}

pub(super) fn decode_vote_response(payload: Bytes) -> Result<VoteResponse<SetConfig>, FrameError> {
    let mut fields = Fields::new(payload);
    let vote = from_wire_vote(get_vote(&mut fields)?);
    let vote_granted = fields.bool("whether the vote is granted")?;
    let last_log_id = get_log_id(&mut fields, "last log id")?.map(from_wire_id);
    fields.end()?;
    Ok(VoteResponse {
        vote,
        vote_granted,
        last_log_id,
    })
}

pub(super) fn encode_transfer_request(request: &TransferLeaderRequest<SetConfig>) -> Bytes {
    let mut out = BytesMut::new();
    put_vote(&mut out, to_wire_vote(request.from_leader()));
    out.put_u64_le(*request.to_node_id());
    put_log_id(&mut out, request.last_log_id().map(to_wire_id));
    out.freeze()
}

pub(super) fn decode_transfer_request(
    payload: Bytes,
) -> Result<TransferLeaderRequest<SetConfig>, FrameError> {
    let mut fields = Fields::new(payload);
    let from = from_wire_vote(get_vote(&mut fields)?);
    let to = fields.u64("node")?;
    let last_log_id = get_log_id(&mut fields, "last log id")?.map(from_wire_id);
    fields.end()?;
    Ok(TransferLeaderRequest::new(from, to, last_log_id))
}

pub(super) fn encode_transfer_response(response: &TransferLeaderResponse<SetConfig>) -> Bytes {
    let mut out = BytesMut::new();
    match response {
        Ok(()) => out.put_u8(TRANSFER_ACCEPTED),
        Err(TransferLeaderError::VoteChanged { expected, actual }) => {
            out.put_u8(TRANSFER_VOTE_CHANGED);
            put_vote(&mut out, to_wire_vote(expected));
            put_vote(&mut out, to_wire_vote(actual));
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            out.put_u8(TRANSFER_LOG_NOT_FLUSHED);
            put_log_id(&mut out, expected.as_ref().map(to_wire_id));
            put_log_id(&mut out, actual.as_ref().map(to_wire_id));
        }
    }
    out.freeze()
}

pub(super) fn decode_transfer_response(
    payload: Bytes,
) -> Result<TransferLeaderResponse<SetConfig>, FrameError> {
    let mut fields = Fields::new(payload);
    let response = match fields.u8("result")? {
        TRANSFER_ACCEPTED => Ok(()),
        TRANSFER_VOTE_CHANGED => Err(TransferLeaderError::VoteChanged {
            expected: from_wire_vote(get_vote(&mut fields)?),
            actual: from_wire_vote(get_vote(&mut fields)?),
        }),
        TRANSFER_LOG_NOT_FLUSHED => Err(TransferLeaderError::LogNotFlushed {
            expected: get_log_id(&mut fields, "expected log id")?.map(from_wire_id),
            actual: get_log_id(&mut fields, "actual log id")?.map(from_wire_id),
        }),
        _ => return Err(FrameError::Range("result")),
    };
    fields.end()?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::{WireLogId, WireVote};

    fn vote(term: u64) -> crate::raft::types::RaftVote {
        from_wire_vote(WireVote {
            term,
            node: 3,
            is_committed: true,
        })
    }

    fn id(index: u64) -> crate::raft::types::RaftLogId {
        from_wire_id(WireLogId { term: 4, index })
    }

    fn assert_cuts_are_refused<T>(bytes: &Bytes, decode: impl Fn(Bytes) -> Result<T, FrameError>) {
        for len in 0..bytes.len() {
            assert!(decode(bytes.slice(..len)).is_err(), "cut at {len}");
        }
        let longer: Bytes = [&bytes[..], &[0]].concat().into();
        assert!(decode(longer).is_err());
    }

    #[test]
    fn votes_come_back_as_they_were_and_cut_ones_are_refused() {
        for last_log_id in [None, Some(id(8))] {
            let mut request = VoteRequest::new(vote(9), last_log_id);
            request.leadership_transfer = last_log_id.is_some();
            let bytes = encode_vote_request(&request);
            assert_eq!(decode_vote_request(bytes.clone()).unwrap(), request);
            assert_cuts_are_refused(&bytes, decode_vote_request);
            let response = VoteResponse::new(vote(10), last_log_id, true);
            let bytes = encode_vote_response(&response);
            assert_eq!(decode_vote_response(bytes.clone()).unwrap(), response);
            assert_cuts_are_refused(&bytes, decode_vote_response);
        }
    }

    #[test]
    fn transfers_come_back_as_they_were_and_cut_ones_are_refused() {
        let request = TransferLeaderRequest::new(vote(9), 2, Some(id(8)));
        let bytes = encode_transfer_request(&request);
        assert_eq!(decode_transfer_request(bytes.clone()).unwrap(), request);
        assert_cuts_are_refused(&bytes, decode_transfer_request);
        for response in [
            Ok(()),
            Err(TransferLeaderError::VoteChanged {
                expected: vote(1),
                actual: vote(2),
            }),
            Err(TransferLeaderError::LogNotFlushed {
                expected: Some(id(2)),
                actual: None,
            }),
        ] {
            let bytes = encode_transfer_response(&response);
            assert_eq!(decode_transfer_response(bytes.clone()).unwrap(), response);
            assert_cuts_are_refused(&bytes, decode_transfer_response);
        }
    }
}
