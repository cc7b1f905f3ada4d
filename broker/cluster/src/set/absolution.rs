//! The leader's side of suspicion: brings suspect replicas back to where it is, and says so.
//!
//! A suspect replica may have confirmed entries that it no longer has. The leader lets it start
//! over (openraft would take its log for sound), remembers where its own log ended when it heard of
//! the suspicion, and absolves the replica once that has arrived there. Before it does, a majority
//! of replicas that are not suspect must have answered the leader, or all voters: without that, a
//! second leader could hold a vote that the suspect has forgotten.

use std::collections::{BTreeMap, BTreeSet};

use openraft::type_config::async_runtime::{Instant, WatchReceiver};

use super::replica::Replica;
use crate::calls::{Absolution, Method};
use crate::raft::types::RaftInstant;

/// The suspects that a leader knows of.
#[derive(Default)]
pub(super) struct Absolutions {
    noticed: BTreeMap<u64, Noticed>,
}

/// When the leader heard of a suspicion, and where its log ended then.
#[derive(Clone, Copy)]
struct Noticed {
    at: RaftInstant,
    /// The connection to it, by number.
    connection: u64,
    absolution: Absolution,
}

impl Absolutions {
    /// Nobody is absolved by a node that does not lead.
    pub(super) fn clear(&mut self) {
        self.noticed.clear();
    }

    /// Looks at all replicas, and absolves those that can be.
    pub(super) fn look_after(&mut self, replica: &Replica) {
        let (term, nodes, configurations) = {
            let metrics = replica.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            let nodes: Vec<u64> = membership.nodes().map(|(node, _)| *node).collect();
            let configurations = membership.get_joint_config().to_vec();
            (metrics.vote.leader_id.term, nodes, configurations)
        };
        let suspects: Vec<u64> = nodes
            .into_iter()
            .filter(|node| is_suspect(replica, *node))
            .collect();
        for node in self.no_longer(&suspects) {
            allow_revert(replica, node, false);
        }
        if suspects.contains(&replica.node) {
            // It was elected by all voters, with the longest log: nobody can bring it more.
            let replica = replica.clone();
            tokio::task::spawn_local(async move { drop(replica.absolve().await) });
        }
        for node in suspects.into_iter().filter(|node| *node != replica.node) {
            let Some(connection) = connection_to(replica, node) else {
                continue;
            };
            // It may have been started again since, and have lost more; or somebody else has led.
            let is_old = |noticed: &Noticed| {
                noticed.connection != connection || noticed.absolution.term != term
            };
            if self.noticed.get(&node).is_some_and(is_old) {
                self.noticed.remove(&node);
            }
            let noticed = self.noticed.entry(node).or_insert_with(|| {
                allow_revert(replica, node, true);
                Noticed {
                    at: RaftInstant::now(),
                    connection,
                    absolution: Absolution {
                        term,
                        last: replica.standing().last,
                    },
                }
            });
            if is_heard_since(replica, &configurations, noticed.at) {
                absolve(replica, node, noticed.absolution);
            }
        }
    }

    fn no_longer(&mut self, suspects: &[u64]) -> Vec<u64> {
        let gone: Vec<u64> = self.noticed.keys().copied().collect();
        let gone: Vec<u64> = gone
            .into_iter()
            .filter(|node| !suspects.contains(node))
            .collect();
        for node in &gone {
            self.noticed.remove(node);
        }
        gone
    }
}

fn is_suspect(replica: &Replica, node: u64) -> bool {
    if node == replica.node {
        return replica.suspicion.is_suspect(replica.set);
    }
    let line = replica.view.line_of(node, replica.set);
    line.is_some_and(|line| line.is_suspect)
}

fn connection_to(replica: &Replica, node: u64) -> Option<u64> {
    replica.reach.peers()?.link(node).connection_number()
}

/// Whether, by every configuration, a majority of voters that are not suspect has answered since
/// `at`, or all voters have.
fn is_heard_since(replica: &Replica, configurations: &[BTreeSet<u64>], at: RaftInstant) -> bool {
    let metrics = replica.raft.data_metrics();
    let metrics = metrics.borrow_watched();
    let Some(heartbeats) = &metrics.heartbeat else {
        return false;
    };
    let has_answered = |node: u64| {
        let acked = heartbeats.iter().find(|(acked, _)| **acked == node);
        let acked = acked.and_then(|(_, acked)| *acked);
        node == replica.node || acked.is_some_and(|acked| *acked > at)
    };
    configurations.iter().all(|voters| {
        let answered: Vec<u64> = voters
            .iter()
            .copied()
            .filter(|node| has_answered(*node))
            .collect();
        let sound = answered.iter().filter(|node| !is_suspect(replica, **node));
        sound.count() > voters.len() / 2 || answered.len() == voters.len()
    })
}

fn absolve(replica: &Replica, node: u64, absolution: Absolution) {
    let (reach, set) = (replica.reach.clone(), replica.set);
    tokio::task::spawn_local(async move {
        let answer = reach
            .call(node, Some(set), Method::Absolve, absolution.encode())
            .await;
        match answer {
            Ok(_) => tracing::info!(%set, node, "a suspect replica has everything again"),
            Err(refused) => tracing::debug!(%set, node, error = %refused, "not absolved yet"),
        }
    });
}

fn allow_revert(replica: &Replica, node: u64, allow: bool) {
    let (raft, set) = (replica.raft.clone(), replica.set);
    tokio::task::spawn_local(async move {
        match raft.trigger().allow_next_revert(&node, allow).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%set, node, %error, "replication not begun anew"),
            Err(error) => tracing::debug!(%set, node, %error, "the set has stopped"),
        }
    });
}
