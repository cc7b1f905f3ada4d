//! Drives a set at its leader: takes requests, gathers them into entries, proposes them, and hands
//! the replies out.
//!
//! One task per set on the set's core thread. It owns what is not replicated: the waiters, the
//! entries in the making, the clock. Everything replicated is in [`SetState`].
//!
//! Invariants: at most [`ENTRIES_IN_FLIGHT_MAX`] entries are unapplied; every request gets exactly
//! one answer, after [`COMMIT_WAIT_MAX`] at the latest if it was proposed.
//! Spec: spec/semantics.md, "Time".

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sampan_core::{Command, Entry, Reply};
use sampan_protocol::{ErrorCode, SetId};
use tokio::sync::{Notify, mpsc, oneshot};

use super::answers::Answers;
use super::checkpoints::{CheckpointPolicy, Checkpointer, Checkpoints};
use super::durability;
use super::gather::{Asker, ENTRIES_IN_FLIGHT_MAX, Expected, Gather, Gathered};
use super::hold::Hold;
use super::leadership::Leadership;
use super::peeks::Peeks;
use super::reads::Reads;
use super::receives::Receives;
use super::request::{CountsOfSet, Origin, Outcome, Refused, SetRequest};
use super::state::SetState;
use super::ticket::{Askers, InFlight};
use crate::board::Board;
use crate::clock::{SetClock, TimeSource};
use crate::grid;
use crate::raft::types::{Proposal, Responder, SetRaft};
use crate::suspicion::Suspicion;

/// Requests taken in at one time.
const REQUEST_BURST_MAX: usize = 256;
/// Advice to a client that found the storage full, in milliseconds.
const STORAGE_FULL_RETRY_MS: u32 = 1_000;
/// How often leadership and checkpoints are looked at when nothing happens.
const IDLE_WAKE: Duration = Duration::from_millis(500);
/// The same while requests wait for the next leader.
const BETWEEN_LEADERS_WAKE: Duration = Duration::from_millis(20);
/// Who was proposed and has no answer by then is told that the outcome is unknown.
const COMMIT_WAIT_MAX: Duration = Duration::from_secs(5);

/// What a driver is made of.
pub(crate) struct DriverParts {
    pub(crate) node: u64,
    pub(crate) set: SetId,
    pub(crate) state: Rc<RefCell<SetState>>,
    pub(crate) raft: SetRaft,
    pub(crate) requests: mpsc::Receiver<SetRequest>,
    pub(crate) time: Arc<dyn TimeSource>,
    pub(crate) checkpointer: Checkpointer,
    pub(crate) checkpoint_policy: CheckpointPolicy,
    /// Set while the node has too little disk space for sends.
    pub(crate) storage_full: Arc<AtomicBool>,
    pub(crate) board: Board,
    pub(crate) suspicion: Suspicion,
}

/// See the module's documentation.
pub(crate) struct Driver {
    pub(super) node: u64,
    pub(super) set: SetId,
    pub(super) state: Rc<RefCell<SetState>>,
    pub(super) raft: SetRaft,
    pub(super) time: Arc<dyn TimeSource>,
    requests: mpsc::Receiver<SetRequest>,
    storage_full: Arc<AtomicBool>,
    /// The log has no room for the usual number of files ahead.
    log_full: bool,
    /// Runs while this node leads the set.
    pub(super) clock: Option<SetClock>,
    pub(super) leadership: Leadership,
    pub(super) board: Board,
    pub(super) suspicion: Suspicion,
    pub(super) gather: Gather,
    in_flight: InFlight,
    pub(super) hold: Hold,
    pub(super) wake: Rc<Notify>,
    pub(super) receives: Receives,
    pub(super) reads: Reads,
    pub(super) peeks: Peeks,
    pub(super) checkpoints: Checkpoints,
    pub(super) answers: Answers,
    drained: Option<oneshot::Sender<()>>,
}

impl Driver {
    pub(crate) fn new(parts: DriverParts) -> Self {
        let wake = parts.state.borrow().driver();
        Driver {
            node: parts.node,
            set: parts.set,
            leadership: Leadership::watch(&parts.raft, wake.clone()),
            board: parts.board,
            suspicion: parts.suspicion,
            state: parts.state,
            raft: parts.raft,
            time: parts.time,
            requests: parts.requests,
            storage_full: parts.storage_full,
            log_full: false,
            clock: None,
            gather: Gather::default(),
            in_flight: InFlight::default(),
            hold: Hold::default(),
            reads: Reads::new(wake.clone()),
            peeks: Peeks::default(),
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
                () = tokio::time::sleep_until(grid::end_of(sleep, IDLE_WAKE)) => {}
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
                | SetRequest::Peek { origin, .. }
                | SetRequest::Redrive { origin, .. }
                | SetRequest::Show { origin, .. } => {
                    self.answers.push(origin, Outcome::Refused(refused.clone()));
                }
                SetRequest::Propose { done, .. } => drop(done.send(Err(refused.clone()))),
                SetRequest::Unfinished(done) => drop(done.send(Err(refused.clone()))),
                SetRequest::Confirm(done) => drop(done.send(Err(refused.clone()))),
                SetRequest::Checkpoint(done) => drop(done.send(Err(refused.clone()))),
                // Whoever asked has no use for the counts of a set that stops.
                SetRequest::Counts(done) => drop(done),
                SetRequest::Hold(idle) => drop(idle),
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
        while let Some(completion) = self.in_flight.next_completion() {
            self.on_completion(completion);
        }
        let removed = self.state.borrow_mut().take_removed();
        removed
            .into_iter()
            .for_each(|queue| self.end_waits_at(queue));
        let gained = self.state.borrow_mut().take_gained();
        gained.into_iter().for_each(|queue| self.serve(queue));
        self.on_time();
        // Behind whatever may ask for one: a receive whose wait has just ended, for instance.
        self.on_confirmed_reads();
        let now = self.time.read();
        self.end_late(now.monotonic_ms);
        let times = self.checkpoints.times();
        self.checkpoints
            .advance(&self.state, &self.raft, now, self.set);
        if self.checkpoints.times() != times {
            // Whoever measures wants to see even a short one.
            self.leadership.changed.set(true);
        }
        self.publish(now.monotonic_ms);
        self.hand_out();
    }

    fn on_request(&mut self, request: SetRequest) {
        match request {
            SetRequest::Command { origin, command } => self.on_command(origin, command),
            SetRequest::Receive { origin, receive } => self.on_receive(origin, receive),
            SetRequest::Peek { origin, peek } => self.reads.peek(origin, peek),
            SetRequest::Redrive { origin, ask } => self.reads.redrive(origin, ask),
            SetRequest::Show { origin, route } => self.reads.show(origin, route),
            SetRequest::Propose { command, done } => self.on_propose(command, done),
            SetRequest::Unfinished(done) => self.reads.unfinished(done),
            SetRequest::Confirm(done) => self.reads.confirm(done),
            SetRequest::Checkpoint(done) => self.checkpoints.ask(&self.state.borrow(), done),
            SetRequest::Counts(done) => self.on_counts(done),
            SetRequest::Hold(idle) => {
                let now_ms = self.time.read().monotonic_ms;
                self.hold.begin(now_ms, idle);
            }
            SetRequest::Forget(client) => self.receives.forget(client),
            SetRequest::Drain(done) => self.on_drain(done),
        }
    }

    fn on_command(&mut self, origin: Origin, command: Command) {
        let sent = match &command {
            Command::Send { queue, batch, .. } => Some((*queue, batch.count() as u64)),
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
            Command::ChangeVisibility { .. } | Command::Release { .. } => {
                Asker::VisibilityClient(origin)
            }
            _ => Asker::Client(origin),
        };
        self.gather.push(command, asker, expected);
        if let Some((queue, _)) = sent {
            self.serve(queue);
        }
    }

    /// Whether there is no room for further messages.
    pub(super) fn is_full(&self) -> bool {
        self.storage_full.load(Ordering::Relaxed)
            || self.log_full
            || self.checkpoints.is_stuck(&self.state.borrow())
    }

    fn on_propose(&mut self, command: Command, done: oneshot::Sender<Result<Reply, Refused>>) {
        let brings_messages = matches!(command, Command::Deliver { .. });
        let refusal = match self.refusal() {
            None if brings_messages && self.is_full() => Some(Refused::retry_after(
                ErrorCode::StorageFull,
                STORAGE_FULL_RETRY_MS,
            )),
            refusal => refusal,
        };
        match refusal {
            // Whoever asked may be gone.
            Some(refused) => drop(done.send(Err(refused))),
            None => self.gather.push(command, Asker::Node(done), None),
        }
    }

    fn on_drain(&mut self, done: oneshot::Sender<()>) {
        self.drained = Some(done);
        self.end_waits(ErrorCode::ShuttingDown);
        self.end_dry_runs();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drained.is_some()
    }

    fn is_drained(&self) -> bool {
        // What a node that does not lead has on its way may never come back.
        self.drained.is_some()
            && self.gather.is_empty()
            && (self.in_flight.is_empty() || self.clock.is_none())
            && !self.reads.is_busy()
            && !self.peeks.is_busy()
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
        if due && self.gather.is_empty() && self.in_flight.is_empty() {
            self.gather.push_tick();
        }
    }

    fn time_to_sleep(&mut self) -> Duration {
        let reading = self.time.read();
        // What waits between two leaders is looked at often.
        let mut sleep = match self.clock.is_none() && !self.gather.is_empty() {
            true => BETWEEN_LEADERS_WAKE,
            false => IDLE_WAKE,
        };
        if let Some(end) = self.receives.next_end_ms() {
            sleep = sleep.min(Duration::from_millis(
                end.saturating_sub(reading.monotonic_ms),
            ));
        }
        // While entries are on their way, the next one's stamp moves time anyway.
        if let (Some(clock), true) = (&mut self.clock, self.in_flight.is_empty()) {
            let now = clock.now(reading);
            if let Some(at) = self.state.borrow().broker.next_deadline() {
                sleep = sleep.min(Duration::from_millis(at.0.saturating_sub(now.0)));
            }
        }
        sleep.max(Duration::from_millis(1))
    }

    async fn propose_gathered(&mut self) {
        if self.clock.is_none() {
            return;
        }
        if self.hold.is_on(self.time.read().monotonic_ms) {
            if self.in_flight.is_empty() {
                self.hold.on_idle();
            }
            return;
        }
        while self.in_flight.count() < ENTRIES_IN_FLIGHT_MAX {
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
        let durability = durability::of(&commands, &self.state.borrow().broker);
        let entry = Askers {
            askers,
            queues,
            expected,
            durability,
        };
        let reading = self.time.read();
        let Some(clock) = &mut self.clock else {
            let refused = self.no_leader();
            self.refuse(entry, &refused);
            self.hand_out();
            return;
        };
        let stamp = clock.now(reading);
        let ticket = self
            .in_flight
            .begin(entry, reading.monotonic_ms, self.wake.clone());
        let responder = Responder::new(move |result| ticket.complete(result));
        let entry = Entry {
            stamp,
            commands,
            durability,
        };
        let proposal = Proposal(Arc::new(entry));
        if let Err(error) = self.raft.client_write_ff(proposal, Some(responder)).await {
            // The askers come back through their ticket.
            tracing::error!(set = %self.set, %error, "the set has stopped");
            self.clock = None;
        }
    }

    /// Tells those who were proposed too long ago that the outcome is unknown.
    fn end_late(&mut self, now_ms: u64) {
        let wait = u64::try_from(COMMIT_WAIT_MAX.as_millis()).unwrap_or(u64::MAX);
        let late = self
            .in_flight
            .take_waiting_since(now_ms.saturating_sub(wait));
        self.refuse_askers(late, &Refused::new(ErrorCode::OutcomeUnknown));
    }

    /// Counts of all queues, as applied here.
    fn on_counts(&mut self, done: oneshot::Sender<CountsOfSet>) {
        let state = self.state.borrow();
        let queues = state.broker.queues();
        let counts = queues.filter_map(|queue| Some((queue, state.broker.counts(queue)?)));
        let leads = self.clock.is_some();
        let counts = CountsOfSet {
            leads,
            now: state.broker.now(),
            queues: counts.collect(),
        };
        // Whoever asked may be gone.
        drop(done.send(counts));
    }
}
