//! The share of one core: its sets, and on the first core what the node does besides.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::StartError;
use super::set_part::SetPart;
use crate::catalog::Coordinator;
use crate::clock::{ClusterTime, TimeSource};
use crate::grid;
use crate::members::{Joiner, NodeFacts, Planner, announce, check_addresses};
use crate::peer::{Peers, PeersTask};
use crate::reach::Reach;

/// How often the peers' wall clocks are taken in.
const CLOCK_INTERVAL: Duration = Duration::from_millis(120);

/// The share of one core: started on the core's own thread.
#[derive(Default)]
pub struct CorePart {
    pub(super) sets: Vec<SetPart>,
    pub(super) first: Option<FirstCore>,
}

/// What runs beside the sets, on the first core.
#[derive(Default)]
pub(super) struct FirstCore {
    pub(super) coordinator: Option<Coordinator>,
    pub(super) planner: Option<Planner>,
    pub(super) announcement: Option<(Reach, NodeFacts)>,
    /// Addresses that this node, which is in a cluster, is told to join.
    pub(super) join: Vec<String>,
    pub(super) peers: Option<PeersPart>,
    pub(super) joiner: Option<Joiner>,
}

/// The connections to the peers.
pub(super) struct PeersPart {
    pub(super) peers: Peers,
    pub(super) task: PeersTask,
    pub(super) listener: std::net::TcpListener,
    pub(super) time: Arc<ClusterTime>,
}

impl CorePart {
    /// Starts the core's sets. Call it inside the core's `LocalSet`.
    ///
    /// Returns when the log is replayed as far as this node knows that it may be.
    ///
    /// # Errors
    ///
    /// Which set did not start, and why.
    pub async fn start(self) -> Result<Vec<JoinHandle<()>>, StartError> {
        let mut first = self.first.unwrap_or_default();
        if let Some(part) = first.peers.take() {
            tokio::task::spawn_local(watch_clocks(part.peers, part.time));
            tokio::task::spawn_local(async move {
                if let Err(error) = part.task.run(Some(part.listener)).await {
                    tracing::error!(%error, "peers cannot connect to this node");
                }
            });
        }
        let mut drivers = Vec::new();
        for part in self.sets {
            drivers.push(part.start().await?);
        }
        if let Some(coordinator) = first.coordinator {
            tokio::task::spawn_local(coordinator.run());
        }
        if let Some(planner) = first.planner {
            tokio::task::spawn_local(planner.run());
        }
        if let Some((reach, facts)) = first.announcement {
            let checked = check_addresses(reach.clone(), facts.clone(), first.join);
            tokio::task::spawn_local(checked);
            tokio::task::spawn_local(announce(reach, facts));
        }
        if let Some(joiner) = first.joiner {
            tokio::task::spawn_local(joiner.run());
        }
        Ok(drivers)
    }
}

async fn watch_clocks(peers: Peers, time: Arc<ClusterTime>) {
    let mut ticks = grid::interval(CLOCK_INTERVAL);
    loop {
        time.update(&peers.clocks().estimates(time.read().monotonic_ms));
        ticks.tick().await;
    }
}
