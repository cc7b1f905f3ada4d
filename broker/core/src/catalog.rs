//! The catalog of set 0: which queues there are, what they are called, and which set holds each;
//! which nodes there are, and which of them are to vote in which set.
//!
//! The catalog decides, the owning set follows: a change is written here first, the record then is
//! unfinished until the owning set has carried it out and somebody confirms it. Every step may be
//! repeated, so whoever leads the catalog finishes what a crash left, from [`Catalog::unfinished`].
//!
//! Names are unique per account without regard to ASCII case; queue ids are never given twice.
//!
//! Invariants: `names` has exactly one element per record; `unfinished` has exactly the records
//! that are not ready. Spec: spec/semantics.md, "The catalog".

mod carry_out;
mod command;
mod layout;
mod node;
mod nodes;
mod record;
mod set_record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sampan_protocol::{QueueId, SetId};

pub use command::CatalogCommand;
pub use layout::ClusterRecord;
pub use node::{NodeJoin, NodeRecord, NodeState};
pub(crate) use nodes::{Retired, encode_retired};
pub use record::{CatalogRecord, QueueState};
pub use set_record::SetRecord;

use crate::fields::{FieldError, Fields};
use crate::frozen::FrozenRow;
use crate::row_changes::RowChanges;
use crate::row_key::RowKey;
use layout::Layout;
use nodes::Nodes;

const VERSION: u8 = 1;

/// A name as it is compared: per account, in lower case.
type NameKey = (u32, String);

/// The records of all queues, nodes and sets of a cluster. Empty in every set but 0.
#[derive(Debug)]
pub struct Catalog {
    records: BTreeMap<QueueId, Arc<CatalogRecord>>,
    names: BTreeMap<NameKey, QueueId>,
    unfinished: BTreeSet<QueueId>,
    /// The id that the next queue gets; from 1.
    next_queue: u64,
    next_changed: bool,
    changes: RowChanges,
    nodes: Nodes,
    layout: Layout,
}

/// What of the catalog is not a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatalogRow {
    next_queue: u64,
}

impl CatalogRow {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.next_queue.to_le_bytes());
    }
}

fn name_key(account: u32, name: &str) -> NameKey {
    (account, name.to_ascii_lowercase())
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Catalog {
            records: BTreeMap::new(),
            names: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            next_queue: 1,
            next_changed: false,
            changes: RowChanges::default(),
            nodes: Nodes::default(),
            layout: Layout::default(),
        }
    }

    /// What holds for the whole cluster; none before it is founded.
    pub fn cluster(&self) -> Option<&ClusterRecord> {
        self.layout.cluster()
    }

    /// The highest format version that leaders may write; 1 before the cluster is founded.
    pub fn format_version(&self) -> u16 {
        self.layout.format_version()
    }

    /// Every node, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeRecord> + '_ {
        self.nodes.iter()
    }

    /// The record of a node.
    pub fn node(&self, node: u64) -> Option<&NodeRecord> {
        self.nodes.record(node)
    }

    /// Whether a data folder was replaced or removed, and may not come back.
    pub fn is_retired(&self, incarnation: u128) -> bool {
        self.nodes.is_retired(incarnation)
    }

    /// The nodes' data folders that were replaced or removed, the oldest first.
    pub fn retired(&self) -> impl Iterator<Item = (u64, u128)> + '_ {
        self.nodes.retired()
    }

    /// Every set whose voters were decided, by number.
    pub fn sets(&self) -> impl Iterator<Item = &SetRecord> + '_ {
        self.layout.sets()
    }

    /// Who is to vote in a set.
    pub fn set_record(&self, set: SetId) -> Option<&SetRecord> {
        self.layout.set(set)
    }

    /// How many queues there are, finished or not.
    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// The record of a queue id.
    pub fn record(&self, queue: QueueId) -> Option<&CatalogRecord> {
        self.records.get(&queue).map(Arc::as_ref)
    }

    /// The record of a name, letter case aside.
    pub fn find(&self, account: u32, name: &str) -> Option<&CatalogRecord> {
        let queue = self.names.get(&name_key(account, name))?;
        self.record(*queue)
    }

    /// The records of an account whose names begin with `prefix` and come behind `after`, in the
    /// order of their names; letter case aside.
    pub fn list<'a>(
        &'a self,
        account: u32,
        prefix: &str,
        after: &str,
    ) -> impl Iterator<Item = &'a CatalogRecord> + 'a {
        let (_, prefix) = name_key(account, prefix);
        let after = name_key(account, after);
        let from = after.clone().max((account, prefix.clone()));
        self.names
            .range(from..)
            .take_while(move |((owner, name), _)| *owner == account && name.starts_with(&prefix))
            .filter(move |(key, _)| after.1.is_empty() || **key > after)
            .filter_map(|(_, queue)| self.record(*queue))
    }

    /// Every record, in the order of the queue ids.
    pub fn records(&self) -> impl Iterator<Item = &CatalogRecord> + '_ {
        self.records.values().map(Arc::as_ref)
    }

    /// The records whose last change the owning set may not have carried out yet.
    pub fn unfinished(&self) -> impl Iterator<Item = &CatalogRecord> + '_ {
        self.unfinished
            .iter()
            .filter_map(|queue| self.record(*queue))
    }

    pub(crate) fn freeze(&mut self, rows: &mut Vec<(RowKey, FrozenRow)>) {
        if std::mem::take(&mut self.next_changed) {
            let key = RowKey {
                queue: QueueId(0),
                kind: RowKey::CATALOG,
                number: 0,
            };
            rows.push((
                key,
                FrozenRow::Catalog(CatalogRow {
                    next_queue: self.next_queue,
                }),
            ));
        }
        let key = |queue| RowKey {
            queue: QueueId(queue),
            kind: RowKey::RECORD,
            number: 0,
        };
        let (changed, gone) = self.changes.take();
        rows.extend(gone.into_iter().map(|queue| (key(queue), FrozenRow::Gone)));
        for queue in changed {
            let record = self.records.get(&QueueId(queue));
            let record = record.expect("what is listed as changed exists");
            rows.push((key(queue), FrozenRow::Record(Arc::clone(record))));
        }
        self.nodes.freeze(rows);
        self.layout.freeze(rows);
    }

    /// Takes in a row of the cluster, its nodes or its sets.
    pub(crate) fn restore_cluster_row(
        &mut self,
        key: RowKey,
        row: &[u8],
    ) -> Result<(), FieldError> {
        if key.queue != QueueId(0) {
            return Err(FieldError::Range);
        }
        match key.kind {
            RowKey::CLUSTER => self.layout.restore_cluster(row),
            RowKey::NODE => self.nodes.restore_node(key.number, row),
            RowKey::RETIRED => self.nodes.restore_retired(row),
            RowKey::PLACEMENT => self.layout.restore_set(key.number, row),
            other => Err(FieldError::Kind(other)),
        }
    }

    pub(crate) fn restore(&mut self, row: &[u8]) -> Result<(), FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        self.next_queue = fields.u64()?;
        fields.end()
    }

    pub(crate) fn restore_record(&mut self, queue: QueueId, row: &[u8]) -> Result<(), FieldError> {
        let record = CatalogRecord::decode(queue, row)?;
        let key = name_key(record.account, &record.name);
        if queue.0 >= self.next_queue || self.names.insert(key, queue).is_some() {
            return Err(FieldError::Range);
        }
        if record.state != QueueState::Ready {
            self.unfinished.insert(queue);
        }
        self.records.insert(queue, Arc::new(record));
        Ok(())
    }
}
