//! Drives a set at its leader: takes requests, gathers them into entries, proposes them, and hands
//! the replies out.
//!
//! One task per set on the set's core thread. It owns what is not replicated: the waiters, the
//! entries in the making, the clock. Everything replicated is in [`SetState`].
//!
//! Invariants: at most [`ENTRIES_IN_FLIGHT_MAX`] entries are unapplied; every request gets exactly
//! one answer.
//! Spec: spec/semantics.md, "Time".

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::ServerState;
use openraft::errors::ClientWriteError;
use openraft::type_config::async_runtime::WatchReceiver;
use sampan_core::{Command, Entry, Reply};
use sampan_protocol::{ErrorCode, QueueId, SetId};
use tokio::sync::{Notify, mpsc, oneshot};

use super::answers::Answers;
use super::checkpoints::{CheckpointPolicy, Checkpointer, Checkpoints};
use super::gather::{Asker, ENTRIES_IN_FLIGHT_MAX, Expected, Gather, Gathered};
use super::reads::Reads;
use super::receives::Receives;
use super::request::{Origin, Outcome, Refused, SetRequest};
use super::state::SetState;
use super::ticket::{Askers, Completion, Ticket};
use crate::clock::{SetClock, TimeSource};
use crate::raft::types::{Proposal, Responder, SetRaft};

/// Requests taken in at one time.
const REQUEST_BURST_MAX: usize = 256;
/// Advice to a client that found no leader, in milliseconds.
const NO_LEADER_RETRY_MS: u32 = 200;
/// Advice to a client that found the storage full, in milliseconds.
const STORAGE_FULL_RETRY_MS: u32 = 1_000;
/// How often leadership and checkpoints are looked at when nothing happens.
const IDLE_WAKE: Duration = Duration::from_millis(500);

/// What a driver is made of.
pub(crate) struct DriverParts {
    pub(crate) set: SetId,
    pub(crate) state: Rc<RefCell<SetState>>,
    pub(crate) raft: SetRaft,
    pub(crate) requests: mpsc::Receiver<SetRequest>,
    pub(crate) time: Arc<dyn TimeSource>,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) checkpoint_policy: CheckpointPolicy,
    /// Set while the node has too little disk space for sends.
    pub(crate) storage_full: Arc<AtomicBool>,
}

/// See the module's documentation.
pub(crate) struct Driver {
    pub(super) set: SetId,
    pub(super) state: Rc<RefCell<SetState>>,
    pub(super) raft: SetRaft,
    pub(super) time: Arc<dyn TimeSource>,
    requests: mpsc::Receiver<SetRequest>,
    storage_full: Arc<AtomicBool>,
    /// The log has no room for the usual number of files ahead.
    log_full: bool,
    /// Runs while this node leads the set.
    clock: Option<SetClock>,
    pub(super) gather: Gather,
    in_flight_count: usize,
    completions: Rc<RefCell<VecDeque<Completion>>>,
    pub(super) wake: Rc<Notify>,
    pub(super) receives: Receives,
    pub(super) reads: Reads,
    checkpoints: Checkpoints,
    pub(super) answers: Answers,
    drained: Option<oneshot::Sender<()>>,
}

impl Driver {
    pub(crate) fn new(parts: DriverParts) -> Self {
        let wake = parts.state.borrow().driver();
        Driver {
            set: parts.set,
            state: parts.state,
            raft: parts.raft,
            time: parts.time,
            requests: parts.requests,
            storage_full: parts.storage_full,
            log_full: false,
            clock: None,
            gather: Gather::default(),
            in_flight_count: 0,
            completions: Rc::default(),
            reads: Reads::new(wake.clone()),
            wake,
            receives: Receives::default(),
            checkpoints: Checkpoints::new(parts.checkpointer, parts.checkpoint_policy),
            answers: Answers::default(),
            drained: None,
        }
    }

    /// Runs until the set is drained or its handles are gone.
    pub(crate) async fn run(mut self) {
        let mut burst = Vec::with_capacity(REQUEST_BURST_MAX);
        loop {
            self.on_wake();
            self.propose_gathered().await;
            if self.is_drained() {
                break;
            }
            let takes_requests =
                self.gather.has_room() && !self.checkpoints.is_behind(&self.state.borrow());
            let sleep = self.time_to_sleep();
            let wake = self.wake.clone();
            tokio::select! {
                biased;
                () = wake.notified() => {}
                count = self.requests.recv_many(&mut burst, REQUEST_BURST_MAX),
                    if takes_requests =>
                {
                    if count == 0 {
                        break;
                    }
                    burst.drain(..).for_each(|request| self.on_request(request));
                }
                () = tokio::time::sleep(sleep) => {}
            }
        }
        self.refuse_the_rest();
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(set = %self.set, %error, "stopping a set failed");
        }
        if let Some(drained) = self.drained.take() {
            // Whoever asked for the drain may have given up waiting.
            drained.send(()).ok();
        }
    }

    /// Answers what came after the set was drained.
    fn refuse_the_rest(&mut self) {
        self.requests.close();
        let refused = Refused::new(ErrorCode::ShuttingDown);
        while let Ok(request) = self.requests.try_recv() {
            match request {
                SetRequest::Command { origin, .. }
                | SetRequest::Receive { origin, .. }
                | SetRequest::Show { origin, .. } => {
                    self.answers.push(origin, Outcome::Refused(refused.clone()));
                }
                SetRequest::Propose { done, .. } => drop(done.send(Err(refused.clone()))),
                SetRequest::Unfinished(done) => drop(done.send(Err(refused.clone()))),
                SetRequest::Drain(done) => done.send(()).unwrap_or(()),
                SetRequest::Forget(_) => {}
            }
        }
        self.hand_out();
    }

    /// Takes in everything that happened since the last time, short of new requests.
    fn on_wake(&mut self) {
        self.follow_leadership();
        self.log_full = !self.state.borrow().has_log_room();
        loop {
            let completion = self.completions.borrow_mut().pop_front();
            let Some(completion) = completion else { break };
            self.on_completion(completion);
        }
        self.on_confirmed_reads();
        let removed = self.state.borrow_mut().take_removed();
        removed
            .into_iter()
            .for_each(|queue| self.end_waits_at(queue));
        let gained = self.state.borrow_mut().take_gained();
        gained.into_iter().for_each(|queue| self.serve(queue));
        self.on_time();
        let now_ms = self.time.read().monotonic_ms;
        self.checkpoints
            .advance(&self.state, &self.raft, now_ms, self.set);
        self.hand_out();
    }

    fn on_request(&mut self, request: SetRequest) {
        match request {
            SetRequest::Command { origin, command } => self.on_command(origin, command),
            SetRequest::Receive { origin, receive } => self.on_receive(origin, receive),
            SetRequest::Show { origin, route } => self.reads.show(origin, route),
            SetRequest::Propose { command, done } => self.on_propose(command, done),
            SetRequest::Unfinished(done) => self.reads.unfinished(done),
            SetRequest::Forget(client) => self.receives.forget(client),
            SetRequest::Drain(done) => self.on_drain(done),
        }
    }

    fn on_command(&mut self, origin: Origin, command: Command) {
        let sent = match &command {
            Command::Send { queue, batch } => Some((*queue, batch.count() as u64)),
            _ => None,
        };
        let refusal = match self.refusal() {
            None if sent.is_some() && self.is_full() => Some(Refused::retry_after(
                ErrorCode::StorageFull,
                STORAGE_FULL_RETRY_MS,
            )),
            refusal => refusal,
        };
        if let Some(refused) = refusal {
            self.answers.push(origin, Outcome::Refused(refused));
            return;
        }
        let expected = sent.map(|(_, sent)| Expected { sent, claimed: 0 });
        let asker = match &command {
            Command::ChangeVisibility { .. } => Asker::VisibilityClient(origin),
            _ => Asker::Client(origin),
        };
        self.gather.push(command, asker, expected);
        if let Some((queue, _)) = sent {
            self.serve(queue);
        }
    }

    /// Whether there is no room for further messages.
    fn is_full(&self) -> bool {
        self.storage_full.load(Ordering::Relaxed)
            || self.log_full
            || self.checkpoints.is_stuck(&self.state.borrow())
    }

    fn on_propose(&mut self, command: Command, done: oneshot::Sender<Result<Reply, Refused>>) {
        match self.refusal() {
            // Whoever asked may be gone.
            Some(refused) => drop(done.send(Err(refused))),
            None => self.gather.push(command, Asker::Node(done), None),
        }
    }

    fn on_drain(&mut self, done: oneshot::Sender<()>) {
        self.drained = Some(done);
        self.end_waits(ErrorCode::ShuttingDown);
    }

    /// Why nothing can be proposed now.
    pub(super) fn refusal(&self) -> Option<Refused> {
        if self.drained.is_some() {
            return Some(Refused::new(ErrorCode::ShuttingDown));
        }
        let retry = || Refused::retry_after(ErrorCode::NoLeader, NO_LEADER_RETRY_MS);
        self.clock.is_none().then(retry)
    }

    fn is_drained(&self) -> bool {
        self.drained.is_some()
            && self.gather.is_empty()
            && self.in_flight_count == 0
            && self.completions.borrow().is_empty()
            && !self.reads.is_busy()
    }

    /// Starts the clock when this node begins to lead, ends the waits when it stops.
    fn follow_leadership(&mut self) {
        let leads = {
            let metrics = self.raft.server_metrics();
            let state = metrics.borrow_watched().state;
            state == ServerState::Leader
        };
        if leads && self.clock.is_none() {
            let last_stamp = self.state.borrow().broker.now();
            self.clock = Some(SetClock::start(last_stamp, self.time.read()));
            tracing::info!(set = %self.set, "leading the set");
        }
        if !leads && self.clock.take().is_some() {
            tracing::warn!(set = %self.set, "no longer leading the set");
            self.end_waits(ErrorCode::LeaderChanged);
        }
    }

    /// What is due by the set's time or by the waits' ends.
    fn on_time(&mut self) {
        let reading = self.time.read();
        self.end_expired_waits(reading.monotonic_ms);
        let Some(clock) = &mut self.clock else { return };
        let now = clock.now(reading);
        let due = self
            .state
            .borrow()
            .broker
            .next_deadline()
            .is_some_and(|at| at <= now);
        if due && self.gather.is_empty() && self.in_flight_count == 0 {
            self.gather.push_tick();
        }
    }

    fn time_to_sleep(&mut self) -> Duration {
        let reading = self.time.read();
        let mut sleep = IDLE_WAKE;
        if let Some(end) = self.receives.next_end_ms() {
            sleep = sleep.min(Duration::from_millis(
                end.saturating_sub(reading.monotonic_ms),
            ));
        }
        // While entries are on their way, the next one's stamp moves time anyway.
        if let (Some(clock), 0) = (&mut self.clock, self.in_flight_count) {
            let now = clock.now(reading);
            if let Some(at) = self.state.borrow().broker.next_deadline() {
                sleep = sleep.min(Duration::from_millis(at.0.saturating_sub(now.0)));
            }
        }
        sleep.max(Duration::from_millis(1))
    }

    async fn propose_gathered(&mut self) {
        while self.in_flight_count < ENTRIES_IN_FLIGHT_MAX {
            let Some(gathered) = self.gather.pop() else {
                return;
            };
            self.propose(gathered).await;
        }
    }

    async fn propose(&mut self, gathered: Gathered) {
        let Gathered {
            commands,
            askers,
            expected,
            ..
        } = gathered;
        let queues = commands.iter().map(Command::queue).collect();
        let entry = Askers {
            askers,
            queues,
            expected,
        };
        let Some(clock) = &mut self.clock else {
            self.refuse(
                entry,
                &Refused::retry_after(ErrorCode::NoLeader, NO_LEADER_RETRY_MS),
            );
            self.hand_out();
            return;
        };
        let stamp = clock.now(self.time.read());
        let (completions, wake) = (self.completions.clone(), self.wake.clone());
        let ticket = Ticket::new(entry, completions, wake);
        let responder = Responder::new(move |result| ticket.complete(result));
        self.in_flight_count += 1;
        let proposal = Proposal(Arc::new(Entry { stamp, commands }));
        if let Err(error) = self.raft.client_write_ff(proposal, Some(responder)).await {
            // The askers come back through their ticket.
            tracing::error!(set = %self.set, %error, "the set has stopped");
            self.clock = None;
        }
    }

    fn on_completion(&mut self, completion: Completion) {
        self.in_flight_count -= 1;
        let Completion { entry, result } = completion;
        match result {
            Some(Ok(response)) => {
                self.gather.settle(&entry.expected);
                let replies = entry
                    .askers
                    .into_iter()
                    .zip(entry.queues)
                    .zip(response.data.0);
                for ((asker, queue), reply) in replies {
                    self.on_reply(asker, queue, reply);
                }
            }
            Some(Err(ClientWriteError::ForwardToLeader(_))) => {
                let code = ErrorCode::NoLeader;
                self.refuse(entry, &Refused::retry_after(code, NO_LEADER_RETRY_MS));
            }
            Some(Err(error)) => {
                tracing::error!(set = %self.set, %error, "an entry was not accepted");
                self.refuse(entry, &Refused::new(ErrorCode::Internal));
            }
            None => self.refuse(entry, &Refused::new(ErrorCode::OutcomeUnknown)),
        }
    }

    fn on_reply(&mut self, asker: Asker, queue: Option<QueueId>, reply: Reply) {
        match (asker, reply) {
            (Asker::Node(done), reply) => drop(done.send(Ok(reply))),
            (Asker::Waiter(waiter), reply) => self.on_receive_reply(waiter, queue, reply),
            (Asker::VisibilityClient(origin), Reply::Handles(results)) => {
                self.answers
                    .push(origin, Outcome::VisibilityChanged(results));
            }
            (Asker::Client(origin) | Asker::VisibilityClient(origin), reply) => {
                let outcome = match reply {
                    Reply::Sent(sent) => Outcome::Sent(sent),
                    Reply::Handles(results) => Outcome::Deleted(results),
                    Reply::Refused(refusal) => Outcome::Refused(refusal.into()),
                    other => {
                        tracing::error!(?other, "a reply that no client asks for");
                        Outcome::Refused(Refused::new(ErrorCode::Internal))
                    }
                };
                self.answers.push(origin, outcome);
            }
            (Asker::Nobody, _) => {}
        }
    }

    /// Answers everybody who waits for the entry with one refusal.
    fn refuse(&mut self, entry: Askers, refused: &Refused) {
        self.gather.settle(&entry.expected);
        for asker in entry.askers {
            match asker {
                Asker::Client(origin) | Asker::VisibilityClient(origin) => {
                    self.answers.push(origin, Outcome::Refused(refused.clone()));
                }
                Asker::Waiter(waiter) => self.refuse_waiter(waiter, refused),
                Asker::Node(done) => drop(done.send(Err(refused.clone()))),
                Asker::Nobody => {}
            }
        }
    }

    /// Gives the answers to their clients; what nobody takes goes back to its queue.
    fn hand_out(&mut self) {
        for received in self.answers.deliver(self.set) {
            self.release(received);
        }
    }
}
