//! A node's connections to its peers, made from its options.
//!
//! The same for a member and for a node without a cluster: the two differ in what they answer
//! ([`NodeService`]) and in the cluster they name, 0 for none.

use std::sync::Arc;

use sampan_core::FORMAT_VERSION_MAX;
use tokio::sync::watch;

use super::core_part::PeersPart;
use super::options::NodeOptions;
use crate::catalog::Directory;
use crate::clock::ClusterTime;
use crate::members::{ClusterGate, NodeFacts, NodePulses, NodeService};
use crate::peer::{LocalNode, Peers, PeersParts, PeersTask};
use crate::view::View;

/// What other nodes are told about this one.
pub(super) fn facts(options: &NodeOptions, incarnation: u128) -> NodeFacts {
    let peer_address = options.peers.as_ref().map(|peers| peers.address.clone());
    NodeFacts {
        node: options.node,
        incarnation,
        peer_address: peer_address.unwrap_or_default(),
        client_address: options.client_address.clone(),
        http_address: options.http_address.clone(),
        zone: options.zone.clone(),
        release: options.release.clone(),
    }
}

/// The connections of a node to its peers, and the task that keeps them up.
pub(super) fn make_peers(
    options: &NodeOptions,
    (cluster, incarnation): (u128, u128),
    service: NodeService,
    directory: watch::Receiver<Arc<Directory>>,
    view: View,
) -> (Peers, PeersTask) {
    let transport = options
        .peers
        .as_ref()
        .map(|peers| peers.transport.clone())
        .unwrap_or_else(|| Arc::new(crate::peer::PlainTransport));
    Peers::new(PeersParts {
        local: LocalNode {
            node: options.node,
            incarnation,
            cluster,
            format_version_max: FORMAT_VERSION_MAX,
            release: options.release.clone(),
        },
        transport,
        // Peers are told this node's own wall clock: the median is made of those.
        time: options.time.clone(),
        random: options.random,
        gate: Arc::new(ClusterGate {
            node: options.node,
            cluster: (cluster != 0).then_some(cluster),
            directory,
            board: view.board().clone(),
        }),
        pulses: Arc::new(NodePulses { view }),
        service: Arc::new(service),
    })
}

/// What the first core runs for them; `None` on a node that has no peers.
pub(super) fn peers_part(
    options: &NodeOptions,
    peers: Peers,
    task: PeersTask,
    time: Arc<ClusterTime>,
) -> Option<PeersPart> {
    let listener = options.peers.as_ref()?.listener.try_clone();
    match listener {
        Ok(listener) => Some(PeersPart {
            peers,
            task,
            listener,
            time,
        }),
        Err(error) => {
            tracing::error!(%error, "the peer port cannot be shared");
            None
        }
    }
}
