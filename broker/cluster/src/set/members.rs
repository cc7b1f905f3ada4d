//! Who votes in a set: changes of its membership, and hand-overs of its leadership.
//!
//! A change comes in small steps, each safe by itself, and whoever wants it asks again until it is
//! done: new members follow first, vote once they have caught up, and only then do others go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::type_config::async_runtime::WatchReceiver;
use openraft::{BasicNode, ChangeMembers, ServerState};
use sampan_protocol::ErrorCode;
use tokio::sync::oneshot;

use super::replica::Replica;
use super::request::{Refused, SetRequest};
use crate::calls::Members;
use crate::members::{could_lead, has_wrong_clock};
use crate::raft::types::Membership;

/// A learner that is at most so many entries behind may vote.
const LAG_OF_VOTER_MAX: u64 = 2_048;
/// A hand-over that takes longer has failed; an election follows by itself.
const HAND_OVER_MAX: Duration = Duration::from_secs(2);
/// What is on its way has this long to come back before a hand-over.
const HOLD_MAX: Duration = Duration::from_millis(500);
/// A change of membership that takes longer is looked at again later.
const CHANGE_MAX: Duration = Duration::from_secs(5);

/// Takes the next step towards `wanted`, or none when everything is as wanted.
///
/// # Errors
///
/// Why the step could not be taken now; asking again later is always right.
pub(super) async fn change(replica: &Replica, wanted: Members) -> Result<(), Refused> {
    if !replica.leads() {
        return Err(Refused::retry_after(ErrorCode::NotLeader, 100));
    }
    let membership = {
        let metrics = replica.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().clone()
    };
    let Some(step) = next_step(replica, &membership, &wanted)? else {
        return Ok(());
    };
    tracing::info!(set = %replica.set, ?step, "membership changes");
    let changed = replica.raft.change_membership(step, true);
    match tokio::time::timeout(CHANGE_MAX, changed).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(not_now(&error.to_string())),
        Err(_) => Err(not_now("the change takes long")),
    }
}

type Step = ChangeMembers<u64, BasicNode>;

fn next_step(
    replica: &Replica,
    membership: &Membership,
    wanted: &Members,
) -> Result<Option<Step>, Refused> {
    let known: BTreeSet<u64> = membership.nodes().map(|(node, _)| *node).collect();
    let voters: BTreeSet<u64> = membership.voter_ids().collect();
    let wanted_voters: BTreeSet<u64> = wanted.voters.iter().copied().collect();
    let wanted_all: BTreeSet<u64> = wanted_voters
        .iter()
        .chain(&wanted.learners)
        .copied()
        .collect();
    let missing: BTreeMap<u64, BasicNode> = wanted_all
        .difference(&known)
        .map(|node| (*node, BasicNode::default()))
        .collect();
    if !missing.is_empty() {
        return Ok(Some(ChangeMembers::AddNodes(missing)));
    }
    let is_joint = membership.get_joint_config().len() > 1;
    if voters != wanted_voters || is_joint {
        let mut new = wanted_voters.difference(&voters);
        if let Some(node) = new.find(|node| !has_caught_up(replica, **node)) {
            return Err(not_now(&format!("node {node} is still catching up")));
        }
        if !wanted_voters.contains(&replica.node) {
            return Err(not_now("the leader itself is to go: hand over first"));
        }
        return Ok(Some(ChangeMembers::ReplaceAllVoters(wanted_voters)));
    }
    let surplus: BTreeSet<u64> = known.difference(&wanted_all).copied().collect();
    Ok((!surplus.is_empty()).then_some(ChangeMembers::RemoveNodes(surplus)))
}

fn not_now(text: &str) -> Refused {
    Refused {
        text: text.to_owned(),
        ..Refused::retry_after(ErrorCode::ClusterRefused, 500)
    }
}

/// Whether a learner has nearly all of the leader's log.
fn has_caught_up(replica: &Replica, node: u64) -> bool {
    let metrics = replica.raft.data_metrics();
    let metrics = metrics.borrow_watched();
    let last = metrics.last_log.as_ref().map_or(0, |id| id.index);
    let Some(replication) = &metrics.replication else {
        return false;
    };
    let matched = replication.iter().find(|(known, _)| **known == node);
    let matched = matched.and_then(|(_, matched)| matched.as_ref());
    matched.is_some_and(|matched| matched.index + LAG_OF_VOTER_MAX >= last)
}

/// Hands leadership over to `to`, or to the voter that is closest. Returns when it has left.
///
/// # Errors
///
/// When there is nobody to take it, or nobody took it in time.
pub(super) async fn hand_over(replica: &Replica, to: Option<u64>) -> Result<(), Refused> {
    if !replica.leads() {
        return Err(Refused::retry_after(ErrorCode::NotLeader, 100));
    }
    let heirs = heirs(replica);
    let heir = match to {
        Some(to) => heirs.iter().find(|heir| **heir == to),
        None => heirs.first(),
    };
    let nobody = || {
        not_now(
            "no other voter is connected, sound, with room, the right time and close to the \
             leader's log",
        )
    };
    let heir = *heir.ok_or_else(nobody)?;
    hold(replica).await?;
    let stopped = |_| Refused::new(ErrorCode::ShuttingDown);
    let transferred = replica.raft.trigger().transfer_leader(heir).await;
    transferred.map_err(stopped)?;
    let mut metrics = replica.raft.server_metrics();
    let left = metrics.wait_until(|metrics| {
        metrics.state != ServerState::Leader && metrics.current_leader.is_some()
    });
    match tokio::time::timeout(HAND_OVER_MAX, left).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(Refused::new(ErrorCode::ShuttingDown)),
        Err(_) => Err(not_now("nobody took the lead over in time")),
    }
}

/// Returns when nothing is on its way in the set, or after a moment.
async fn hold(replica: &Replica) -> Result<(), Refused> {
    let (idle, is_idle) = oneshot::channel();
    replica.handle.request(SetRequest::Hold(idle)).await?;
    // What does not come back in time is cut off, as in a failover.
    drop(tokio::time::timeout(HOLD_MAX, is_idle).await);
    Ok(())
}

/// The other voters that could lead, the closest first; those that are draining last.
fn heirs(replica: &Replica) -> Vec<u64> {
    let voters: Vec<u64> = {
        let metrics = replica.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().voter_ids().collect()
    };
    let matched: BTreeMap<u64, u64> = {
        let metrics = replica.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.iter().flatten();
        replication
            .filter_map(|(node, matched)| Some((*node, matched.as_ref()?.index)))
            .collect()
    };
    let directory = replica.reach.directory();
    let is_draining = |node: u64| {
        let record = directory.map().node(node);
        record.is_some_and(|record| record.is_draining)
    };
    let offsets_ms = replica.reach.clock_offsets_ms();
    let is_heir = |node: &u64| {
        let is_connected = replica
            .reach
            .peers()
            .is_some_and(|peers| peers.is_connected(*node));
        let line = replica.view.line_of(*node, replica.set);
        is_connected
            && line.is_some_and(|line| could_lead(&line))
            && !has_wrong_clock(&offsets_ms, *node)
            && has_caught_up(replica, *node)
    };
    let mut heirs: Vec<u64> = voters
        .into_iter()
        .filter(|node| *node != replica.node)
        .filter(is_heir)
        .collect();
    heirs.sort_by_key(|node| {
        let matched = matched.get(node).copied().unwrap_or(0);
        (is_draining(*node), std::cmp::Reverse(matched))
    });
    heirs
}
