//! A suspect replica without a leader: what it takes to elect one all the same.
//!
//! Suspects grant no vote. When so many are suspect that the others are no majority (the whole
//! cluster lost power), nobody could ever be elected. Then an election needs all voters: if every
//! one of them answers, nothing that any of them has can be missed, and the one with the longest
//! log may lead; each suspect votes for a candidate whose log is as long as the longest it was told
//! of. While a voter is missing there is no leader; an operator may override that (`--trust-log`).
//! Voters are also those that only [`crate::suspicion::KnownVoters`] remembers.
//!
//! Spec: spec/storage.md, "Suspect replicas".

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use openraft::type_config::async_runtime::WatchReceiver;
use sampan_protocol::SetId;
use sampan_storage::log::{Log, LogId};
use tokio::time::Instant;

use super::replica::Replica;
use crate::calls::{Method, Standing};
use crate::members::leader_line;
use crate::peer::CallError;
use crate::raft::network::{candidate_log, encode_denial};
use crate::raft::payload::LogPayload;
use crate::raft::types::{SetRaft, from_stored, to_stored};
use crate::suspicion::Voters;

/// What all voters said is used for this long.
const FINDING_AGE_MAX: Duration = Duration::from_secs(3);
/// Pause between two rounds of asking.
const ROUND_PAUSE: Duration = Duration::from_millis(400);

/// What this replica knows of the other voters' logs. Clones are one.
#[derive(Clone, Default)]
pub(super) struct Trial {
    inner: Rc<RefCell<Inner>>,
}

#[derive(Default)]
struct Inner {
    is_asking: bool,
    asked_at: Option<Instant>,
    /// The longest log of all voters, once all have answered and most were suspect.
    longest: Option<(Instant, Option<LogId>)>,
}

impl Trial {
    /// Whether a vote may be granted to the sender of `payload`.
    pub(super) fn may_grant(&self, payload: &Bytes) -> bool {
        let Some((at, longest)) = self.inner.borrow().longest else {
            return false;
        };
        let Some(theirs) = candidate_log(payload.clone()) else {
            return false;
        };
        let theirs = theirs.as_ref().map(to_stored);
        at.elapsed() < FINDING_AGE_MAX && rank(theirs) >= rank(longest)
    }

    /// The answer of a replica that grants no vote.
    pub(super) fn deny(
        &self,
        raft: &SetRaft,
        log: &Log<LogPayload>,
        set: SetId,
    ) -> Result<Bytes, CallError> {
        let vote = {
            let metrics = raft.server_metrics();
            metrics.borrow_watched().vote
        };
        let state = log.state(set);
        let last = state.last.or(state.purged).map(from_stored);
        tracing::debug!(%set, "a suspect replica was asked for its vote");
        Ok(encode_denial(&vote, last))
    }

    /// Asks all voters, unless a leader is known or a round is under way.
    pub(super) fn look_after(&self, replica: &Replica) {
        let mut inner = self.inner.borrow_mut();
        let is_recent = inner.asked_at.is_some_and(|at| at.elapsed() < ROUND_PAUSE);
        let has_leader = leader_line(&replica.reach, &replica.view, replica.set).is_some();
        if inner.is_asking || is_recent || has_leader {
            return;
        }
        inner.is_asking = true;
        inner.asked_at = Some(Instant::now());
        drop(inner);
        let (trial, replica) = (self.clone(), replica.clone());
        tokio::task::spawn_local(async move {
            let standings = ask_all(&replica).await;
            trial.inner.borrow_mut().is_asking = false;
            if let Some(standings) = standings {
                trial.on_standings(&replica, &standings).await;
            }
        });
    }

    async fn on_standings(&self, replica: &Replica, standings: &[(u64, Standing)]) {
        let sound = standings
            .iter()
            .filter(|(_, standing)| !standing.is_suspect);
        if sound.count() > standings.len() / 2 {
            // They can elect a leader, and it will absolve this one.
            return;
        }
        let longest = standings
            .iter()
            .map(|(_, standing)| standing.last)
            .max_by_key(|last| rank(*last))
            .flatten();
        self.inner.borrow_mut().longest = Some((Instant::now(), longest));
        let candidate = standings
            .iter()
            .find(|(_, standing)| rank(standing.last) == rank(longest));
        if candidate.is_none_or(|(node, _)| *node != replica.node) {
            return;
        }
        let set = replica.set;
        tracing::warn!(%set, "all voters are here and most are suspect: the longest log leads");
        if let Err(error) = replica.raft.trigger().elect(true).await {
            tracing::error!(%set, %error, "the set has stopped");
        }
    }
}

/// Logs compare by the term of their last entry, then by its index.
fn rank(last: Option<LogId>) -> Option<(u64, u64)> {
    last.map(|id| (id.term, id.index))
}

/// The standings of all voters by node; `None` when one did not answer.
async fn ask_all(replica: &Replica) -> Option<Vec<(u64, Standing)>> {
    let voters = {
        let metrics = replica.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let stored = &metrics.membership_config;
        Voters::of(stored.log_id().as_ref(), stored.membership())
    };
    if !voters.nodes().contains(&replica.node) {
        return None;
    }
    // What is left of the log may name fewer than there are.
    let known = replica.suspicion.voters().newer_than(replica.set, &voters);
    let known = known.as_ref().map(Voters::nodes).into_iter().flatten();
    let voters: BTreeSet<u64> = voters.nodes().iter().chain(known).copied().collect();
    let ask = voters.into_iter().map(|node| async move {
        if node == replica.node {
            return Some((node, replica.standing()));
        }
        let call = replica
            .reach
            .call(node, Some(replica.set), Method::Standing, Bytes::new());
        Some((node, Standing::decode(call.await.ok()?)?))
    });
    let standings = futures::future::join_all(ask).await;
    standings.into_iter().collect()
}
