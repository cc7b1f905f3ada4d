//! Before anything is appended to a peer: has its log shrunk?
//!
//! openraft takes a follower at its word: what it confirmed once, it has. A follower whose folder
//! is an older copy breaks that without knowing. So whenever a connection is new, the peer is first
//! asked how far its log goes; if that is less than what it confirmed, it is told, becomes suspect,
//! and is brought back like any other suspect.
//!
//! And a fresh folder under an old id may have voted and not know it: for a leader of a later term,
//! who would remove what this one commits with its help. So nothing is sent to it before enough of
//! the others, who know what they voted, have said that they know of no later term.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use futures::future::join_all;
use openraft::type_config::async_runtime::WatchReceiver;
use sampan_protocol::SetId;

use super::trial::rank;
use crate::calls::{Method, Standing};
use crate::raft::network::AppendGuard;
use crate::raft::types::{SetRaft, to_stored};
use crate::reach::Reach;

/// The guard of one set. Clones are one.
#[derive(Clone)]
pub(crate) struct LogGuard {
    reach: Reach,
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    raft: OnceCell<SetRaft>,
    /// By node: the connection on which its log was found sound.
    checked: RefCell<BTreeMap<u64, u64>>,
    /// Nodes that are being asked.
    asking: RefCell<BTreeMap<u64, u64>>,
}

impl LogGuard {
    pub(crate) fn new(reach: Reach) -> Self {
        LogGuard {
            reach,
            inner: Rc::default(),
        }
    }

    /// The set that asks.
    pub(crate) fn bind(&self, raft: SetRaft) {
        // It is bound once, right after the set is made.
        drop(self.inner.raft.set(raft));
    }

    fn ask(&self, node: u64, set: SetId, connection: u64) {
        let Some(raft) = self.inner.raft.get().cloned() else {
            return;
        };
        if self.inner.asking.borrow_mut().insert(node, connection) == Some(connection) {
            return;
        }
        let guard = self.clone();
        tokio::task::spawn_local(async move {
            if guard.is_sound(&raft, node, set).await {
                guard.inner.checked.borrow_mut().insert(node, connection);
            }
            guard.inner.asking.borrow_mut().remove(&node);
        });
    }

    async fn is_sound(&self, raft: &SetRaft, node: u64, set: SetId) -> bool {
        // Looked up before the peer is asked, or its answer could be older.
        let confirmed = {
            let metrics = raft.data_metrics();
            let metrics = metrics.borrow_watched();
            let replication = metrics.replication.iter().flatten();
            let mut of_node = replication.filter(|(known, _)| **known == node);
            of_node
                .next()
                .and_then(|(_, matched)| matched.as_ref().map(to_stored))
        };
        let Some(standing) = self.standing(node, set).await else {
            return false;
        };
        if standing.has_forgotten() && !self.leads_beyond_doubt(raft, node, set).await {
            return false;
        }
        if rank(standing.last) >= rank(confirmed) {
            return true;
        }
        if !standing.is_suspect {
            tracing::error!(%set, node, ?confirmed, has = ?standing.last,
                "a replica has less than it confirmed");
            let told = self
                .reach
                .call(node, Some(set), Method::Suspect, Bytes::new());
            if told.await.is_err() {
                return false;
            }
        }
        // It starts over: openraft must not take what it confirmed before for granted.
        matches!(
            raft.trigger().allow_next_revert(&node, true).await,
            Ok(Ok(()))
        )
    }

    async fn standing(&self, node: u64, set: SetId) -> Option<Standing> {
        let call = self
            .reach
            .call(node, Some(set), Method::Standing, Bytes::new());
        Standing::decode(call.await.ok()?)
    }

    /// Whether no later leader can have been elected with a vote of `node`: of every majority that
    /// it could have helped to, somebody knows of no later term.
    async fn leads_beyond_doubt(&self, raft: &SetRaft, node: u64, set: SetId) -> bool {
        let (term, configurations) = {
            let metrics = raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            (
                metrics.vote.leader_id.term,
                membership.get_joint_config().to_vec(),
            )
        };
        let voters: BTreeSet<u64> = configurations.iter().flatten().copied().collect();
        let others = voters.into_iter().filter(|other| *other != node);
        let asked = others.map(|other| async move {
            match other == self.reach.node {
                true => Some((other, term)),
                false => {
                    let standing = self.standing(other, set).await?;
                    (!standing.has_forgotten()).then_some((other, standing.term))
                }
            }
        });
        let known: BTreeMap<u64, u64> = join_all(asked).await.into_iter().flatten().collect();
        let is_led = raft.server_metrics().borrow_watched().vote.leader_id.term == term;
        is_led
            && configurations
                .iter()
                .all(|voters| is_beyond_doubt(voters, &known, term))
    }
}

/// Whether of those who `known` the terms of there are enough, none of them later than `term`.
fn is_beyond_doubt(voters: &BTreeSet<u64>, known: &BTreeMap<u64, u64>, term: u64) -> bool {
    let terms = voters.iter().filter_map(|node| known.get(node));
    let majority = voters.len() / 2 + 1;
    known.values().all(|known| *known <= term) && terms.count() > voters.len() - majority
}

impl AppendGuard for LogGuard {
    fn may_append(&self, node: u64, set: SetId) -> bool {
        let Some(peers) = self.reach.peers() else {
            return false;
        };
        let Some(connection) = peers.link(node).connection_number() else {
            return false;
        };
        if self.inner.checked.borrow().get(&node) == Some(&connection) {
            return true;
        }
        self.ask(node, set, connection);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_majority_with_the_forgetful_one_must_have_somebody_who_knows() {
        let voters = |count| (1..=count).collect::<BTreeSet<u64>>();
        let known = |terms: &[(u64, u64)]| terms.iter().copied().collect::<BTreeMap<_, _>>();
        // Node 3 of three has forgotten: with it, either of the others is a majority.
        assert!(!is_beyond_doubt(&voters(3), &known(&[(1, 4)]), 4));
        assert!(is_beyond_doubt(&voters(3), &known(&[(1, 4), (2, 3)]), 4));
        assert!(!is_beyond_doubt(&voters(3), &known(&[(1, 4), (2, 5)]), 4));
        // Of two, the other is in every majority.
        assert!(is_beyond_doubt(&voters(2), &known(&[(1, 4)]), 4));
        // Of five, two of the four others are enough for a majority.
        assert!(!is_beyond_doubt(&voters(5), &known(&[(1, 4), (2, 4)]), 4));
        assert!(is_beyond_doubt(
            &voters(5),
            &known(&[(1, 4), (2, 4), (3, 1)]),
            4
        ));
    }
}
