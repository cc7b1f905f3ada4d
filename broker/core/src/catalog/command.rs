//! What can be asked of the catalog, and its bytes inside an entry.
//!
//! Spec: spec/semantics.md, "The catalog", "Nodes and sets"; spec/state.md, "The entry".

use bytes::Bytes;
use sampan_protocol::{AttributeChanges, Name, QueueAttributes, QueueId, SetId};

use crate::catalog::{NodeJoin, SetRecord};
use crate::fields::{FieldError, Fields, put_text};
use crate::queue::{decode_attributes, decode_changes, encode_attributes, encode_changes};

const CREATE: u8 = 0;
const CONFIRM: u8 = 1;
const SET: u8 = 2;
const DELETE: u8 = 3;
const REMOVED: u8 = 4;
const NODE_JOIN: u8 = 0x10;
const NODE_DRAIN: u8 = 0x11;
const NODE_LEAVE: u8 = 0x12;
const NODE_REPLACED: u8 = 0x13;
const NODE_REMOVED: u8 = 0x14;
const CLUSTER_FOUND: u8 = 0x20;
const CLUSTER_FORMAT: u8 = 0x21;
const SET_PLACE: u8 = 0x22;

/// One step of a queue's or a node's life in the catalog. Each may be repeated.
#[derive(Clone, Debug, PartialEq)]
pub enum CatalogCommand {
    /// Takes the name and gives an id; the record is then being created.
    Create {
        /// Whose queue.
        account: u32,
        /// Checked here.
        name: Name,
        /// All of them, already checked against their ranges.
        attributes: QueueAttributes,
        /// The set that is to hold it.
        set: SetId,
    },
    /// The owning set has carried out the creation or the change.
    Confirm {
        /// The queue.
        queue: QueueId,
    },
    /// Decides other attributes; the record is then being changed.
    Set {
        /// Whose queue.
        account: u32,
        /// Its name.
        name: Name,
        /// What changes.
        changes: AttributeChanges,
    },
    /// Decides that the queue goes; the record is then being deleted.
    Delete {
        /// Whose queue.
        account: u32,
        /// Its name.
        name: Name,
    },
    /// The owning set has no such queue any more: the record goes.
    Removed {
        /// The queue.
        queue: QueueId,
    },
    /// A node comes in, or something of it has changed.
    NodeJoin(NodeJoin),
    /// Leaders are to move away from a node, or no longer.
    NodeDrain {
        /// The node.
        node: u64,
        /// Whether they are.
        is_draining: bool,
    },
    /// A node is to go for good.
    NodeLeave {
        /// The node.
        node: u64,
        /// Its data folder: a late repeat must not hit the next one.
        incarnation: u128,
    },
    /// A node's data folder is lost: it is retired, a fresh one may take the id.
    NodeReplaced {
        /// The node.
        node: u64,
        /// The folder that is lost.
        incarnation: u128,
    },
    /// A node that was leaving or lost has no replica any more: its record goes.
    NodeRemoved {
        /// The node.
        node: u64,
        /// Its data folder, which is retired.
        incarnation: u128,
    },
    /// Makes the cluster, once.
    ClusterFound {
        /// Drawn by whoever proposes; never 0.
        cluster: u128,
        /// 1 to 256, for ever.
        set_count: u32,
        /// 1 to 7.
        replica_count: u8,
        /// The highest that leaders may write, from 1.
        format_version: u16,
    },
    /// Raises the format version that leaders may write.
    ClusterFormat {
        /// Every node must read it.
        format_version: u16,
    },
    /// Decides who is to vote in a set.
    SetPlace(SetRecord),
}

impl CatalogCommand {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            CatalogCommand::Create {
                account,
                name,
                attributes,
                set,
            } => {
                put_named(out, CREATE, *account, name);
                out.extend_from_slice(&set.0.to_le_bytes());
                encode_attributes(attributes, out);
            }
            CatalogCommand::Confirm { queue } => put_queue(out, CONFIRM, *queue),
            CatalogCommand::Set {
                account,
                name,
                changes,
            } => {
                put_named(out, SET, *account, name);
                encode_changes(changes, out);
            }
            CatalogCommand::Delete { account, name } => put_named(out, DELETE, *account, name),
            CatalogCommand::Removed { queue } => put_queue(out, REMOVED, *queue),
            CatalogCommand::NodeJoin(join) => {
                out.push(NODE_JOIN);
                join.encode(out);
            }
            CatalogCommand::NodeDrain { node, is_draining } => {
                out.push(NODE_DRAIN);
                out.extend_from_slice(&node.to_le_bytes());
                out.push(u8::from(*is_draining));
            }
            CatalogCommand::NodeLeave { node, incarnation } => {
                put_node(out, NODE_LEAVE, *node, *incarnation);
            }
            CatalogCommand::NodeReplaced { node, incarnation } => {
                put_node(out, NODE_REPLACED, *node, *incarnation);
            }
            CatalogCommand::NodeRemoved { node, incarnation } => {
                put_node(out, NODE_REMOVED, *node, *incarnation);
            }
            CatalogCommand::ClusterFound {
                cluster,
                set_count,
                replica_count,
                format_version,
            } => {
                out.push(CLUSTER_FOUND);
                out.extend_from_slice(&cluster.to_le_bytes());
                out.extend_from_slice(&set_count.to_le_bytes());
                out.push(*replica_count);
                out.extend_from_slice(&format_version.to_le_bytes());
            }
            CatalogCommand::ClusterFormat { format_version } => {
                out.push(CLUSTER_FORMAT);
                out.extend_from_slice(&format_version.to_le_bytes());
            }
            CatalogCommand::SetPlace(record) => {
                out.push(SET_PLACE);
                out.extend_from_slice(&record.set.0.to_le_bytes());
                record.encode(out);
            }
        }
    }

    pub(crate) fn decode(fields: &mut Fields<'_>, whole: &Bytes) -> Result<Self, FieldError> {
        Ok(match fields.u8()? {
            CREATE => CatalogCommand::Create {
                account: fields.u32()?,
                name: name(fields, whole)?,
                set: SetId(fields.u32()?),
                attributes: decode_attributes(fields)?,
            },
            CONFIRM => CatalogCommand::Confirm {
                queue: QueueId(fields.u64()?),
            },
            SET => CatalogCommand::Set {
                account: fields.u32()?,
                name: name(fields, whole)?,
                changes: decode_changes(fields)?,
            },
            DELETE => CatalogCommand::Delete {
                account: fields.u32()?,
                name: name(fields, whole)?,
            },
            REMOVED => CatalogCommand::Removed {
                queue: QueueId(fields.u64()?),
            },
            other => return CatalogCommand::decode_of_cluster(other, fields),
        })
    }

    fn decode_of_cluster(step: u8, fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        Ok(match step {
            NODE_JOIN => CatalogCommand::NodeJoin(NodeJoin::decode(fields)?),
            NODE_DRAIN => CatalogCommand::NodeDrain {
                node: fields.u64()?,
                is_draining: fields.flag()?,
            },
            NODE_LEAVE => CatalogCommand::NodeLeave {
                node: fields.u64()?,
                incarnation: fields.u128()?,
            },
            NODE_REPLACED => CatalogCommand::NodeReplaced {
                node: fields.u64()?,
                incarnation: fields.u128()?,
            },
            NODE_REMOVED => CatalogCommand::NodeRemoved {
                node: fields.u64()?,
                incarnation: fields.u128()?,
            },
            CLUSTER_FOUND => CatalogCommand::ClusterFound {
                cluster: fields.u128()?,
                set_count: fields.u32()?,
                replica_count: fields.u8()?,
                format_version: fields.u16()?,
            },
            CLUSTER_FORMAT => CatalogCommand::ClusterFormat {
                format_version: fields.u16()?,
            },
            SET_PLACE => {
                let set = SetId(fields.u32()?);
                CatalogCommand::SetPlace(SetRecord::decode(set, fields)?)
            }
            other => return Err(FieldError::Kind(other)),
        })
    }
}

fn put_node(out: &mut Vec<u8>, kind: u8, node: u64, incarnation: u128) {
    out.push(kind);
    out.extend_from_slice(&node.to_le_bytes());
    out.extend_from_slice(&incarnation.to_le_bytes());
}

fn put_queue(out: &mut Vec<u8>, kind: u8, queue: QueueId) {
    out.push(kind);
    out.extend_from_slice(&queue.0.to_le_bytes());
}

fn put_named(out: &mut Vec<u8>, kind: u8, account: u32, name: &Name) {
    out.push(kind);
    out.extend_from_slice(&account.to_le_bytes());
    put_text(out, name.as_str());
}

fn name(fields: &mut Fields<'_>, whole: &Bytes) -> Result<Name, FieldError> {
    let text = fields.text()?;
    Name::from_utf8(whole.slice_ref(text.as_bytes())).ok_or(FieldError::Range)
}
