//! A node that belongs to no cluster yet.
//!
//! It has no log and no sets; with peers it can be asked and asks others to be let in. What it
//! becomes is decided once, by an operator's word on this node or by a cluster that lets it in;
//! whoever runs it then closes it and opens it again with that ([`Node::founding`]).
//!
//! Invariant: nothing of the data folder is made or changed here.

use std::sync::Arc;

use tokio::sync::watch;

use super::Node;
use super::connecting::{facts, make_peers, peers_part};
use super::core_part::{CorePart, FirstCore};
use super::options::{Founding, NodeOptions};
use crate::board::Board;
use crate::catalog::{Coordinator, Directory};
use crate::clock::ClusterTime;
use crate::identity::draw;
use crate::members::{Invitations, Joiner, NodeService};
use crate::view::View;

impl Node {
    /// A node that waits to be told which cluster it belongs to.
    pub(super) fn without_cluster(options: NodeOptions) -> (Node, Vec<CorePart>) {
        let incarnation = draw(options.random);
        let (_, directory) = watch::channel(Arc::new(Directory::default()));
        let (catalog, _) = Coordinator::new(Arc::default(), options.random);
        let (founding, _) = watch::channel(None);
        let (joined_sender, joined) = watch::channel(None);
        let board = Board::new(0);
        let time = Arc::new(ClusterTime::new(options.time.clone()));
        let invitations = Invitations::default();
        let mut first = FirstCore::default();
        let mut handle = None;
        if let Some(peer_options) = &options.peers {
            let service = NodeService {
                replicas: Arc::new([]),
                member: None,
                invitations: invitations.clone(),
            };
            let identity = (0, incarnation);
            let view = View::new(board);
            let (peers, task) = make_peers(&options, identity, service, directory.clone(), view);
            first.joiner = Some(Joiner {
                peers: peers.clone(),
                facts: facts(&options, incarnation),
                addresses: peer_options.join.clone(),
                invitations,
                joined: joined_sender,
            });
            first.peers = peers_part(&options, peers.clone(), task, time.clone());
            handle = Some(peers);
        }
        let node = Node {
            id: options.node,
            time,
            member: None,
            catalog,
            directory,
            peers: handle,
            founding,
            joined,
        };
        let mut parts: Vec<_> = (0..options.core_count)
            .map(|_| CorePart::default())
            .collect();
        if let Some(part) = parts.first_mut() {
            part.first = Some(first);
        }
        (node, parts)
    }

    /// Returns when a node without a cluster has got one: close it and open it again with this.
    pub async fn founding(&self) -> Founding {
        let mut founding = self.founding.subscribe();
        let mut joined = self.joined.clone();
        let by_operator = async {
            match founding.wait_for(Option::is_some).await {
                Ok(decided) => *decided,
                Err(_) => std::future::pending().await,
            }
        };
        let by_cluster = async {
            match joined.wait_for(Option::is_some).await {
                Ok(joined) => joined.map(|joined| Founding::Joined {
                    cluster: joined.admission.cluster,
                    incarnation: joined.incarnation,
                    set_count: joined.admission.set_count,
                    is_replacement: joined.admission.is_replacement,
                }),
                // A node that is in a cluster has nothing to wait for.
                Err(_) => std::future::pending().await,
            }
        };
        let decided = tokio::select! {
            decided = by_operator => decided,
            decided = by_cluster => decided,
        };
        match decided {
            Some(founding) => founding,
            None => std::future::pending().await,
        }
    }
}
