//! The cluster as a whole, and where the replicas of each set are wanted.
//!
//! The record of the cluster is written once and then only its format version rises: a leader must
//! never write what a voter cannot read, so the version follows the slowest node and does not fall.
//!
//! Invariants: no set is placed before the cluster is founded; sets lie below its `set_count`.
//! Spec: spec/semantics.md, "Nodes and sets"; spec/state.md, "Versions".

use std::collections::BTreeMap;
use std::sync::Arc;

use sampan_protocol::{QueueId, SetId, Timestamp};

use super::nodes::Nodes;
use super::set_record::SetRecord;
use crate::catalog::NodeState;
use crate::fields::{FieldError, Fields};
use crate::frozen::FrozenRow;
use crate::limits::{SET_COUNT_MAX, VOTER_COUNT_MAX};
use crate::reply::Refusal;
use crate::row_changes::RowChanges;
use crate::row_key::RowKey;

const VERSION: u8 = 1;

/// What all nodes of a cluster have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterRecord {
    /// Drawn when the cluster was made; never 0.
    pub cluster: u128,
    /// How many sets it has, for ever.
    pub set_count: u32,
    /// How many voters each set is to have.
    pub replica_count: u8,
    /// The highest format version that leaders may write.
    pub format_version: u16,
    /// By the catalog's time.
    pub founded_at: Timestamp,
}

impl ClusterRecord {
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.cluster.to_le_bytes());
        out.extend_from_slice(&self.set_count.to_le_bytes());
        out.push(self.replica_count);
        out.extend_from_slice(&self.format_version.to_le_bytes());
        out.extend_from_slice(&self.founded_at.0.to_le_bytes());
    }

    fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        let record = ClusterRecord {
            cluster: fields.u128()?,
            set_count: fields.u32()?,
            replica_count: fields.u8()?,
            format_version: fields.u16()?,
            founded_at: fields.timestamp()?,
        };
        fields.end()?;
        if record.is_sound() {
            Ok(record)
        } else {
            Err(FieldError::Range)
        }
    }

    fn is_sound(&self) -> bool {
        self.cluster != 0
            && (1..=SET_COUNT_MAX).contains(&self.set_count)
            && (1..=VOTER_COUNT_MAX).contains(&usize::from(self.replica_count))
            && self.format_version > 0
    }
}

#[derive(Debug, Default)]
pub(super) struct Layout {
    cluster: Option<ClusterRecord>,
    cluster_changed: bool,
    sets: BTreeMap<SetId, Arc<SetRecord>>,
    changes: RowChanges,
}

impl Layout {
    pub(super) fn cluster(&self) -> Option<&ClusterRecord> {
        self.cluster.as_ref()
    }

    /// The format version that leaders may write; 1 before the cluster is founded.
    pub(super) fn format_version(&self) -> u16 {
        self.cluster.map_or(1, |cluster| cluster.format_version)
    }

    pub(super) fn sets(&self) -> impl Iterator<Item = &SetRecord> + '_ {
        self.sets.values().map(Arc::as_ref)
    }

    pub(super) fn set(&self, set: SetId) -> Option<&SetRecord> {
        self.sets.get(&set).map(Arc::as_ref)
    }

    pub(super) fn found(&mut self, record: ClusterRecord) -> Result<(), Refusal> {
        if !record.is_sound() {
            return Err(Refusal::by_cluster(format!(
                "a cluster has an id, 1 to {SET_COUNT_MAX} sets of 1 to {VOTER_COUNT_MAX} \
                 replicas, and a format version"
            )));
        }
        match self.cluster {
            None => {
                self.cluster = Some(record);
                self.cluster_changed = true;
                Ok(())
            }
            Some(known)
                if known.cluster == record.cluster
                    && known.set_count == record.set_count
                    && known.replica_count == record.replica_count
                    && known.format_version >= record.format_version =>
            {
                Ok(())
            }
            Some(_) => Err(Refusal::by_cluster("there is a cluster already")),
        }
    }

    pub(super) fn raise(&mut self, format_version: u16, nodes: &Nodes) -> Result<(), Refusal> {
        let cluster = self.cluster.as_mut().ok_or_else(no_cluster)?;
        if format_version < cluster.format_version {
            return Err(Refusal::by_cluster(format!(
                "the format version is {} and never falls",
                cluster.format_version
            )));
        }
        let slowest = nodes
            .iter()
            .filter(|record| record.state != NodeState::Replaced)
            .find(|record| record.format_version_max < format_version);
        if let Some(record) = slowest {
            return Err(Refusal::by_cluster(format!(
                "node {} reads format versions up to {}",
                record.node, record.format_version_max
            )));
        }
        self.cluster_changed |= cluster.format_version != format_version;
        cluster.format_version = format_version;
        Ok(())
    }

    pub(super) fn place(&mut self, record: &SetRecord, nodes: &Nodes) -> Result<(), Refusal> {
        let cluster = self.cluster.ok_or_else(no_cluster)?;
        if record.set.0 >= cluster.set_count {
            let count = cluster.set_count;
            return Err(Refusal::by_cluster(format!("the cluster has {count} sets")));
        }
        if !record.is_sound() {
            return Err(Refusal::by_cluster(format!(
                "a set has 1 to {VOTER_COUNT_MAX} voters, ascending, and prefers one of them"
            )));
        }
        if let Some(node) = record
            .voters
            .iter()
            .find(|node| nodes.record(**node).is_none())
        {
            return Err(Refusal::by_cluster(format!("there is no node {node}")));
        }
        if self.set(record.set) != Some(record) {
            self.changes.on_change(record.set.0.into());
            self.sets.insert(record.set, Arc::new(record.clone()));
        }
        Ok(())
    }

    /// Refuses to remove a node that is still wanted as a voter.
    pub(super) fn check_removal(&self, node: u64) -> Result<(), Refusal> {
        match self.sets().find(|record| record.voters.contains(&node)) {
            None => Ok(()),
            Some(record) => Err(Refusal::by_cluster(format!(
                "node {node} is still to vote in set {}",
                record.set
            ))),
        }
    }

    /// Refuses a second loss in one set: the first lost node's fresh folder has not even come, and
    /// two operators, or one in haste, must not take a set's majority away between them.
    pub(super) fn check_replacement(&self, node: u64, nodes: &Nodes) -> Result<(), Refusal> {
        for record in self.sets().filter(|record| record.voters.contains(&node)) {
            let is_lost = |voter: &&u64| {
                let known = nodes.record(**voter);
                **voter != node && known.is_some_and(|known| known.state == NodeState::Replaced)
            };
            if let Some(other) = record.voters.iter().find(is_lost) {
                return Err(Refusal::by_cluster(format!(
                    "node {other}, which votes in set {} like node {node}, was replaced and is \
                     not back yet: start it with an empty folder, or remove it, first",
                    record.set
                )));
            }
        }
        Ok(())
    }

    pub(super) fn freeze(&mut self, rows: &mut Vec<(RowKey, FrozenRow)>) {
        let key = |kind, number| RowKey {
            queue: QueueId(0),
            kind,
            number,
        };
        if std::mem::take(&mut self.cluster_changed)
            && let Some(cluster) = self.cluster
        {
            rows.push((key(RowKey::CLUSTER, 0), FrozenRow::Cluster(cluster)));
        }
        let (changed, _) = self.changes.take();
        for number in changed {
            let set = u32::try_from(number).expect("the number of a row is that of a set");
            let record = self.sets.get(&SetId(set));
            let record = record.expect("what is listed as changed exists");
            rows.push((
                key(RowKey::PLACEMENT, number),
                FrozenRow::Placement(Arc::clone(record)),
            ));
        }
    }

    pub(super) fn restore_cluster(&mut self, row: &[u8]) -> Result<(), FieldError> {
        self.cluster = Some(ClusterRecord::decode(row)?);
        Ok(())
    }

    pub(super) fn restore_set(&mut self, number: u64, row: &[u8]) -> Result<(), FieldError> {
        let set = u32::try_from(number).map_err(|_| FieldError::Range)?;
        if set >= self.cluster.map_or(0, |cluster| cluster.set_count) {
            return Err(FieldError::Range);
        }
        let record = SetRecord::decode_row(SetId(set), row)?;
        self.sets.insert(SetId(set), Arc::new(record));
        Ok(())
    }
}

fn no_cluster() -> Refusal {
    Refusal::by_cluster("the cluster is not founded yet")
}
