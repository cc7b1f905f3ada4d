//! What an operator asks of the cluster, carried out from whichever node was asked.
//!
//! Decisions are commands to the catalog; whether one would lose a majority is judged by what the
//! nodes say of themselves several times a second. What is decided is made so by the planner at the
//! leader of set 0.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use sampan_core::{CatalogCommand, Command, NodeRecord, NodeState, Reply};
use sampan_protocol::{ErrorCode, SetId};

use super::planner;
use super::soundness::{SetView, can_stop, is_connected, led_sets, line_of};
use crate::backup::Backups;
use crate::board::SetLine;
use crate::calls::{self, Method};
use crate::catalog::ClusterMap;
use crate::reach::{Reach, refused as refused_call};
use crate::set::Refused;
use crate::status::{
    CanStop, ClusterReply, ClusterRequest, ClusterStatus, NodeStatus, ReplicaStatus, SetStatus,
};
use crate::view::View;

/// An invited node answers within this time.
const INVITE_MAX: Duration = Duration::from_secs(5);
const CATALOG: SetId = SetId(0);

/// Carries requests of operators out. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Operator {
    pub(crate) cluster: u128,
    pub(crate) reach: Reach,
    pub(crate) view: View,
    pub(crate) backups: Backups,
}

impl Operator {
    /// Carries `request` out.
    ///
    /// # Errors
    ///
    /// Why the cluster refuses it, or that it has no leader.
    pub(crate) async fn carry_out(&self, request: ClusterRequest) -> Result<ClusterReply, Refused> {
        match request {
            ClusterRequest::Init { .. } => Err(refuse("this node belongs to a cluster already")),
            ClusterRequest::Status => Ok(ClusterReply::Status(self.status())),
            ClusterRequest::AddNode { address } => self.invite(&address).await,
            ClusterRequest::RemoveNode { node } => self.remove(node).await,
            ClusterRequest::ReplaceNode { node, with } => self.replace(node, with).await,
            ClusterRequest::Drain { node, undo } => {
                self.record(node)?;
                let is_draining = !undo;
                self.decide(CatalogCommand::NodeDrain { node, is_draining })
                    .await
            }
            ClusterRequest::CanStop { node } => Ok(ClusterReply::CanStop(self.can_stop(node)?)),
            ClusterRequest::TransferLeader { set, to } => {
                let payload = calls::encode_index(to);
                self.hand_over(set, payload).await?;
                Ok(ClusterReply::Done)
            }
            ClusterRequest::FinishUpgrade => self.finish_upgrade().await,
            ClusterRequest::Backup { folder } => {
                let taken = self.backups.take(&self.reach, &folder).await?;
                Ok(ClusterReply::Backup(taken))
            }
            ClusterRequest::Rebalance { dry_run } => {
                let moves = planner::leader_moves(&self.reach, &self.view);
                if !dry_run {
                    for one in &moves {
                        self.hand_over(one.set, calls::encode_index(one.to)).await?;
                    }
                }
                Ok(ClusterReply::Moves(moves))
            }
        }
    }

    /// Hands the lead of a set over, to whoever can take it.
    pub(crate) async fn give_up(&self, set: SetId) {
        if let Err(refused) = self.hand_over(set, calls::encode_index(0)).await {
            tracing::info!(%set, error = %refused, "nobody takes the lead over");
        }
    }

    async fn hand_over(&self, set: SetId, payload: Bytes) -> Result<(), Refused> {
        planner::hand_over(&self.reach, set, payload).await
    }

    async fn decide(&self, command: CatalogCommand) -> Result<ClusterReply, Refused> {
        let reply = self
            .reach
            .propose(CATALOG, Command::Catalog(command))
            .await?;
        match reply {
            Reply::Refused(refusal) => Err(refusal.into()),
            _ => Ok(ClusterReply::Done),
        }
    }

    async fn invite(&self, address: &str) -> Result<ClusterReply, Refused> {
        let directory = self.reach.directory();
        let nodes = directory.map().nodes.iter();
        let mine: Vec<&str> = nodes.map(|node| node.peer_address.as_str()).collect();
        let payload = Bytes::from(mine.join("\n"));
        let no_peers = || refuse("this node has no peer address: start it with --peer");
        let peers = self.reach.peers().ok_or_else(no_peers)?;
        let method = Method::Invite.number();
        let invited = peers
            .call_stranger(address, method, payload, INVITE_MAX)
            .await;
        invited.map_err(|error| refused_call(&error))?;
        Ok(ClusterReply::Done)
    }

    /// Raises what leaders may write to the newest that any node reads, when all nodes do. One that
    /// is away may have gone back to the release before.
    async fn finish_upgrade(&self) -> Result<ClusterReply, Refused> {
        self.reach.confirm(CATALOG).await?;
        let directory = self.reach.directory();
        let nodes = &directory.map().nodes;
        let nodes = nodes
            .iter()
            .filter(|node| node.state != NodeState::Replaced);
        let newest = nodes.clone().map(|node| node.format_version_max).max();
        let Some(format_version) = newest else {
            return Err(Refused::retry_after(ErrorCode::NoLeader, 500));
        };
        for node in nodes {
            let (id, release) = (node.node, &node.release);
            if node.format_version_max < format_version {
                let text = format!(
                    "node {id} runs release {release}, which reads format versions up to {} and \
                     not {format_version}: upgrade it first",
                    node.format_version_max
                );
                return Err(refuse(&text));
            }
            if !self.is_connected(id) {
                let text =
                    format!("node {id} is not connected: nobody knows which release it runs");
                return Err(refuse(&text));
            }
        }
        self.decide(CatalogCommand::ClusterFormat { format_version })
            .await
    }

    async fn remove(&self, node: u64) -> Result<ClusterReply, Refused> {
        // What is known here of nodes and sets may be old: no voter is judged away by that.
        self.reach.confirm(CATALOG).await?;
        let incarnation = self.record(node)?.incarnation;
        self.check_without(node, "removing")?;
        self.decide(CatalogCommand::NodeLeave { node, incarnation })
            .await
    }

    async fn replace(&self, node: u64, with: Option<u64>) -> Result<ClusterReply, Refused> {
        self.reach.confirm(CATALOG).await?;
        let record = self.record(node)?;
        if with.is_none() {
            self.check_lost(node)?;
        }
        self.check_without(node, "replacing")?;
        let incarnation = record.incarnation;
        match with {
            None => {
                self.decide(CatalogCommand::NodeReplaced { node, incarnation })
                    .await
            }
            Some(with) => {
                let fresh = self.record(with)?;
                if !self.is_connected(with) {
                    return Err(refuse(&format!("node {} is not connected", fresh.node)));
                }
                self.decide(CatalogCommand::NodeLeave { node, incarnation })
                    .await
            }
        }
    }

    /// Whether a folder may be given up: nobody is to lose one that serves. This node's own
    /// connection may be the only one that is down, so what the sets say counts as well.
    fn check_lost(&self, node: u64) -> Result<(), Refused> {
        if self.is_connected(node) {
            let text = format!("node {node} is connected: stop it, or remove it instead");
            return Err(refuse(&text));
        }
        for set in self.set_views() {
            set.check_lost(node).map_err(|text| refuse(&text))?;
        }
        Ok(())
    }

    fn record(&self, node: u64) -> Result<NodeRecord, Refused> {
        let directory = self.reach.directory();
        let record = directory.map().node(node).cloned();
        record.ok_or_else(|| refuse(&format!("the cluster does not know node {node}")))
    }

    fn is_connected(&self, node: u64) -> bool {
        is_connected(&self.reach, node)
    }

    /// Whether every set keeps a majority that is connected and sound when `node` is gone for good.
    /// A set whose leader is not known is not passed over.
    fn check_without(&self, node: u64, doing: &str) -> Result<(), Refused> {
        for set in self.set_views() {
            set.check_without(node, doing)
                .map_err(|text| refuse(&text))?;
        }
        Ok(())
    }

    fn set_views(&self) -> impl Iterator<Item = SetView> + '_ {
        let sets = self.reach.board.sets();
        sets.map(|set| SetView::new(&self.reach, &self.view, set))
    }

    fn can_stop(&self, node: u64) -> Result<CanStop, Refused> {
        self.record(node)?;
        Ok(can_stop(&self.reach, &self.view, node))
    }

    /// The cluster as this node sees it.
    pub(crate) fn status(&self) -> ClusterStatus {
        let directory = self.reach.directory();
        let map = directory.map();
        ClusterStatus {
            cluster: Some(self.cluster),
            format_version: map.cluster.as_ref().map(|cluster| cluster.format_version),
            this_node: self.reach.node,
            nodes: self.node_statuses(map),
            sets: self.set_statuses(),
        }
    }

    fn node_statuses(&self, map: &ClusterMap) -> Vec<NodeStatus> {
        let offsets = self.reach.clock_offsets_ms();
        let status = |record: &NodeRecord| NodeStatus {
            node: record.node,
            peer_address: record.peer_address.clone(),
            client_address: record.client_address.clone(),
            zone: record.zone.clone(),
            is_draining: record.is_draining,
            is_connected: self.is_connected(record.node),
            version: record.release.clone(),
            format_version_max: record.format_version_max,
            clock_offset_ms: offsets.get(&record.node).copied().unwrap_or(0),
        };
        map.nodes.iter().map(status).collect()
    }

    fn set_statuses(&self) -> Vec<SetStatus> {
        let known = led_sets(&self.reach, &self.view);
        let mut sets = Vec::new();
        for set in self.reach.board.sets() {
            let led = known.iter().find(|(led, _)| *led == set);
            let line = match led {
                Some((_, line)) => line.clone(),
                None => SetLine {
                    leader: None,
                    ..self.reach.board.line(set)
                },
            };
            let all: BTreeSet<u64> = line.voters.iter().chain(&line.learners).copied().collect();
            let replica = |node: u64| {
                let theirs = line_of(&self.reach, &self.view, node, set);
                ReplicaStatus {
                    node,
                    lag: theirs
                        .as_ref()
                        .map(|theirs| line.last_index.saturating_sub(theirs.last_index)),
                    is_suspect: theirs.is_some_and(|theirs| theirs.is_suspect),
                }
            };
            sets.push(SetStatus {
                set,
                leader: line.leader,
                term: line.term,
                applied_index: line.applied_index,
                replicas: all.into_iter().map(replica).collect(),
                voters: line.voters,
                learners: line.learners,
            });
        }
        sets
    }
}

fn refuse(text: &str) -> Refused {
    Refused {
        text: text.to_owned(),
        ..Refused::new(ErrorCode::ClusterRefused)
    }
}
