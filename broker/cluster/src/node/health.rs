//! Whether a node can do its work, and the figures it gives to monitoring.

use std::collections::BTreeMap;

use sampan_protocol::{QueueId, SetId};
use sampan_storage::log::LogError;
use tokio::sync::oneshot;

use super::Node;
use crate::board::{Board, Role};
use crate::members::{can_stop, leader_line};
use crate::set::{CountsOfSet, SetRequest};
use crate::status::{Health, LogMetrics, NodeMetrics, QueueMetrics, SetMetrics};

impl Node {
    /// Whether the process can go on: its log and stores take writes, and its sets run. What else
    /// there is gets right by itself; these only when they are opened again.
    pub fn live(&self) -> Health {
        let Some(member) = &self.member else {
            return Health::Yes;
        };
        let mut reasons = Vec::new();
        match member.log.check_room() {
            Ok(()) | Err(LogError::Full) => {}
            Err(error) => reasons.push(error.to_string()),
        }
        let board = &member.reach.board;
        let faults = board.sets().filter_map(|set| fault_text(board, set));
        reasons.extend(faults);
        health(&reasons)
    }

    /// Whether every set here has a leader, and every replica here is one that can be counted on.
    /// A replica at fault is not: messages that lie on its disk cannot be read there.
    pub fn ready(&self) -> Health {
        let Some(member) = &self.member else {
            return Health::No("this node belongs to no cluster yet".to_owned());
        };
        let mut reasons = Vec::new();
        for set in member.reach.board.sets() {
            let line = member.reach.board.line(set);
            if let Some(fault) = fault_text(&member.reach.board, set) {
                reasons.push(fault);
                continue;
            }
            let is_member = line.role != Role::Stopped
                && (line.voters.contains(&self.id) || line.learners.contains(&self.id));
            if !is_member {
                continue;
            }
            match leader_line(&member.reach, &member.view, set) {
                None => reasons.push(format!("set {set} has no leader")),
                Some(_) if line.is_suspect => {
                    reasons.push(format!("set {set} here is being brought back"));
                }
                Some(leader) => {
                    let last = leader.last_index;
                    if line.applied_index + LAG_OF_READY_MAX < last {
                        reasons.push(format!(
                            "set {set} here is {} entries behind",
                            last - line.applied_index
                        ));
                    }
                }
            }
        }
        if !member.reach.directory().is_known() {
            reasons.push("the catalog is not known here yet".to_owned());
        }
        health(&reasons)
    }

    /// Whether every set keeps its majority while this node is stopped.
    pub fn quorum(&self) -> Health {
        let Some(member) = &self.member else {
            return Health::Yes;
        };
        let answer = can_stop(&member.reach, &member.view, self.id);
        match answer.can_stop {
            true => Health::Yes,
            false => Health::No(answer.reason),
        }
    }

    /// The node's figures now.
    pub async fn metrics(&self) -> NodeMetrics {
        let Some(member) = &self.member else {
            return NodeMetrics::default();
        };
        let stats = member.log.stats();
        NodeMetrics {
            sets: self.set_metrics(),
            queues: self.queue_metrics().await,
            log: LogMetrics {
                appended_len: stats.appended_len,
                sync_count: stats.sync_count,
                sync_micros: stats.sync_times.total_micros,
                used_len: stats.used_len,
            },
            state_hash_mismatch_count: member.view.mismatch_count(),
            clock_offset_ms: self.time.own_offset_ms(),
            damaged_body_count: member.repairer.damaged_count(),
            repaired_body_count: member.repairer.repaired_count(),
        }
    }

    fn set_metrics(&self) -> Vec<SetMetrics> {
        let Some(member) = &self.member else {
            return Vec::new();
        };
        let metrics = member.reach.board.sets().map(|set| {
            let line = member.reach.board.line(set);
            let theirs = line
                .leader
                .and_then(|leader| member.view.line_of(leader, set));
            let last = theirs.map_or(line.last_index, |line| line.last_index);
            SetMetrics {
                set,
                role: line.role.text(),
                term: line.term,
                applied_index: line.applied_index,
                lag: last.max(line.last_index).saturating_sub(line.applied_index),
                is_suspect: member.suspicion.is_suspect(set),
                overlay_len: line.overlay_len,
                checkpoint_begun_ms: line.checkpoint.begun_ms,
                checkpoint_ended_ms: line.checkpoint.ended_ms,
            }
        });
        metrics.collect()
    }

    async fn queue_metrics(&self) -> Vec<QueueMetrics> {
        let Some(member) = &self.member else {
            return Vec::new();
        };
        let directory = member.reach.directory();
        let names: BTreeMap<QueueId, &str> = directory
            .routes()
            .map(|route| (route.queue, route.name.as_str()))
            .collect();
        let mut queues = Vec::new();
        for handle in self.sets() {
            let (done, answer) = oneshot::channel();
            if handle.request(SetRequest::Counts(done)).await.is_err() {
                continue;
            }
            let Ok(CountsOfSet {
                leads: true,
                now,
                queues: counts,
            }) = answer.await
            else {
                continue;
            };
            for (queue, counts) in counts {
                if let Some(name) = names.get(&queue) {
                    queues.push(QueueMetrics {
                        name: (*name).to_owned(),
                        set: handle.set(),
                        counts,
                        now,
                    });
                }
            }
        }
        queues
    }
}

/// A replica this close to its leader's log serves.
const LAG_OF_READY_MAX: u64 = 10_000;

/// What is wrong with the replica of `set` here, if only a restart helps.
fn fault_text(board: &Board, set: SetId) -> Option<String> {
    let fault = board.line(set).fault?;
    Some(format!("set {set} here {}", fault.text()))
}

fn health(reasons: &[String]) -> Health {
    match reasons {
        [] => Health::Yes,
        reasons => Health::No(reasons.join("; ")),
    }
}
