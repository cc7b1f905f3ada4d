//! A suspect replica without a leader: what it takes to elect one all the same.
//!
//! Suspects grant no vote. When so many are suspect that the others are no majority (the whole
//! cluster lost power), nobody could ever be elected. Then an election needs all voters: if every
//! one of them answers, nothing that any of them has can be missed, and the one with the longest
//! log may lead; each suspect votes for a candidate whose log is as long as the longest it was told
//! of. While a voter is missing there is no leader; an operator may override that (`--trust-log`).
//! Voters are also those that only [`crate::suspicion::HardState`] remembers.
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
    /// Whether a vote may be granted to the sender of `payload` by a suspect with this standing.
    pub(super) fn may_grant(&self, payload: &Bytes, own: Standing) -> bool {
        if own.has_forgotten() {
            return false;
        }
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
            let asked = ask_all(&replica).await;
            trial.inner.borrow_mut().is_asking = false;
            if let Some(asked) = asked {
                trial.on_standings(&replica, &asked).await;
            }
        });
    }

    async fn on_standings(&self, replica: &Replica, asked: &Asked) {
        if asked.can_do_without_suspects() {
            // They can elect a leader, and it will absolve this one.
            return;
        }
        let longest = asked.longest();
        self.inner.borrow_mut().longest = Some((Instant::now(), longest));
        if asked.candidate() != Some(replica.node) {
            return;
        }
        let set = replica.set;
        tracing::warn!(%set, "all voters are here and most are suspect: the longest log leads");
        if let Err(error) = replica.raft.trigger().elect(true).await {
            tracing::error!(%set, %error, "the set has stopped");
        }
    }
}

/// What all voters said.
struct Asked {
    /// The configurations of this replica's log, each of which needs a majority.
    configurations: Vec<BTreeSet<u64>>,
    /// By node; also of voters that the log does not know of.
    standings: Vec<(u64, Standing)>,
}

impl Asked {
    /// Whether those who are not suspect are a majority, by every configuration.
    fn can_do_without_suspects(&self) -> bool {
        let all: BTreeSet<u64> = self.standings.iter().map(|(node, _)| *node).collect();
        let is_sound = |node: &&u64| {
            let mut sound = self.standings.iter().filter(|(_, found)| !found.is_suspect);
            sound.any(|(sound, _)| sound == *node)
        };
        let mut all = self.configurations.iter().chain([&all]);
        all.all(|voters| voters.iter().filter(is_sound).count() > voters.len() / 2)
    }

    fn longest(&self) -> Option<LogId> {
        let logs = self.standings.iter().map(|(_, standing)| standing.last);
        logs.max_by_key(|last| rank(*last)).flatten()
    }

    /// The first voter of the log with the longest log, if it knows what it voted.
    fn candidate(&self) -> Option<u64> {
        let longest = rank(self.longest());
        let is_voter = |node: u64| {
            self.configurations
                .iter()
                .any(|voters| voters.contains(&node))
        };
        let mut candidates = self.standings.iter().filter(|(node, standing)| {
            is_voter(*node) && rank(standing.last) == longest && !standing.has_forgotten()
        });
        candidates.next().map(|(node, _)| *node)
    }
}

/// Logs compare by the term of their last entry, then by its index.
pub(super) fn rank(last: Option<LogId>) -> Option<(u64, u64)> {
    last.map(|id| (id.term, id.index))
}

/// The standings of all voters; `None` when one did not answer.
async fn ask_all(replica: &Replica) -> Option<Asked> {
    let (voters, configurations) = {
        let metrics = replica.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let stored = &metrics.membership_config;
        let voters = Voters::of(stored.log_id().as_ref(), stored.membership());
        (voters, stored.membership().get_joint_config().to_vec())
    };
    if !voters.nodes().contains(&replica.node) {
        return None;
    }
    // What is left of the log may name fewer than there are.
    let hard_state = replica.suspicion.hard_state();
    let known = hard_state.newer_than(replica.set, &voters);
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
    Some(Asked {
        configurations,
        standings: standings.into_iter().collect::<Option<_>>()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(index: u64) -> Standing {
        let last = LogId {
            term: 4,
            node: 0,
            index,
        };
        Standing {
            last: Some(last),
            is_suspect: false,
            term: 4,
        }
    }

    fn suspect(index: u64) -> Standing {
        Standing {
            is_suspect: true,
            ..sound(index)
        }
    }

    fn asked(configurations: &[&[u64]], standings: &[(u64, Standing)]) -> Asked {
        let set = |voters: &&[u64]| voters.iter().copied().collect();
        Asked {
            configurations: configurations.iter().map(set).collect(),
            standings: standings.to_vec(),
        }
    }

    #[test]
    fn a_majority_of_sound_voters_is_one_by_every_configuration() {
        let standings = [(1, suspect(9)), (2, sound(9)), (3, sound(9))];
        assert!(asked(&[&[1, 2, 3]], &standings).can_do_without_suspects());
        // Without the suspect there is no majority of the old configuration.
        assert!(!asked(&[&[1, 2], &[1, 2, 3]], &standings).can_do_without_suspects());
        assert!(!asked(&[&[1, 2]], &standings).can_do_without_suspects());
    }

    #[test]
    fn the_longest_log_of_a_voter_that_knows_its_vote_leads() {
        let standings = [(1, suspect(9)), (2, suspect(12)), (3, suspect(12))];
        assert_eq!(asked(&[&[1, 2, 3]], &standings).candidate(), Some(2));
        assert_eq!(asked(&[&[1, 3]], &standings).candidate(), Some(3));
        assert_eq!(asked(&[&[1]], &standings).candidate(), None);
        let mut forgetful = standings;
        forgetful[1].1.term = 0;
        assert_eq!(asked(&[&[1, 2, 3]], &forgetful).candidate(), Some(3));
    }
}
