//! The cluster as this node's replica of set 0 knows it: nodes, and where sets are wanted.

use sampan_core::{Catalog, ClusterRecord, NodeRecord, NodeState, SetRecord};
use sampan_protocol::SetId;

/// A copy of the catalog's part about nodes and sets. A new one comes with each change.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClusterMap {
    /// None before the cluster is founded, or before this node has heard of it.
    pub(crate) cluster: Option<ClusterRecord>,
    /// By id.
    pub(crate) nodes: Vec<NodeRecord>,
    /// By number.
    pub(crate) sets: Vec<SetRecord>,
    /// Queues whose last change is not finished.
    pub(crate) has_unfinished: bool,
}

impl ClusterMap {
    pub(crate) fn new(catalog: &Catalog) -> Self {
        ClusterMap {
            cluster: catalog.cluster().cloned(),
            nodes: catalog.nodes().cloned().collect(),
            sets: catalog.sets().cloned().collect(),
            has_unfinished: catalog.unfinished().next().is_some(),
        }
    }

    /// The record of a node.
    pub(crate) fn node(&self, node: u64) -> Option<&NodeRecord> {
        self.nodes.iter().find(|record| record.node == node)
    }

    /// Who is to vote in a set; none before that was decided.
    pub(crate) fn wanted_voters(&self, set: SetId) -> Option<&SetRecord> {
        self.sets.iter().find(|record| record.set == set)
    }

    /// Nodes that are to stay.
    pub(crate) fn active(&self) -> impl Iterator<Item = &NodeRecord> {
        self.nodes
            .iter()
            .filter(|record| record.state != NodeState::Leaving)
    }
}
