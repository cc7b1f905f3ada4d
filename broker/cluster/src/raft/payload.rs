//! What one log entry of a set holds, as bytes: a version, a kind, and the kind's content.
//!
//! | kind | content |
//! |---|---|
//! | 0 blank | nothing: a leader's first entry |
//! | 1 commands | an entry of the core (`spec/state.md`) |
//! | 2 membership | the voters and learners (below) |
//!
//! Spec: spec/storage.md, "Payload of an entry".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use openraft::BasicNode;
use sampan_core::Entry;
use sampan_storage::log::Payload;

use super::types::{Membership, Proposal, RaftPayload};

const PAYLOAD_VERSION: u8 = 1;
const KIND_BLANK: u8 = 0;
const KIND_COMMANDS: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;
const PAYLOAD_HEADER_LEN: usize = 2;
/// Most nodes of a membership, and most configurations of a joint one.
const MEMBERSHIP_NODE_COUNT_MAX: usize = 256;
const MEMBERSHIP_ADDRESS_LEN_MAX: usize = 512;

/// An entry's payload as the log keeps it.
#[derive(Clone, Debug)]
pub(crate) enum LogPayload {
    Blank,
    Commands(Arc<Entry>),
    Membership(Bytes),
}

impl LogPayload {
    pub(crate) fn from_raft(payload: RaftPayload) -> Self {
        match payload {
            RaftPayload::Blank => LogPayload::Blank,
            RaftPayload::Normal(Proposal(entry)) => LogPayload::Commands(entry),
            RaftPayload::Membership(membership) => {
                LogPayload::Membership(encode_membership(&membership))
            }
        }
    }

    pub(crate) fn into_raft(self) -> Result<RaftPayload, String> {
        Ok(match self {
            LogPayload::Blank => RaftPayload::Blank,
            LogPayload::Commands(entry) => RaftPayload::Normal(Proposal(entry)),
            LogPayload::Membership(bytes) => RaftPayload::Membership(decode_membership(bytes)?),
        })
    }
}

impl LogPayload {
    /// What [`Payload::encode`] appends, in pieces: batches of at least `shared_len_min` bytes are
    /// not copied.
    pub(crate) fn encode_pieces(&self, shared_len_min: usize) -> Vec<Bytes> {
        match self {
            LogPayload::Commands(entry) => {
                let mut pieces = entry.encode_pieces(shared_len_min);
                pieces.insert(0, Bytes::from_static(&[PAYLOAD_VERSION, KIND_COMMANDS]));
                pieces
            }
            LogPayload::Blank | LogPayload::Membership(_) => {
                let mut bytes = Vec::with_capacity(self.encoded_len());
                self.encode(&mut bytes);
                vec![bytes.into()]
            }
        }
    }
}

impl Payload for LogPayload {
    fn encoded_len(&self) -> usize {
        PAYLOAD_HEADER_LEN
            + match self {
                LogPayload::Blank => 0,
                LogPayload::Commands(entry) => entry.encoded_len(),
                LogPayload::Membership(bytes) => bytes.len(),
            }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(PAYLOAD_VERSION);
        match self {
            LogPayload::Blank => out.push(KIND_BLANK),
            LogPayload::Commands(entry) => {
                out.push(KIND_COMMANDS);
                entry.encode(out);
            }
            LogPayload::Membership(bytes) => {
                out.push(KIND_MEMBERSHIP);
                out.extend_from_slice(bytes);
            }
        }
    }

    fn decode(mut bytes: Bytes) -> Result<Self, String> {
        if bytes.len() < PAYLOAD_HEADER_LEN {
            return Err("payload shorter than its header".to_owned());
        }
        let version = bytes.get_u8();
        if version > PAYLOAD_VERSION {
            return Err(format!(
                "payload of version {version}, this release reads up to {PAYLOAD_VERSION}"
            ));
        }
        if version != PAYLOAD_VERSION {
            return Err(format!("payload of unknown version {version}"));
        }
        match bytes.get_u8() {
            KIND_BLANK if bytes.is_empty() => Ok(LogPayload::Blank),
            KIND_BLANK => Err("bytes after a blank payload".to_owned()),
            KIND_COMMANDS => {
                let entry = Entry::decode(bytes).map_err(|error| error.to_string())?;
                Ok(LogPayload::Commands(Arc::new(entry)))
            }
            KIND_MEMBERSHIP => {
                decode_membership(bytes.clone())?;
                Ok(LogPayload::Membership(bytes))
            }
            kind => Err(format!("payload of unknown kind {kind}")),
        }
    }
}

/// count of configurations u16, each: count u16 and node ids u64; count of nodes u16, each: id u64,
/// address length u16, address. Little-endian.
pub(crate) fn encode_membership(membership: &Membership) -> Bytes {
    let count = |len: usize| u16::try_from(len).expect("a cluster has far fewer than 65,536 nodes");
    let mut out = Vec::new();
    out.put_u16_le(count(membership.get_joint_config().len()));
    for voters in membership.get_joint_config() {
        out.put_u16_le(count(voters.len()));
        voters.iter().for_each(|voter| out.put_u64_le(*voter));
    }
    out.put_u16_le(count(membership.nodes().count()));
    for (id, node) in membership.nodes() {
        out.put_u64_le(*id);
        out.put_u16_le(count(node.addr.len()));
        out.put_slice(node.addr.as_bytes());
    }
    out.into()
}

/// The way back of [`encode_membership`].
pub(crate) fn decode_membership(mut bytes: Bytes) -> Result<Membership, String> {
    let mut configs = Vec::new();
    for _ in 0..take_count(&mut bytes)? {
        let mut voters = BTreeSet::new();
        for _ in 0..take_count(&mut bytes)? {
            voters.insert(bytes.try_get_u64_le().map_err(|_| "membership cut short")?);
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..take_count(&mut bytes)? {
        let id = bytes.try_get_u64_le().map_err(|_| "membership cut short")?;
        let len = usize::from(bytes.try_get_u16_le().map_err(|_| "membership cut short")?);
        if len > MEMBERSHIP_ADDRESS_LEN_MAX || bytes.len() < len {
            return Err("address of a member is too long".to_owned());
        }
        let address = String::from_utf8(bytes.split_to(len).to_vec())
            .map_err(|_| "address of a member is not UTF-8")?;
        nodes.insert(id, BasicNode::new(address));
    }
    if !bytes.is_empty() {
        return Err("bytes after a membership".to_owned());
    }
    Membership::new(configs, nodes).map_err(|error| error.to_string())
}

fn take_count(bytes: &mut Bytes) -> Result<usize, String> {
    let count = usize::from(bytes.try_get_u16_le().map_err(|_| "membership cut short")?);
    if count > MEMBERSHIP_NODE_COUNT_MAX {
        return Err(format!("membership of {count} nodes"));
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let nodes = BTreeMap::from([
            (1, BasicNode::new("10.0.0.1:7413")),
            (2, BasicNode::new("")),
            (9, BasicNode::new("learner")),
        ]);
        Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([2])], nodes).unwrap()
    }

    #[test]
    fn a_membership_comes_back_as_it_was() {
        let bytes = encode_membership(&membership());
        assert_eq!(decode_membership(bytes).unwrap(), membership());
    }

    #[test]
    fn a_membership_cut_anywhere_is_refused() {
        let bytes = encode_membership(&membership());
        for len in 0..bytes.len() {
            assert!(
                decode_membership(bytes.slice(..len)).is_err(),
                "cut at {len}"
            );
        }
    }

    #[test]
    fn a_payload_comes_back_as_it_was() {
        for payload in [
            LogPayload::Blank,
            LogPayload::Membership(encode_membership(&membership())),
        ] {
            let mut bytes = Vec::new();
            payload.encode(&mut bytes);
            assert_eq!(bytes.len(), payload.encoded_len());
            let back = LogPayload::decode(bytes.into()).unwrap();
            assert_eq!(format!("{back:?}"), format!("{payload:?}"));
        }
    }

    #[test]
    fn a_payload_of_another_version_is_refused() {
        assert!(LogPayload::decode(Bytes::from_static(&[2, 0])).is_err());
        assert!(LogPayload::decode(Bytes::from_static(&[1, 7])).is_err());
        assert!(LogPayload::decode(Bytes::from_static(&[1])).is_err());
    }
}
