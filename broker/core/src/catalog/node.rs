//! One node of the cluster as the catalog knows it, its row, and what a node says when it joins.
//!
//! A node is an id and an incarnation: the id is given by people and may be given again, the
//! incarnation is drawn when a data folder is made and tells one folder from the next under the
//! same id. Only the pair names a replica that may be counted on.
//!
//! Invariants: `node` is never 0; each text is at most `NODE_TEXT_LEN_MAX` bytes long.
//! Spec: spec/semantics.md, "Nodes and sets"; spec/state.md, "Nodes and sets".

use sampan_protocol::Timestamp;

use crate::fields::{FieldError, Fields, put_text};
use crate::limits::NODE_TEXT_LEN_MAX;
use crate::reply::Refusal;

const VERSION: u8 = 1;

/// How far a node's way out of the cluster has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// It belongs to the cluster and may hold replicas.
    Active,
    /// It is to go for good: its replicas move elsewhere.
    Leaving,
    /// Its data folder is lost: a fresh one may take the id.
    Replaced,
}

impl NodeState {
    const ALL: [NodeState; 3] = [NodeState::Active, NodeState::Leaving, NodeState::Replaced];

    fn number(self) -> u8 {
        match self {
            NodeState::Active => 0,
            NodeState::Leaving => 1,
            NodeState::Replaced => 2,
        }
    }
}

/// What the catalog knows of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its id, from 1.
    pub node: u64,
    /// Its data folder.
    pub incarnation: u128,
    /// Where its peers reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
    /// Where its HTTP endpoint is; may be empty.
    pub http_address: String,
    /// Its failure zone; may be empty.
    pub zone: String,
    /// Whether leaders are to move away from it.
    pub is_draining: bool,
    /// Whether it stays.
    pub state: NodeState,
    /// The highest format version that its release reads.
    pub format_version_max: u16,
    /// Its release, for people.
    pub release: String,
    /// When this incarnation came in, by the catalog's time.
    pub joined_at: Timestamp,
}

impl NodeRecord {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.push(self.state.number());
        out.push(u8::from(self.is_draining));
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.joined_at.0.to_le_bytes());
        out.extend_from_slice(&self.format_version_max.to_le_bytes());
        let texts = [
            &self.peer_address,
            &self.client_address,
            &self.http_address,
            &self.zone,
            &self.release,
        ];
        texts.into_iter().for_each(|text| put_text(out, text));
    }

    pub(crate) fn decode(node: u64, row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let state = usize::from(fields.u8()?);
        let record = NodeRecord {
            node,
            state: *NodeState::ALL.get(state).ok_or(FieldError::Range)?,
            is_draining: fields.flag()?,
            incarnation: fields.u128()?,
            joined_at: fields.timestamp()?,
            format_version_max: fields.u16()?,
            peer_address: text(&mut fields)?,
            client_address: text(&mut fields)?,
            http_address: text(&mut fields)?,
            zone: text(&mut fields)?,
            release: text(&mut fields)?,
        };
        fields.end()?;
        if node == 0 {
            return Err(FieldError::Range);
        }
        Ok(record)
    }
}

fn text(fields: &mut Fields<'_>) -> Result<String, FieldError> {
    let text = fields.text()?;
    if text.len() > NODE_TEXT_LEN_MAX {
        return Err(FieldError::Range);
    }
    Ok(text.to_owned())
}

/// What a node says of itself when it joins, or when something of it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeJoin {
    /// Its id, from 1.
    pub node: u64,
    /// Its data folder; never 0.
    pub incarnation: u128,
    /// Where its peers reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
    /// Where its HTTP endpoint is; may be empty.
    pub http_address: String,
    /// Its failure zone; may be empty.
    pub zone: String,
    /// The highest format version that its release reads.
    pub format_version_max: u16,
    /// Its release, for people.
    pub release: String,
}

impl NodeJoin {
    /// Whether a catalog could take this at all. Whoever proposes it checks first: a text over
    /// 65,535 bytes has no place in an entry.
    ///
    /// # Errors
    ///
    /// `ClusterRefused`, with what is wrong.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.node == 0 || self.incarnation == 0 {
            return Err(Refusal::by_cluster("a node's id and incarnation are not 0"));
        }
        if self.peer_address.is_empty() || self.client_address.is_empty() {
            return Err(Refusal::by_cluster(
                "a node has a peer and a client address",
            ));
        }
        if self.format_version_max == 0 {
            return Err(Refusal::by_cluster(
                "a node reads format version 1 at least",
            ));
        }
        let longest = self.texts().map(str::len).into_iter().max().unwrap_or(0);
        if longest > NODE_TEXT_LEN_MAX {
            let text = format!(
                "addresses, zone and release have at most {NODE_TEXT_LEN_MAX} bytes, one has \
                 {longest}"
            );
            return Err(Refusal::by_cluster(text));
        }
        Ok(())
    }

    fn texts(&self) -> [&str; 5] {
        [
            &self.peer_address,
            &self.client_address,
            &self.http_address,
            &self.zone,
            &self.release,
        ]
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.node.to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.format_version_max.to_le_bytes());
        self.texts()
            .into_iter()
            .for_each(|text| put_text(out, text));
    }

    pub(crate) fn decode(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        Ok(NodeJoin {
            node: fields.u64()?,
            incarnation: fields.u128()?,
            format_version_max: fields.u16()?,
            peer_address: fields.text()?.to_owned(),
            client_address: fields.text()?.to_owned(),
            http_address: fields.text()?.to_owned(),
            zone: fields.text()?.to_owned(),
            release: fields.text()?.to_owned(),
        })
    }
}
