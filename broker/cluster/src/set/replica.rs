//! A replica as its peers see it: serves what they ask of one set, on the set's core thread.
//!
//! Raft's own messages go to openraft, but for votes asked of a suspect replica, which are answered
//! here. What takes long runs beside this task, so that a vote never waits behind a snapshot.
//!
//! Every [`TICK`] it looks after what nobody asks for: suspect replicas of its set when it leads,
//! its own suspicion when nobody does, and a wall clock that has left the others'.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::ServerState;
use openraft::type_config::async_runtime::WatchReceiver;
use sampan_protocol::{ErrorCode, SetId};
use sampan_storage::log::{Log, LogId};
use tokio::sync::{mpsc, oneshot, watch};

use super::absolution::Absolutions;
use super::bodies;
use super::handle::SetHandle;
use super::intake::Intake;
use super::members;
use super::request::{Refused, SetRequest};
use super::state::SetState;
use super::trial::Trial;
use crate::calls::{self, Absolution, Members, Method, Standing};
use crate::clock::ClusterTime;
use crate::grid;
use crate::peer::{CallError, CallReply, IncomingAppends, Peers};
use crate::raft::network::{is_transfer, is_vote, serve_append, serve_raft_call};
use crate::raft::payload::LogPayload;
use crate::raft::timing;
use crate::raft::types::SetRaft;
use crate::reach::{Reach, to_call_error};
use crate::suspicion::{Suspicion, Voters};
use crate::view::View;

/// How often the replica looks after itself and its peers.
const TICK: Duration = Duration::from_millis(200);
/// Messages that may wait for the task of one replica.
pub(crate) const REPLICA_WAITING_MAX: usize = 1_024;
/// A leader whose wall clock is further from the median of the cluster's hands over.
const CLOCK_DISTANCE_MAX_MS: u64 = 500;

/// Voters that miss their leader at one time ask for votes this far apart.
const ELECTION_STEP_MS: u64 = 40;

/// What a replica is asked.
pub(crate) enum ToReplica {
    /// A leader appends.
    Append(IncomingAppends),
    /// A peer asks something.
    Call {
        method: u16,
        payload: Bytes,
        reply: CallReply,
    },
    /// Answer once the entry is applied here.
    AwaitApplied {
        index: u64,
        done: oneshot::Sender<()>,
    },
    /// This node asks its own replica what it would ask a peer's.
    Ask {
        method: Method,
        payload: Bytes,
        done: oneshot::Sender<Result<Bytes, Refused>>,
    },
}

/// What the task works with. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) node: u64,
    pub(crate) set: SetId,
    pub(crate) raft: SetRaft,
    pub(crate) state: Rc<RefCell<SetState>>,
    pub(crate) log: Log<LogPayload>,
    pub(crate) handle: SetHandle,
    pub(crate) reach: Reach,
    pub(crate) view: View,
    pub(crate) suspicion: Suspicion,
    pub(crate) time: Arc<ClusterTime>,
    pub(crate) intake: Intake,
}

/// Serves until the set's handles are gone.
pub(crate) async fn serve(replica: Replica, mut messages: mpsc::Receiver<ToReplica>) {
    let is_suspect = replica.suspicion.is_suspect(replica.set);
    replica.raft.runtime_config().elect(!is_suspect);
    let (mut absolutions, trial) = (Absolutions::default(), Trial::default());
    let mut ticks = grid::interval(TICK);
    let mut losses = replica.reach.peers().map(Peers::losses);
    loop {
        let message = tokio::select! {
            message = messages.recv() => message,
            () = lost(&mut losses) => {
                replica.on_loss();
                continue;
            }
            _ = ticks.tick() => {
                replica.tick(&mut absolutions, &trial);
                continue;
            }
        };
        let Some(message) = message else { return };
        replica.on_message(message, &trial);
    }
}

/// Returns when a connection to a peer has ended.
async fn lost(losses: &mut Option<watch::Receiver<u64>>) {
    let is_known = match losses {
        Some(losses) => losses.changed().await.is_ok(),
        None => false,
    };
    if !is_known {
        std::future::pending().await
    }
}

impl Replica {
    fn on_message(&self, message: ToReplica, trial: &Trial) {
        match message {
            ToReplica::Append(stream) => {
                tokio::task::spawn_local(serve_append(self.raft.clone(), stream));
            }
            ToReplica::Call {
                method,
                payload,
                reply,
            } => {
                let (replica, trial) = (self.clone(), trial.clone());
                tokio::task::spawn_local(async move {
                    reply.answer(replica.answer(method, payload, &trial).await);
                });
            }
            ToReplica::AwaitApplied { index, mut done } => {
                let raft = self.raft.clone();
                tokio::task::spawn_local(async move {
                    let wait = raft.wait(None);
                    let applied = wait.applied_index_at_least(Some(index), "a confirmed read");
                    let is_applied = tokio::select! {
                        applied = applied => applied.is_ok(),
                        () = done.closed() => false,
                    };
                    if is_applied {
                        // Whoever asked may have given up.
                        done.send(()).ok();
                    }
                });
            }
            ToReplica::Ask {
                method,
                payload,
                done,
            } => {
                let replica = self.clone();
                tokio::task::spawn_local(async move {
                    // Whoever asked may have given up.
                    drop(done.send(replica.answer_known(method, payload).await));
                });
            }
        }
    }

    async fn answer(&self, method: u16, payload: Bytes, trial: &Trial) -> Result<Bytes, CallError> {
        let Some(known) = Method::from_number(method) else {
            let is_suspect = self.suspicion.is_suspect(self.set);
            if is_suspect && is_vote(method) && !trial.may_grant(&payload, self.standing()) {
                return trial.deny(&self.raft, &self.log, self.set);
            }
            if is_suspect && is_transfer(method) {
                let refused = Refused::retry_after(ErrorCode::ClusterRefused, 200);
                return Err(to_call_error(&refused));
            }
            return serve_raft_call(&self.raft, method, payload).await;
        };
        let answer = self.answer_known(known, payload).await;
        answer.map_err(|refused| to_call_error(&refused))
    }

    async fn answer_known(&self, method: Method, payload: Bytes) -> Result<Bytes, Refused> {
        let malformed = || Refused::new(ErrorCode::MalformedFrame);
        match method {
            Method::Propose => {
                let command = calls::decode_command(payload).ok_or_else(malformed)?;
                let reply = self.handle.propose(command).await?;
                Ok(calls::encode_reply(&reply))
            }
            Method::ReadIndex => {
                let (done, confirmed) = oneshot::channel();
                self.handle.request(SetRequest::Confirm(done)).await?;
                let stopping = |_| Refused::new(ErrorCode::ShuttingDown);
                let index = confirmed.await.map_err(stopping)??;
                Ok(calls::encode_index(index))
            }
            Method::ChangeMembers => {
                let wanted = Members::decode(payload).ok_or_else(malformed)?;
                members::change(self, wanted).await?;
                Ok(Bytes::new())
            }
            Method::HandOver => {
                let to = calls::decode_index(payload)?;
                members::hand_over(self, (to != 0).then_some(to)).await?;
                Ok(Bytes::new())
            }
            Method::Standing => Ok(self.standing().encode()),
            Method::Absolve => {
                let absolution = Absolution::decode(payload).ok_or_else(malformed)?;
                self.on_absolution(absolution).await?;
                Ok(Bytes::new())
            }
            Method::Suspect => {
                self.suspect().await?;
                Ok(Bytes::new())
            }
            Method::SnapshotBegin => self.intake.begin(self, payload).await,
            Method::SnapshotChunk => self.intake.chunk(payload).await,
            Method::SnapshotFinish => self.intake.finish(self, payload).await,
            Method::Bodies => bodies::give(self, payload).await,
            Method::Join | Method::Invite | Method::Catalog => Err(malformed()),
        }
    }

    /// How far this replica's log goes.
    pub(super) fn standing(&self) -> Standing {
        let state = self.log.state(self.set);
        Standing {
            last: state.last.or(state.purged),
            is_suspect: self.suspicion.is_written_down(self.set),
            term: self
                .suspicion
                .hard_state()
                .vote(self.set)
                .unwrap_or_default()
                .0,
        }
    }

    pub(super) fn leads(&self) -> bool {
        let is_running = self.raft.metrics().borrow_watched().running_state.is_ok();
        is_running && self.raft.server_metrics().borrow_watched().state == ServerState::Leader
    }

    /// The leader says that it has brought this replica to where it was.
    async fn on_absolution(&self, absolution: Absolution) -> Result<(), Refused> {
        if !self.suspicion.is_suspect(self.set) {
            return Ok(());
        }
        let not_yet = || Refused::retry_after(ErrorCode::ClusterRefused, 200);
        let term = {
            let metrics = self.raft.server_metrics();
            metrics.borrow_watched().vote.leader_id.term
        };
        if term != absolution.term {
            return Err(not_yet());
        }
        if absolution.last.is_some_and(|last| !self.has_synced(last)) {
            return Err(not_yet());
        }
        self.absolve().await
    }

    /// Whether the entry, and so everything before it, is synced here or was purged.
    fn has_synced(&self, last: LogId) -> bool {
        let purged = self.log.state(self.set).purged;
        if purged.is_some_and(|purged| purged.index >= last.index) {
            return true;
        }
        let here = self.log.log_id(self.set, last.index);
        let flushed = self.log.synced(self.set);
        here.is_some_and(|here| here.term == last.term)
            && flushed.is_some_and(|flushed| flushed >= last.index)
    }

    /// This replica may vote again.
    pub(super) async fn absolve(&self) -> Result<(), Refused> {
        let (suspicion, set) = (self.suspicion.clone(), self.set);
        // Looked up before those in effect, or what comes meanwhile would be taken for lost.
        let known = suspicion.hard_state().voters(set);
        let voters = Voters::effective(&self.raft).await;
        let voters = voters.map_err(|_| Refused::new(ErrorCode::ShuttingDown))?;
        let lost = known.filter(|known| known.are_newer_than(&voters));
        let written = tokio::task::spawn_blocking(move || {
            if let Some(lost) = lost {
                suspicion.hard_state().forget(set, &lost, &voters)?;
            }
            suspicion.absolve(set)
        });
        let written = written.await;
        let failed = |error: &dyn std::fmt::Display| {
            tracing::error!(%set, %error, "a suspicion could not be taken back");
            Refused::new(ErrorCode::Internal)
        };
        written
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))?;
        // Unless a suspicion was raised again meanwhile.
        self.raft
            .runtime_config()
            .elect(!self.suspicion.is_suspect(set));
        tracing::info!(%set, "this replica has everything again and votes");
        Ok(())
    }

    /// This replica has lost entries that it confirmed: it does not vote until it has them again.
    async fn suspect(&self) -> Result<(), Refused> {
        self.raft.runtime_config().elect(false);
        let (suspicion, set) = (self.suspicion.clone(), self.set);
        tracing::error!(%set, "the log is shorter than what the leader saw of it");
        let written = tokio::task::spawn_blocking(move || suspicion.raise([set])).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::error!(%set, %error, "a suspicion could not be written down");
                Err(Refused::new(ErrorCode::Internal))
            }
            Err(_) => Err(Refused::new(ErrorCode::ShuttingDown)),
        }
    }

    /// A connection to the leader that ends mostly means that the leader has: this replica need not
    /// wait for the silence. The others grant no vote before their leader's time is over, and none
    /// at all if they still hear it.
    fn on_loss(&self) {
        let Some((term, leader, rank)) = self.lost_leader() else {
            return;
        };
        let pause = timing::ELECTION_TIMEOUT_MAX_MS + ELECTION_STEP_MS * (1 + rank);
        let replica = self.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let now = replica.lost_leader();
            let is_same = now.is_some_and(|(now, who, _)| (now, who) == (term, leader));
            if is_same && let Err(error) = replica.raft.trigger().elect(true).await {
                tracing::debug!(set = %replica.set, %error, "the set has stopped");
            }
        });
    }

    /// The term and the leader that this voter follows and is not connected to, and this voter's
    /// place among those that could follow it.
    fn lost_leader(&self) -> Option<(u64, u64, u64)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics
            .current_leader
            .filter(|leader| *leader != self.node)?;
        let membership = metrics.membership_config.membership();
        let voters: Vec<u64> = membership.voter_ids().filter(|id| *id != leader).collect();
        let rank = voters.iter().position(|voter| *voter == self.node)?;
        let is_connected = self.reach.peers()?.is_connected(leader);
        let is_free = metrics.state == ServerState::Follower
            && !is_connected
            && !self.suspicion.is_suspect(self.set);
        is_free.then_some((metrics.vote.leader_id.term, leader, rank as u64))
    }

    fn tick(&self, absolutions: &mut Absolutions, trial: &Trial) {
        if self.leads() {
            absolutions.look_after(self);
            self.watch_clock();
            self.watch_room();
        } else {
            absolutions.clear();
            if self.suspicion.is_suspect(self.set) {
                trial.look_after(self);
            }
        }
    }

    /// A leader without room refuses sends; another one may have some.
    fn watch_room(&self) {
        if !self.reach.board.line(self.set).is_full {
            return;
        }
        let replica = self.clone();
        tokio::task::spawn_local(async move {
            let set = replica.set;
            match members::hand_over(&replica, None).await {
                Ok(()) => tracing::warn!(%set, "no room, or a fault: leadership handed over"),
                Err(error) => tracing::debug!(%set, %error, "nobody takes the lead over"),
            }
        });
    }

    /// A leader whose clock has left the others' hands over: its time would only be slewed.
    fn watch_clock(&self) {
        let Some(distance_ms) = self.time.distance_ms() else {
            return;
        };
        if distance_ms <= CLOCK_DISTANCE_MAX_MS {
            return;
        }
        let replica = self.clone();
        tokio::task::spawn_local(async move {
            let handed_over = members::hand_over(&replica, None).await;
            let set = replica.set;
            match handed_over {
                Ok(()) => tracing::error!(%set, distance_ms,
                    "this node's wall clock has left the others': leadership handed over"),
                Err(error) => tracing::debug!(%set, %error, "nobody takes the lead over"),
            }
        });
    }
}
