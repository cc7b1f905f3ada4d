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
    /// Data folders that were replaced or removed, with the id that each had.
    pub(crate) retired: Vec<(u64, u128)>,
    /// Queues whose last change is not finished.
    pub(crate) has_unfinished: bool,
}

impl ClusterMap {
    pub(crate) fn new(catalog: &Catalog) -> Self {
        ClusterMap {
            cluster: catalog.cluster().cloned(),
            nodes: catalog.nodes().cloned().collect(),
            sets: catalog.sets().cloned().collect(),
            retired: catalog.retired().collect(),
            has_unfinished: catalog.unfinished().next().is_some(),
        }
    }

    /// The record of a node.
    pub(crate) fn node(&self, node: u64) -> Option<&NodeRecord> {
        self.nodes.iter().find(|record| record.node == node)
    }

    /// Whether another folder had this id before: whoever comes in under it knows nothing of what
    /// that one confirmed. Asked of what stays true, not of a state that the joining itself ends:
    /// an answer may get lost, and a node asks again.
    pub(crate) fn is_replacement(&self, node: u64) -> bool {
        self.retired.iter().any(|(retired, _)| *retired == node)
    }

    /// Whether a data folder was replaced or removed, and may not come back.
    pub(crate) fn is_retired(&self, incarnation: u128) -> bool {
        self.retired
            .iter()
            .any(|(_, retired)| *retired == incarnation)
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

/// A node that asks to be let in, for tests.
#[cfg(test)]
pub(crate) fn example_join(node: u64, incarnation: u128) -> sampan_core::NodeJoin {
    sampan_core::NodeJoin {
        node,
        incarnation,
        peer_address: "peer:7413".to_owned(),
        client_address: "peer:7411".to_owned(),
        http_address: String::new(),
        zone: String::new(),
        format_version_max: 1,
        release: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use sampan_core::{Broker, CatalogCommand, Command, Entry, Reply};
    use sampan_protocol::Timestamp;

    use super::*;

    fn join(node: u64, incarnation: u128) -> CatalogCommand {
        CatalogCommand::NodeJoin(example_join(node, incarnation))
    }

    /// The map after these commands, none of which is refused.
    fn map(commands: Vec<CatalogCommand>) -> ClusterMap {
        let mut broker = Broker::new();
        let entry = Entry {
            stamp: Timestamp(1),
            commands: commands.into_iter().map(Command::Catalog).collect(),
            ..Entry::default()
        };
        let (mut effects, mut replies) = (Vec::new(), Vec::new());
        broker.apply(&entry, &mut effects, &mut replies).unwrap();
        let is_refused = |reply: &Reply| matches!(reply, Reply::Refused(_));
        assert!(!replies.iter().any(is_refused), "{replies:?}");
        ClusterMap::new(broker.catalog())
    }

    #[test]
    fn a_fresh_folder_is_a_replacement_however_often_it_asks() {
        let (node, incarnation) = (2, 12);
        let lost = CatalogCommand::NodeReplaced { node, incarnation };
        let mut story = vec![join(1, 11), join(2, 12)];
        assert!(!map(story.clone()).is_replacement(2));
        story.extend([lost, join(2, 22)]);
        assert!(map(story.clone()).is_replacement(2));
        // The first answer was lost; by now the record is that of an active node.
        story.push(join(2, 22));
        let map = map(story);
        assert_eq!(map.node(2).unwrap().state, NodeState::Active);
        assert!(map.is_replacement(2));
        assert!(!map.is_replacement(1));
        assert!(map.is_retired(12) && !map.is_retired(22));
    }

    #[test]
    fn a_folder_under_a_removed_id_is_a_replacement() {
        let (node, incarnation) = (2, 12);
        let map = map(vec![
            join(1, 11),
            join(2, 12),
            CatalogCommand::NodeLeave { node, incarnation },
            CatalogCommand::NodeRemoved { node, incarnation },
            join(2, 22),
        ]);
        assert!(map.is_replacement(2));
    }
}
