//! Who may speak to this node: members of its cluster, each from the data folder that the catalog
//! knows, and nodes that want to join.
//!
//! A node that has not heard of the catalog yet (it has just joined) lets in whoever belongs to its
//! cluster; one without a cluster lets in whoever has a certificate, to be invited. What a node has
//! of the catalog may be old after a restart, so a node that it does not know is let in when some
//! set names it: without it there might never be a leader to learn more from.

use std::sync::Arc;

use sampan_core::{ClusterRecord, NodeState};
use tokio::sync::watch;

use crate::board::Board;
use crate::catalog::{ClusterMap, Directory};
use crate::peer::{Gate, Hello, PeerRefusal, RefusalReason};

/// See the module's documentation.
pub(crate) struct ClusterGate {
    pub(crate) node: u64,
    /// None for a node without a cluster.
    pub(crate) cluster: Option<u128>,
    pub(crate) directory: watch::Receiver<Arc<Directory>>,
    pub(crate) board: Board,
}

impl Gate for ClusterGate {
    fn admit(&self, hello: &Hello, certificate_node: Option<u64>) -> Result<(), PeerRefusal> {
        if certificate_node.is_some_and(|node| node != hello.node) {
            let text = format!(
                "the certificate is of node {}, the greeting of node {}",
                certificate_node.unwrap_or(0),
                hello.node
            );
            return Err(PeerRefusal::new(RefusalReason::WrongCertificate, text));
        }
        let Some(cluster) = self.cluster else {
            return Ok(());
        };
        if hello.cluster == 0 {
            // It may ask to be let in, and nothing else.
            return Ok(());
        }
        if hello.cluster != cluster {
            let text = format!(
                "node {} belongs to cluster {:032x}, this one to {cluster:032x}",
                hello.node, hello.cluster
            );
            return Err(PeerRefusal::new(RefusalReason::WrongCluster, text));
        }
        if hello.node == self.node {
            let text = format!(
                "node {} is here: two nodes were given one id, or its own address reaches another",
                self.node
            );
            return Err(PeerRefusal::new(RefusalReason::DuplicateNode, text));
        }
        self.check_member(hello)
    }

    /// Only what is certain ends a connection: a node that is behind passes through states of the
    /// catalog in which its peer's folder is not the newest, and must go on hearing from it.
    fn check_open(&self, hello: &Hello) -> Result<(), PeerRefusal> {
        check_not_retired(self.directory.borrow().map(), hello)
    }
}

impl ClusterGate {
    fn check_member(&self, hello: &Hello) -> Result<(), PeerRefusal> {
        let directory = self.directory.borrow();
        let map = directory.map();
        let Some(cluster) = &map.cluster else {
            return Ok(());
        };
        check_format(cluster, hello)?;
        check_not_retired(map, hello)?;
        let Some(record) = map.node(hello.node) else {
            if self.is_in_some_set(hello.node) {
                return Ok(());
            }
            let text = format!("the cluster does not know node {}", hello.node);
            return Err(PeerRefusal::new(RefusalReason::UnknownNode, text));
        };
        let is_same = record.incarnation == hello.incarnation;
        if is_same && record.state != NodeState::Replaced {
            return Ok(());
        }
        let text = format!(
            "node {} has another data folder than the cluster knows: it was wiped or replaced; \
             use `sampan cluster replace-node {}` to let a fresh one in",
            hello.node, hello.node
        );
        Err(PeerRefusal::new(RefusalReason::WrongIncarnation, text))
    }
}

/// What was retired stays so: this is true whatever else this node has not heard of yet.
fn check_not_retired(map: &ClusterMap, hello: &Hello) -> Result<(), PeerRefusal> {
    if !map.is_retired(hello.incarnation) {
        return Ok(());
    }
    let text = format!(
        "this data folder of node {} was replaced or removed: start the node with an empty one",
        hello.node
    );
    Err(PeerRefusal::new(RefusalReason::WrongIncarnation, text))
}

/// A node that cannot read what leaders write would only stumble over the first such entry.
fn check_format(cluster: &ClusterRecord, hello: &Hello) -> Result<(), PeerRefusal> {
    let (written, read) = (cluster.format_version, hello.format_version_max);
    if read >= written {
        return Ok(());
    }
    let text = format!(
        "the cluster writes format version {written}, node {} (release {}) reads up to {read}: \
         start it with a release that reads {written}",
        hello.node, hello.release
    );
    Err(PeerRefusal::new(RefusalReason::OldFormat, text))
}

impl ClusterGate {
    fn is_in_some_set(&self, node: u64) -> bool {
        let names = |set| {
            let line = self.board.line(set);
            line.voters.contains(&node) || line.learners.contains(&node)
        };
        self.board.sets().any(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(cluster: u128, node: u64) -> Hello {
        Hello {
            version_min: 1,
            version_max: 1,
            cluster,
            node,
            incarnation: 7,
            target: 1,
            format_version_max: 1,
            wall_ms: 0,
            release: String::new(),
        }
    }

    fn admit(
        cluster: Option<u128>,
        hello: &Hello,
        certificate: Option<u64>,
    ) -> Option<RefusalReason> {
        let (_sender, directory) = watch::channel(Arc::new(Directory::default()));
        let gate = ClusterGate {
            node: 1,
            cluster,
            directory,
            board: Board::new(1),
        };
        gate.admit(hello, certificate)
            .err()
            .map(|refusal| refusal.reason)
    }

    #[test]
    fn a_node_of_another_cluster_is_refused() {
        assert_eq!(admit(Some(5), &hello(5, 2), None), None);
        assert_eq!(
            admit(Some(5), &hello(6, 2), None),
            Some(RefusalReason::WrongCluster)
        );
        assert_eq!(admit(Some(5), &hello(0, 2), None), None);
        assert_eq!(admit(None, &hello(6, 2), None), None);
    }

    #[test]
    fn a_node_with_this_nodes_id_or_anothers_certificate_is_refused() {
        assert_eq!(
            admit(Some(5), &hello(5, 1), None),
            Some(RefusalReason::DuplicateNode)
        );
        assert_eq!(admit(Some(5), &hello(5, 2), Some(2)), None);
        assert_eq!(
            admit(Some(5), &hello(5, 2), Some(3)),
            Some(RefusalReason::WrongCertificate)
        );
    }

    #[test]
    fn a_retired_folder_is_refused_also_on_an_open_connection() {
        let mut map = ClusterMap::default();
        assert_eq!(check_not_retired(&map, &hello(5, 2)), Ok(()));
        // Another folder of the node, or the same one under another id.
        map.retired = vec![(2, 6)];
        assert_eq!(check_not_retired(&map, &hello(5, 2)), Ok(()));
        map.retired.push((3, 7));
        let refused = check_not_retired(&map, &hello(5, 2)).unwrap_err();
        assert_eq!(refused.reason, RefusalReason::WrongIncarnation);
    }

    #[test]
    fn a_node_that_does_not_read_what_the_cluster_writes_is_refused() {
        let cluster = ClusterRecord {
            cluster: 5,
            set_count: 1,
            replica_count: 3,
            format_version: 2,
            founded_at: sampan_protocol::Timestamp(1),
        };
        let mut hello = hello(5, 2);
        let refused = check_format(&cluster, &hello).unwrap_err();
        assert_eq!(refused.reason, RefusalReason::OldFormat);
        assert!(refused.text.contains("format version 2"), "{refused}");
        hello.format_version_max = 2;
        assert_eq!(check_format(&cluster, &hello), Ok(()));
    }
}
