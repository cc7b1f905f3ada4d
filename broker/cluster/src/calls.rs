//! What nodes ask of each other beside Raft's own messages: the methods, and their bytes.
//!
//! Methods below 16 are Raft's (votes, hand-over). A number, once given, is never given to anything
//! else. Spec: spec/peer.md, "Methods".

use bytes::{Buf, BufMut, Bytes};
use sampan_core::{Command, Entry, NodeJoin, Reply};
use sampan_protocol::{ErrorCode, Timestamp};
use sampan_storage::log::LogId;

use crate::raft::types::{LeaderId, RaftVote};
use crate::set::Refused;

/// What can be asked of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Of a set's leader: carry a command out.
    Propose,
    /// Of a set's leader: up to where is everything that was acknowledged?
    ReadIndex,
    /// Of a set's leader: make these its voters and learners.
    ChangeMembers,
    /// Of a set's leader: hand leadership over.
    HandOver,
    /// Of a replica: how far its log goes, and whether it may be trusted.
    Standing,
    /// Of a suspect replica: the leader has brought it to where it was.
    Absolve,
    /// Of a replica: its log is shorter than what it confirmed.
    Suspect,
    /// Of a replica: a snapshot is about to come.
    SnapshotBegin,
    /// Of a replica: a piece of it.
    SnapshotChunk,
    /// Of a replica: that was all of it.
    SnapshotFinish,
    /// Of a replica: these messages, in place of damaged ones.
    Bodies,
    /// Of a node: let me into the cluster.
    Join,
    /// Of a node without a cluster: join mine.
    Invite,
    /// Of the leader of set 0: change a queue.
    Catalog,
}

impl Method {
    const ALL: [(Method, u16); 14] = [
        (Method::Propose, 16),
        (Method::ReadIndex, 17),
        (Method::ChangeMembers, 18),
        (Method::HandOver, 19),
        (Method::Standing, 20),
        (Method::Absolve, 21),
        (Method::Suspect, 22),
        (Method::SnapshotBegin, 24),
        (Method::SnapshotChunk, 25),
        (Method::SnapshotFinish, 26),
        (Method::Bodies, 27),
        (Method::Join, 32),
        (Method::Invite, 33),
        (Method::Catalog, 34),
    ];

    pub(crate) fn number(self) -> u16 {
        let place = Method::ALL.iter().find(|(method, _)| *method == self);
        place.map_or(0, |(_, number)| *number)
    }

    pub(crate) fn from_number(number: u16) -> Option<Self> {
        let place = Method::ALL.iter().find(|(_, known)| *known == number);
        place.map(|(method, _)| *method)
    }
}

/// A command travels as an entry of its own.
pub(crate) fn encode_command(command: Command) -> Bytes {
    let entry = Entry {
        stamp: Timestamp(0),
        commands: vec![command],
        ..Entry::default()
    };
    let mut out = Vec::with_capacity(entry.encoded_len());
    entry.encode(&mut out);
    out.into()
}

pub(crate) fn decode_command(payload: Bytes) -> Option<Command> {
    let mut entry = Entry::decode(payload).ok()?;
    match entry.commands.len() {
        1 => entry.commands.pop(),
        _ => None,
    }
}

const REPLY_DONE: u8 = 0;
const REPLY_REFUSED: u8 = 1;

/// The reply to a command that a node carries out for itself: done, or refused with number and
/// text.
pub(crate) fn encode_reply(reply: &Reply) -> Bytes {
    let mut out = Vec::new();
    match reply {
        Reply::Refused(refusal) => {
            let refused = Refused::from(refusal.clone());
            out.put_u8(REPLY_REFUSED);
            out.put_u16_le(refused.code.number());
            out.put_slice(refused.text.as_bytes());
        }
        _ => out.put_u8(REPLY_DONE),
    }
    out.into()
}

pub(crate) fn decode_reply(mut payload: Bytes) -> Result<Reply, Refused> {
    let damaged = || Refused::new(ErrorCode::Internal);
    match payload.try_get_u8().map_err(|_| damaged())? {
        REPLY_DONE => Ok(Reply::Done),
        REPLY_REFUSED => {
            let code = payload.try_get_u16_le().map_err(|_| damaged())?;
            let code = ErrorCode::from_number(code).ok_or_else(damaged)?;
            let text = String::from_utf8(payload.to_vec()).map_err(|_| damaged())?;
            Err(Refused {
                text,
                ..Refused::new(code)
            })
        }
        _ => Err(damaged()),
    }
}

pub(crate) fn encode_index(index: u64) -> Bytes {
    Bytes::copy_from_slice(&index.to_le_bytes())
}

pub(crate) fn decode_index(payload: Bytes) -> Result<u64, Refused> {
    let bytes: Result<[u8; 8], _> = payload.as_ref().try_into();
    bytes
        .map(u64::from_le_bytes)
        .map_err(|_| Refused::new(ErrorCode::Internal))
}

/// Term u64, node u64, committed u8.
pub(crate) fn encode_vote(vote: &RaftVote) -> Bytes {
    let mut out = Vec::new();
    out.put_u64_le(vote.leader_id.term);
    out.put_u64_le(vote.leader_id.voted_for);
    out.put_u8(u8::from(vote.committed));
    out.into()
}

pub(crate) fn decode_vote(mut payload: Bytes) -> Option<RaftVote> {
    let leader_id = LeaderId {
        term: payload.try_get_u64_le().ok()?,
        voted_for: payload.try_get_u64_le().ok()?,
    };
    let committed = payload.try_get_u8().ok()? != 0;
    payload.is_empty().then_some(RaftVote {
        leader_id,
        committed,
    })
}

/// The voters that a set is to have, and who follows besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) voters: Vec<u64>,
    pub(crate) learners: Vec<u64>,
}

impl Members {
    /// Counts u16 each, then the ids u64.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        for nodes in [&self.voters, &self.learners] {
            out.put_u16_le(u16::try_from(nodes.len()).unwrap_or(u16::MAX));
            nodes.iter().for_each(|node| out.put_u64_le(*node));
        }
        out.into()
    }

    pub(crate) fn decode(mut payload: Bytes) -> Option<Self> {
        let mut take = || {
            let count = payload.try_get_u16_le().ok()?;
            let ids = (0..count).map(|_| payload.try_get_u64_le().ok());
            ids.collect::<Option<Vec<_>>>()
        };
        let members = Members {
            voters: take()?,
            learners: take()?,
        };
        payload.is_empty().then_some(members)
    }
}

/// How far a replica's log goes, and whether it may be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) last: Option<LogId>,
    pub(crate) is_suspect: bool,
    /// Of the last vote that it gave, or of the leader that it followed; 0: it knows of none.
    pub(crate) term: u64,
}

impl Standing {
    /// Whether it may have voted and not know it any more: its folder is new, its id is not.
    pub(crate) fn has_forgotten(&self) -> bool {
        self.is_suspect && self.term == 0
    }
}

impl Standing {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.put_u8(u8::from(self.is_suspect));
        put_log_id(&mut out, self.last);
        out.put_u64_le(self.term);
        out.into()
    }

    pub(crate) fn decode(mut payload: Bytes) -> Option<Self> {
        let is_suspect = payload.try_get_u8().ok()? != 0;
        let last = take_log_id(&mut payload)?;
        let term = payload.try_get_u64_le().ok()?;
        payload.is_empty().then_some(Standing {
            last,
            is_suspect,
            term,
        })
    }
}

/// What a suspect replica must have synced to be trusted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Absolution {
    /// The leader's term.
    pub(crate) term: u64,
    /// Where the leader's log ended when it heard of the suspicion.
    pub(crate) last: Option<LogId>,
}

impl Absolution {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.put_u64_le(self.term);
        put_log_id(&mut out, self.last);
        out.into()
    }

    pub(crate) fn decode(mut payload: Bytes) -> Option<Self> {
        let term = payload.try_get_u64_le().ok()?;
        let last = take_log_id(&mut payload)?;
        payload.is_empty().then_some(Absolution { term, last })
    }
}

/// Present u8, term u64, index u64.
fn put_log_id(out: &mut Vec<u8>, id: Option<LogId>) {
    out.put_u8(u8::from(id.is_some()));
    out.put_u64_le(id.map_or(0, |id| id.term));
    out.put_u64_le(id.map_or(0, |id| id.index));
}

fn take_log_id(payload: &mut Bytes) -> Option<Option<LogId>> {
    let is_there = payload.try_get_u8().ok()? != 0;
    let (term, index) = (
        payload.try_get_u64_le().ok()?,
        payload.try_get_u64_le().ok()?,
    );
    let id = LogId {
        term,
        node: 0,
        index,
    };
    Some(is_there.then_some(id))
}

/// The answer to [`Method::Join`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    pub(crate) cluster: u128,
    pub(crate) set_count: u32,
    /// The id belonged to another folder before: this one must not vote before it has caught up.
    pub(crate) is_replacement: bool,
}

impl Admission {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::new();
        out.put_u128_le(self.cluster);
        out.put_u32_le(self.set_count);
        out.put_u8(u8::from(self.is_replacement));
        out.into()
    }

    pub(crate) fn decode(mut payload: Bytes) -> Option<Self> {
        let admission = Admission {
            cluster: payload.try_get_u128_le().ok()?,
            set_count: payload.try_get_u32_le().ok()?,
            is_replacement: payload.try_get_u8().ok()? != 0,
        };
        payload.is_empty().then_some(admission)
    }
}

/// A join travels as the catalog's command.
pub(crate) fn encode_join(join: NodeJoin) -> Bytes {
    encode_command(Command::Catalog(sampan_core::CatalogCommand::NodeJoin(
        join,
    )))
}

pub(crate) fn decode_join(payload: Bytes) -> Option<NodeJoin> {
    match decode_command(payload)? {
        Command::Catalog(sampan_core::CatalogCommand::NodeJoin(join)) => Some(join),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_a_number_of_its_own() {
        for (method, number) in Method::ALL {
            assert_eq!(method.number(), number);
            assert_eq!(Method::from_number(number), Some(method));
            assert!(number >= 16);
        }
        assert_eq!(Method::from_number(1), None);
    }

    #[test]
    fn payloads_come_back_as_they_were_and_not_when_cut() {
        let id = LogId {
            term: 3,
            node: 0,
            index: 9,
        };
        let members = Members {
            voters: vec![1, 2, 3],
            learners: vec![4],
        };
        let bytes = members.encode();
        assert_eq!(Members::decode(bytes.clone()), Some(members));
        (0..bytes.len()).for_each(|len| assert_eq!(Members::decode(bytes.slice(..len)), None));
        for last in [None, Some(id)] {
            let standing = Standing {
                last,
                is_suspect: true,
                term: 5,
            };
            assert!(!standing.has_forgotten());
            assert_eq!(Standing::decode(standing.encode()), Some(standing));
            let absolution = Absolution { term: 4, last };
            assert_eq!(Absolution::decode(absolution.encode()), Some(absolution));
        }
        let admission = Admission {
            cluster: 1 << 99,
            set_count: 6,
            is_replacement: false,
        };
        let bytes = admission.encode();
        assert_eq!(Admission::decode(bytes.clone()), Some(admission));
        (0..bytes.len()).for_each(|len| assert_eq!(Admission::decode(bytes.slice(..len)), None));
    }
}
