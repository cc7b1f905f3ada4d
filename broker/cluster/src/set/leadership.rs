//! Whether this node leads the set, what it answers when it does not, and what it says of itself.
//!
//! A node leads when openraft says so, when it has applied an entry of its own term (so that the
//! set's state and time are all there), and while a majority answers it. A leader that a majority
//! no longer hears takes nothing in: another one may lead already.
//!
//! After an error that openraft does not outlive, its server metrics stay as they were for ever; so
//! whether it still runs is asked apart, and comes first. A leader that is at fault says that it
//! has no room, which makes the replica's task hand over.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use openraft::ServerState;
use openraft::type_config::async_runtime::{Instant, WatchReceiver};
use sampan_protocol::ErrorCode;
use tokio::sync::Notify;

use super::driver::Driver;
use super::request::Refused;
use crate::board::{Fault, Role, SetLine};
use crate::clock::SetClock;
use crate::raft::types::SetRaft;

/// Advice to a client that found no leader, in milliseconds. A hand-over takes less; in an outage
/// clients pause longer by themselves.
pub(super) const NO_LEADER_RETRY_MS: u32 = 20;
/// A leader that a majority has not answered for this long refuses what it is asked.
const QUORUM_SILENCE_MAX: Duration = Duration::from_millis(1_000);
/// A leader that was just elected is ready within this time, or asks clients to look elsewhere.
const TAKE_OVER_MAX_MS: u64 = 300;
/// The set's line on the board is written this often at most, but for a change of leadership.
const PUBLISH_INTERVAL_MS: u64 = 100;

/// What the driver remembers between two looks at openraft.
pub(super) struct Leadership {
    /// Set when openraft's server metrics changed, or something else that is to be published.
    pub(super) changed: Rc<Cell<bool>>,
    /// Set when nobody is left who could change them.
    is_over: Rc<Cell<bool>>,
    /// openraft has ended.
    is_stopped: bool,
    /// As it was said last.
    fault: Option<Fault>,
    published_at_ms: u64,
    /// The term in which openraft last made this node the leader, and when that was seen.
    elected: Option<(u64, u64)>,
}

impl Leadership {
    pub(super) fn watch(raft: &SetRaft, wake: Rc<Notify>) -> Self {
        let changed = Rc::new(Cell::new(true));
        let is_over = Rc::new(Cell::new(false));
        let (flag, over, mut metrics) = (changed.clone(), is_over.clone(), raft.server_metrics());
        tokio::task::spawn_local(async move {
            while metrics.changed().await.is_ok() {
                flag.set(true);
                wake.notify_one();
            }
            over.set(true);
            flag.set(true);
            wake.notify_one();
        });
        Leadership {
            changed,
            is_over,
            is_stopped: false,
            fault: None,
            published_at_ms: 0,
            elected: None,
        }
    }

    /// Looks whether openraft has ended: by an error, or by a panic, which leaves no word.
    fn look(&mut self, raft: &SetRaft) {
        let has_failed = raft.metrics().borrow_watched().running_state.is_err();
        self.is_stopped = has_failed || self.is_over.get();
    }
}

impl Driver {
    /// Why nothing can be proposed now.
    pub(super) fn refusal(&self) -> Option<Refused> {
        if self.is_draining() {
            return Some(Refused::new(ErrorCode::ShuttingDown));
        }
        let is_refused = self.clock.is_none() && !self.is_between_leaders();
        is_refused.then(|| self.no_leader())
    }

    /// Whether leadership was just handed over and nobody is known to have it yet, or this node is
    /// about to have it: what comes now waits for that moment.
    fn is_between_leaders(&self) -> bool {
        let now_ms = self.time.read().monotonic_ms;
        let is_handed_over =
            !self.leadership.is_stopped && self.hold.is_on(now_ms) && self.other_leader().is_none();
        let is_elected = self.leadership.elected.is_some_and(|(term, at_ms)| {
            self.elected_term() == Some(term) && now_ms < at_ms + TAKE_OVER_MAX_MS
        });
        is_handed_over || is_elected
    }

    /// The term in which openraft takes this node for the leader.
    fn elected_term(&self) -> Option<u64> {
        if self.leadership.is_stopped {
            return None;
        }
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        (metrics.state == ServerState::Leader).then_some(metrics.vote.leader_id.term)
    }

    fn other_leader(&self) -> Option<u64> {
        let by_raft = {
            let metrics = self.raft.server_metrics();
            metrics.borrow_watched().current_leader
        };
        match by_raft.filter(|_| !self.leadership.is_stopped) {
            Some(leader) => (leader != self.node).then_some(leader),
            None => {
                let leader = self.board.leader(self.set);
                leader.filter(|leader| *leader != self.node)
            }
        }
    }

    /// The refusal of a node that does not lead: whether another one does.
    pub(super) fn no_leader(&self) -> Refused {
        match self.other_leader().is_some() {
            true => Refused::new(ErrorCode::NotLeader),
            false => Refused::retry_after(ErrorCode::NoLeader, NO_LEADER_RETRY_MS),
        }
    }

    /// Starts the clock when this node begins to lead, ends the waits when it stops.
    pub(super) fn follow_leadership(&mut self) {
        self.leadership.look(&self.raft);
        if let Some(term) = self.elected_term()
            && self
                .leadership
                .elected
                .is_none_or(|(before, _)| before != term)
        {
            self.leadership.elected = Some((term, self.time.read().monotonic_ms));
        }
        let leads = self.leads();
        if leads && self.clock.is_none() {
            let last_stamp = self.state.borrow().broker.now();
            self.clock = Some(SetClock::start(last_stamp, self.time.read()));
            self.leadership.changed.set(true);
            tracing::info!(set = %self.set, "leading the set");
        }
        if !leads && self.clock.take().is_some() {
            self.leadership.changed.set(true);
            tracing::warn!(set = %self.set, "no longer leading the set");
            self.end_waits(ErrorCode::LeaderChanged);
        }
        if self.clock.is_none() && !self.is_between_leaders() {
            self.hold.end();
            self.refuse_gathered();
            self.end_waits(ErrorCode::LeaderChanged);
        }
    }

    fn leads(&self) -> bool {
        if self.leadership.is_stopped {
            return false;
        }
        let (term, voter_count) = {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            if metrics.state != ServerState::Leader {
                return false;
            }
            let membership = metrics.membership_config.membership();
            (metrics.vote.leader_id.term, membership.voter_ids().count())
        };
        let applied = self.state.borrow().applied();
        applied.is_some_and(|id| id.committed_leader_id().term == term)
            && (voter_count == 1 || self.is_heard())
    }

    /// Whether a majority answered lately.
    fn is_heard(&self) -> bool {
        let metrics = self.raft.data_metrics();
        let acked = metrics.borrow_watched().last_quorum_acked;
        acked.is_some_and(|acked| acked.elapsed() < QUORUM_SILENCE_MAX)
    }

    /// Writes the set's line on the board, when there is something new and some time has passed.
    pub(super) fn publish(&mut self, now_ms: u64) {
        let is_due = now_ms >= self.leadership.published_at_ms + PUBLISH_INTERVAL_MS;
        if !self.leadership.changed.replace(false) && !is_due {
            return;
        }
        self.leadership.published_at_ms = now_ms;
        let line = self.line();
        self.on_fault(line.fault);
        let state = self.state.borrow();
        self.board.publish(self.set, line, state.hash_points());
    }

    /// Says a new fault once, and refuses those who wait for what it makes impossible.
    fn on_fault(&mut self, fault: Option<Fault>) {
        if fault != self.leadership.fault {
            let set = self.set;
            match fault {
                Some(fault) => tracing::error!(%set, "this replica {}: restart the node",
                    fault.text()),
                None => tracing::info!(%set, "this replica has a store again"),
            }
            self.leadership.fault = fault;
        }
        if let Some(fault) = fault {
            self.checkpoints.refuse_asked(fault);
        }
    }

    fn fault(&self) -> Option<Fault> {
        match self.leadership.is_stopped {
            true => Some(Fault::Stopped),
            false => self.checkpoints.fault(&self.state.borrow()),
        }
    }

    fn line(&self) -> SetLine {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let state = self.state.borrow();
        let fault = self.fault();
        let role = match metrics.state {
            _ if self.leadership.is_stopped => Role::Stopped,
            // It says that it leads once it can be asked.
            ServerState::Leader if self.clock.is_some() => Role::Leader,
            ServerState::Leader | ServerState::Candidate => Role::Candidate,
            ServerState::Follower => Role::Follower,
            ServerState::Learner => Role::Learner,
            ServerState::Shutdown => Role::Stopped,
        };
        let leader = match role {
            Role::Leader => Some(self.node),
            // It hears of no other one any more.
            Role::Stopped => None,
            _ => metrics.current_leader.filter(|leader| *leader != self.node),
        };
        SetLine {
            role,
            leader,
            term: metrics.vote.leader_id.term,
            applied_index: state.applied().map_or(0, |id| id.index),
            last_index: state.last_log_index(),
            is_suspect: self.suspicion.is_written_down(self.set),
            is_full: self.is_full() || fault.is_some(),
            fault,
            hash_point: state.hash_points().back().copied().unwrap_or_default(),
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            overlay_len: state.overlay_len(),
            checkpoint: self.checkpoints.times(),
        }
    }
}
