//! Route: which node leads the set of a queue, and where the nodes of the cluster listen.
//!
//! A node answers from what it knows; only the leader of set 0 is sure that a queue does not exist.
//! So the answer is a hint with a term: a client takes the one of the higher term, and finds out
//! by asking whether it still holds.
//!
//! Invariants: a node's id is never 0; on the wire, leader 0 stands for "none known".
//! Spec: spec/wire.md, "Route".

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::ROUTE_NODE_COUNT_MAX;
use crate::name::put_name;
use crate::reader::Reader;
use crate::{DecodeError, ErrorCode, Name, SetId};

/// Asks who leads the set of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteRequest {
    /// The queue; empty for set 0, the catalog.
    pub queue: Name,
}

impl RouteRequest {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        let queue = reader.take_name("queue name")?;
        reader.finish()?;
        Ok(RouteRequest { queue })
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        self.queue.encode(out);
    }
}

/// Who leads a set, and where the nodes are, as one node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteReply {
    /// The set of the queue; 0 when none was named.
    pub set: SetId,
    /// The node that leads it; `None` while none is known.
    pub leader: Option<u64>,
    /// The set's term as this node knows it.
    pub term: u64,
    /// Id and client address (`HOST:PORT`) of every node; at most [`ROUTE_NODE_COUNT_MAX`].
    pub nodes: Vec<(u64, String)>,
}

impl RouteReply {
    pub(crate) fn decode(payload: Bytes) -> Result<Self, DecodeError> {
        let invalid = |what, at| DecodeError::Invalid {
            what,
            at,
            code: ErrorCode::MalformedFrame,
        };
        let mut reader = Reader::new(payload);
        let set = SetId(reader.take_u32("set")?);
        let leader = Some(reader.take_u64("leader")?).filter(|node| *node != 0);
        let term = reader.take_u64("term")?;
        let at = reader.at();
        let count = usize::from(reader.take_u16("node count")?);
        if count > ROUTE_NODE_COUNT_MAX {
            return Err(invalid("node count", at));
        }
        let mut nodes = Vec::new();
        for _ in 0..count {
            let at = reader.at();
            let node = reader.take_u64("node")?;
            if node == 0 {
                return Err(invalid("node", at));
            }
            let address = reader.take_name("client address")?;
            nodes.push((node, address.as_str().to_owned()));
        }
        reader.finish()?;
        Ok(RouteReply {
            set,
            leader,
            term,
            nodes,
        })
    }

    /// Nodes past [`ROUTE_NODE_COUNT_MAX`] are left out: the client learns enough from the others.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        let nodes = &self.nodes[..self.nodes.len().min(ROUTE_NODE_COUNT_MAX)];
        out.put_u32_le(self.set.0);
        out.put_u64_le(self.leader.unwrap_or(0));
        out.put_u64_le(self.term);
        out.put_u16_le(u16::try_from(nodes.len()).expect("they were cut to the limit, 256"));
        for (node, address) in nodes {
            out.put_u64_le(*node);
            put_name(address, out);
        }
    }
}
