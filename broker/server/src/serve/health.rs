//! The node as the HTTP endpoint sees it. A node without a cluster is opened anew when it gets one;
//! in between there is none, and nothing is ready.

use std::sync::{Arc, Weak};

use futures::FutureExt;
use futures::future::BoxFuture;
use sampan_cluster::{Health, Node, NodeMetrics};
use tokio::sync::watch;

use super::http::HealthSource;
use super::life::Lent;

/// See the module's documentation.
pub(super) struct NodeHealth {
    node: watch::Receiver<Weak<Lent>>,
    connection_count: Arc<std::sync::atomic::AtomicUsize>,
}

impl NodeHealth {
    pub(super) fn new(
        node: watch::Receiver<Weak<Lent>>,
        connection_count: Arc<std::sync::atomic::AtomicUsize>,
    ) -> Self {
        NodeHealth {
            node,
            connection_count,
        }
    }

    fn ask(&self, question: impl FnOnce(&Node) -> Health) -> Health {
        let node = self.node.borrow().upgrade();
        match node {
            Some(node) => question(&node),
            None => Health::No("the node is starting or stopping".to_owned()),
        }
    }
}

impl HealthSource for NodeHealth {
    fn live(&self) -> Health {
        match self.node.borrow().upgrade() {
            Some(node) => node.live(),
            // Starting and stopping are no reason to be restarted.
            None => Health::Yes,
        }
    }

    fn ready(&self) -> Health {
        self.ask(Node::ready)
    }

    fn quorum(&self) -> Health {
        self.ask(Node::quorum)
    }

    fn connection_count(&self) -> usize {
        self.connection_count
            .load(std::sync::atomic::Ordering::Relaxed)
    }

    fn metrics(&self) -> BoxFuture<'static, NodeMetrics> {
        let node = self.node.borrow().upgrade();
        async move {
            match node {
                Some(node) => node.metrics().await,
                None => NodeMetrics::default(),
            }
        }
        .boxed()
    }
}
