//! The nodes of the cluster: who belongs to it, and which data folders never may again.
//!
//! The one mistake to avoid is to count a folder that lost what it acknowledged as the one that
//! acknowledged it. So an id is bound to one incarnation, and only a node that was declared lost
//! gets another; what was lost or removed is retired and stays refused. That list is bounded: the
//! oldest is forgotten, for a folder that comes back after a thousand others did not is none that
//! anybody waits for.
//!
//! Steps that end a node name its incarnation: repeated late, they must not hit its successor.
//!
//! Invariants: at most `NODE_COUNT_MAX` records; no two of them that are not `Replaced` share an
//! incarnation; no record that is not `Replaced` has a retired one.
//! Spec: spec/semantics.md, "Nodes and sets".

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use sampan_protocol::{QueueId, Timestamp};

use super::node::{NodeJoin, NodeRecord, NodeState};
use crate::fields::{FieldError, Fields};
use crate::frozen::FrozenRow;
use crate::limits::{NODE_COUNT_MAX, RETIRED_NODE_COUNT_MAX};
use crate::reply::Refusal;
use crate::row_changes::RowChanges;
use crate::row_key::RowKey;

const VERSION: u8 = 1;

/// A node id and a data folder that had it.
pub(crate) type Retired = (u64, u128);

#[derive(Debug, Default)]
pub(super) struct Nodes {
    records: BTreeMap<u64, Arc<NodeRecord>>,
    /// The oldest first.
    retired: VecDeque<Retired>,
    retired_changed: bool,
    changes: RowChanges,
}

impl Nodes {
    pub(super) fn iter(&self) -> impl Iterator<Item = &NodeRecord> + '_ {
        self.records.values().map(Arc::as_ref)
    }

    pub(super) fn record(&self, node: u64) -> Option<&NodeRecord> {
        self.records.get(&node).map(Arc::as_ref)
    }

    pub(super) fn is_retired(&self, incarnation: u128) -> bool {
        self.retired
            .iter()
            .any(|(_, retired)| *retired == incarnation)
    }

    /// Every retired folder with the id it had, the oldest first.
    pub(super) fn retired(&self) -> impl Iterator<Item = Retired> + '_ {
        self.retired.iter().copied()
    }

    /// The record, when it is of this incarnation.
    fn record_of(&self, node: u64, incarnation: u128) -> Result<&NodeRecord, Refusal> {
        match self.record(node) {
            Some(record) if record.incarnation == incarnation => Ok(record),
            Some(_) => Err(Refusal::by_cluster(format!(
                "node {node} has another data folder by now"
            ))),
            None => Err(unknown(node)),
        }
    }

    /// Takes a node in, or takes note of what has changed with it.
    pub(super) fn join(
        &mut self,
        join: &NodeJoin,
        format_version: u16,
        now: Timestamp,
    ) -> Result<NodeRecord, Refusal> {
        join.check()?;
        self.check_join(join, format_version)?;
        let known = self.record(join.node);
        let known = known.filter(|record| record.incarnation == join.incarnation);
        let record = NodeRecord {
            node: join.node,
            incarnation: join.incarnation,
            peer_address: join.peer_address.clone(),
            client_address: join.client_address.clone(),
            http_address: join.http_address.clone(),
            zone: join.zone.clone(),
            is_draining: known.is_some_and(|record| record.is_draining),
            state: known.map_or(NodeState::Active, |record| record.state),
            format_version_max: join.format_version_max,
            release: join.release.clone(),
            joined_at: known.map_or(now, |record| record.joined_at),
        };
        Ok(self.keep(record))
    }

    fn check_join(&self, join: &NodeJoin, format_version: u16) -> Result<(), Refusal> {
        let node = join.node;
        if join.format_version_max < format_version {
            return Err(Refusal::by_cluster(format!(
                "the cluster writes format version {format_version}, node {node} reads up to {}",
                join.format_version_max
            )));
        }
        if self.is_retired(join.incarnation) {
            return Err(Refusal::by_cluster(format!(
                "this data folder of node {node} was replaced or removed, start with an empty one"
            )));
        }
        let same_folder = self
            .iter()
            .find(|record| record.incarnation == join.incarnation);
        if let Some(other) = same_folder.filter(|record| record.node != node) {
            return Err(Refusal::by_cluster(format!(
                "this data folder is that of node {}",
                other.node
            )));
        }
        match self.record(node) {
            None if self.records.len() >= NODE_COUNT_MAX => Err(Refusal::by_cluster(format!(
                "a cluster has at most {NODE_COUNT_MAX} nodes"
            ))),
            Some(record)
                if record.incarnation != join.incarnation
                    && record.state != NodeState::Replaced =>
            {
                Err(Refusal::by_cluster(format!(
                    "node {node} has another data folder; if that one is lost, \
                     `sampan cluster replace-node {node}` lets a fresh one in"
                )))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn drain(&mut self, node: u64, is_draining: bool) -> Result<NodeRecord, Refusal> {
        let record = self.record(node).ok_or_else(|| unknown(node))?.clone();
        Ok(self.keep(NodeRecord {
            is_draining,
            ..record
        }))
    }

    /// The node goes for good. Refused to the last one that stays.
    pub(super) fn leave(&mut self, node: u64, incarnation: u128) -> Result<NodeRecord, Refusal> {
        let record = self.record_of(node, incarnation)?.clone();
        let stays = |record: &NodeRecord| record.node != node && record.state == NodeState::Active;
        if record.state == NodeState::Active && !self.iter().any(stays) {
            return Err(Refusal::by_cluster(format!(
                "node {node} is the last one of the cluster"
            )));
        }
        Ok(self.keep(NodeRecord {
            state: NodeState::Leaving,
            ..record
        }))
    }

    /// The node's folder is lost: it is retired, and a fresh one may take the id.
    pub(super) fn replaced(&mut self, node: u64, incarnation: u128) -> Result<NodeRecord, Refusal> {
        let record = self.record_of(node, incarnation)?.clone();
        if record.state == NodeState::Leaving {
            return Err(Refusal::by_cluster(format!("node {node} is leaving")));
        }
        self.retire(node, incarnation);
        Ok(self.keep(NodeRecord {
            state: NodeState::Replaced,
            ..record
        }))
    }

    /// The node is gone. True when there was something to do.
    pub(super) fn removed(&mut self, node: u64, incarnation: u128) -> Result<bool, Refusal> {
        let Some(record) = self.record(node) else {
            return Ok(false);
        };
        if record.incarnation != incarnation {
            return match self.is_retired(incarnation) {
                true => Ok(false),
                false => self.record_of(node, incarnation).map(|_| false),
            };
        }
        if record.state == NodeState::Active {
            return Err(Refusal::by_cluster(format!("node {node} is not leaving")));
        }
        self.retire(node, incarnation);
        self.records.remove(&node);
        self.changes.on_removal(node, true);
        Ok(true)
    }

    fn retire(&mut self, node: u64, incarnation: u128) {
        if self.is_retired(incarnation) {
            return;
        }
        if self.retired.len() >= RETIRED_NODE_COUNT_MAX {
            self.retired.pop_front();
        }
        self.retired.push_back((node, incarnation));
        self.retired_changed = true;
    }

    fn keep(&mut self, record: NodeRecord) -> NodeRecord {
        self.changes.on_change(record.node);
        self.records.insert(record.node, Arc::new(record.clone()));
        record
    }

    pub(super) fn freeze(&mut self, rows: &mut Vec<(RowKey, FrozenRow)>) {
        let key = |kind, number| RowKey {
            queue: QueueId(0),
            kind,
            number,
        };
        let (changed, gone) = self.changes.take();
        rows.extend(
            gone.into_iter()
                .map(|node| (key(RowKey::NODE, node), FrozenRow::Gone)),
        );
        for node in changed {
            let record = self.records.get(&node);
            let record = record.expect("what is listed as changed exists");
            rows.push((key(RowKey::NODE, node), FrozenRow::Node(Arc::clone(record))));
        }
        if std::mem::take(&mut self.retired_changed) {
            let retired = self.retired.iter().copied().collect();
            rows.push((key(RowKey::RETIRED, 0), FrozenRow::Retired(retired)));
        }
    }

    pub(super) fn restore_node(&mut self, node: u64, row: &[u8]) -> Result<(), FieldError> {
        let record = NodeRecord::decode(node, row)?;
        if self.records.len() >= NODE_COUNT_MAX {
            return Err(FieldError::Range);
        }
        self.records.insert(node, Arc::new(record));
        Ok(())
    }

    pub(super) fn restore_retired(&mut self, row: &[u8]) -> Result<(), FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let count = usize::from(fields.u16()?);
        if count > RETIRED_NODE_COUNT_MAX {
            return Err(FieldError::Range);
        }
        for _ in 0..count {
            self.retired.push_back((fields.u64()?, fields.u128()?));
        }
        fields.end()
    }
}

fn unknown(node: u64) -> Refusal {
    Refusal::by_cluster(format!("there is no node {node}"))
}

/// The row of the retired data folders, the oldest first.
pub(crate) fn encode_retired(retired: &[Retired], out: &mut Vec<u8>) {
    let count = u16::try_from(retired.len()).expect("the list is bounded far below 65,536");
    out.push(VERSION);
    out.extend_from_slice(&count.to_le_bytes());
    for (node, incarnation) in retired {
        out.extend_from_slice(&node.to_le_bytes());
        out.extend_from_slice(&incarnation.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(nodes: &mut Nodes, node: u64, incarnation: u128) -> Result<NodeRecord, Refusal> {
        let join = NodeJoin {
            node,
            incarnation,
            peer_address: "peer:7413".to_owned(),
            client_address: "peer:7411".to_owned(),
            http_address: String::new(),
            zone: String::new(),
            format_version_max: 1,
            release: String::new(),
        };
        nodes.join(&join, 1, Timestamp(5))
    }

    #[test]
    fn one_node_more_than_the_limit_is_refused_and_a_known_one_is_not() {
        let mut nodes = Nodes::default();
        for node in 1..=NODE_COUNT_MAX as u64 {
            join(&mut nodes, node, node.into()).unwrap();
        }
        let refused = join(&mut nodes, 900, 900).unwrap_err();
        assert_eq!(
            refused.text.as_deref(),
            Some("a cluster has at most 64 nodes")
        );
        assert!(join(&mut nodes, 64, 64).is_ok());
    }

    #[test]
    fn the_oldest_retired_folder_is_forgotten_when_the_list_is_full() {
        let mut nodes = Nodes::default();
        let count = RETIRED_NODE_COUNT_MAX as u128 + 1;
        for incarnation in 1..=count {
            join(&mut nodes, 1, incarnation).unwrap();
            nodes.replaced(1, incarnation).unwrap();
        }
        assert_eq!(nodes.retired.len(), RETIRED_NODE_COUNT_MAX);
        assert!(!nodes.is_retired(1));
        assert!((2..=count).all(|incarnation| nodes.is_retired(incarnation)));
    }

    #[test]
    fn the_longest_list_of_retired_folders_fits_into_a_row_and_comes_back() {
        let retired: Vec<Retired> = (0..RETIRED_NODE_COUNT_MAX as u64)
            .map(|node| (node, u128::from(node) << 64))
            .collect();
        let mut row = Vec::new();
        encode_retired(&retired, &mut row);
        assert!(row.len() < 64 << 10, "{} bytes", row.len());
        let mut nodes = Nodes::default();
        nodes.restore_retired(&row).unwrap();
        assert_eq!(nodes.retired, retired);
    }
}
