//! What health checks and metrics are asked of.

use futures::future::BoxFuture;
use sampan_cluster::{Health, NodeMetrics};

/// The node, as far as this endpoint is concerned. Called on its thread, and must not block it.
pub(crate) trait HealthSource: Send + Sync {
    /// Whether the process does its work: false only for what a restart would put right.
    fn live(&self) -> Health;

    /// Whether every set that this node holds has a leader, and this node has caught up with it.
    fn ready(&self) -> Health;

    /// Whether this node can be stopped without a set losing its majority.
    fn quorum(&self) -> Health;

    /// Connections of clients.
    fn connection_count(&self) -> usize;

    /// The node's figures.
    fn metrics(&self) -> BoxFuture<'static, NodeMetrics>;
}
