//! Reads of a set's state: confirmed by ReadIndex before they are answered, one round per burst.
//!
//! A leader that was cut off may not know yet that another one leads; so it asks a majority first,
//! and never trusts a clock. Reads write nothing to the log.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use sampan_core::CatalogRecord;
use sampan_protocol::{ErrorCode, QueueId};
use tokio::sync::{Notify, oneshot};

use super::driver::Driver;
use super::dry_runs::DryRun;
use super::leadership::NO_LEADER_RETRY_MS;
use super::request::{Origin, Outcome, PeekRequest, RedriveAsk, RedriveShown, Refused, Shown};
use crate::catalog::Route;
use crate::raft::types::SetRaft;

/// A read that waits for its confirmation.
pub(super) enum Read {
    Show {
        origin: Origin,
        route: Arc<Route>,
    },
    Peek {
        origin: Origin,
        peek: PeekRequest,
    },
    Redrive {
        origin: Origin,
        ask: RedriveAsk,
    },
    Unfinished(oneshot::Sender<Result<Vec<CatalogRecord>, Refused>>),
    Confirm(oneshot::Sender<Result<u64, Refused>>),
    /// A receive whose wait ended: is there really nothing?
    Empty {
        origin: Origin,
        queue: QueueId,
    },
}

/// The reads of one set.
pub(super) struct Reads {
    waiting: Vec<Read>,
    confirming: Vec<Read>,
    /// The result of the round under way, once it is there.
    result: Rc<RefCell<Option<Result<(), Refused>>>>,
    wake: Rc<Notify>,
}

impl Reads {
    pub(super) fn new(wake: Rc<Notify>) -> Self {
        Reads {
            waiting: Vec::new(),
            confirming: Vec::new(),
            result: Rc::default(),
            wake,
        }
    }

    pub(super) fn show(&mut self, origin: Origin, route: Arc<Route>) {
        self.waiting.push(Read::Show { origin, route });
    }

    pub(super) fn peek(&mut self, origin: Origin, peek: PeekRequest) {
        self.waiting.push(Read::Peek { origin, peek });
    }

    pub(super) fn redrive(&mut self, origin: Origin, ask: RedriveAsk) {
        self.waiting.push(Read::Redrive { origin, ask });
    }

    pub(super) fn unfinished(
        &mut self,
        done: oneshot::Sender<Result<Vec<CatalogRecord>, Refused>>,
    ) {
        self.waiting.push(Read::Unfinished(done));
    }

    pub(super) fn confirm(&mut self, done: oneshot::Sender<Result<u64, Refused>>) {
        self.waiting.push(Read::Confirm(done));
    }

    pub(super) fn empty(&mut self, origin: Origin, queue: QueueId) {
        self.waiting.push(Read::Empty { origin, queue });
    }

    /// The reads that no round was begun for.
    fn take_waiting(&mut self) -> Vec<Read> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.waiting.is_empty() || !self.confirming.is_empty()
    }

    /// Starts a round for what waits, unless one is under way.
    fn begin(&mut self, raft: &SetRaft) {
        if self.waiting.is_empty() || !self.confirming.is_empty() {
            return;
        }
        self.confirming = std::mem::take(&mut self.waiting);
        let (raft, result, wake) = (raft.clone(), self.result.clone(), self.wake.clone());
        tokio::task::spawn_local(async move {
            let confirmed = confirm(&raft).await;
            *result.borrow_mut() = Some(confirmed);
            wake.notify_one();
        });
    }

    /// The reads whose round has ended.
    fn take_confirmed(&mut self) -> Option<(Vec<Read>, Result<(), Refused>)> {
        let result = self.result.borrow_mut().take()?;
        Some((std::mem::take(&mut self.confirming), result))
    }
}

/// A majority that is there answers within a few milliseconds.
const CONFIRM_MAX: Duration = Duration::from_secs(1);

async fn confirm(raft: &SetRaft) -> Result<(), Refused> {
    let confirmed = tokio::time::timeout(CONFIRM_MAX, confirm_without_end(raft)).await;
    confirmed.unwrap_or_else(|_| Err(not_confirmed(&"no majority answered in time")))
}

fn not_confirmed(error: &dyn std::fmt::Display) -> Refused {
    tracing::debug!(%error, "a read was not confirmed");
    Refused::retry_after(ErrorCode::NoLeader, NO_LEADER_RETRY_MS)
}

async fn confirm_without_end(raft: &SetRaft) -> Result<(), Refused> {
    let no_leader = not_confirmed;
    let linearizer = raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
    let linearizer = linearizer.map_err(|error| no_leader(&error))?;
    linearizer
        .await_ready(raft)
        .await
        .map_err(|error| no_leader(&error))?;
    Ok(())
}

impl Driver {
    /// Answers the reads of a round that has ended, and begins the next.
    pub(super) fn on_confirmed_reads(&mut self) {
        if let Some((reads, result)) = self.reads.take_confirmed() {
            self.answer_reads(reads, &result);
        }
        if self.clock.is_none() {
            let refused = self.no_leader();
            let waiting = self.reads.take_waiting();
            self.answer_reads(waiting, &Err(refused));
        }
        self.reads.begin(&self.raft);
        self.advance_peeks();
    }

    fn answer_reads(&mut self, reads: Vec<Read>, result: &Result<(), Refused>) {
        for read in reads {
            match (read, result.clone()) {
                (Read::Unfinished(done), result) => {
                    let records = result.map(|()| self.unfinished());
                    // Whoever asked may be gone.
                    drop(done.send(records));
                }
                (Read::Confirm(done), result) => {
                    let applied = self.state.borrow().applied();
                    let index = applied.map_or(0, |id| id.index);
                    drop(done.send(result.map(|()| index)));
                }
                (
                    Read::Show { origin, .. }
                    | Read::Peek { origin, .. }
                    | Read::Redrive { origin, .. }
                    | Read::Empty { origin, .. },
                    Err(refused),
                ) => {
                    self.answers.push(origin, Outcome::Refused(refused));
                }
                (Read::Show { origin, route }, Ok(())) => {
                    let outcome = self.shown(route);
                    self.answers.push(origin, outcome);
                }
                (Read::Peek { origin, peek }, Ok(())) => self.on_peek(origin, peek),
                (Read::Redrive { origin, ask }, Ok(())) => self.on_redrive(origin, ask),
                (Read::Empty { origin, queue }, Ok(())) => self.answer_empty(origin, queue),
            }
        }
    }

    fn unfinished(&self) -> Vec<CatalogRecord> {
        self.state
            .borrow()
            .broker
            .catalog()
            .unfinished()
            .cloned()
            .collect()
    }

    fn on_redrive(&mut self, origin: Origin, ask: RedriveAsk) {
        match ask {
            RedriveAsk::Status { queue } => {
                let state = self.state.borrow();
                let outcome = match (state.broker.counts(queue), state.broker.redrive(queue)) {
                    (None, _) => Outcome::Refused(Refused::new(ErrorCode::QueueNotFound)),
                    (_, None) => Outcome::Refused(Refused::new(ErrorCode::NoRedrive)),
                    (Some(counts), Some(redrive)) => {
                        Outcome::RedriveShown(Box::new(RedriveShown {
                            redrive: redrive.clone(),
                            moving: counts.moving,
                        }))
                    }
                };
                self.answers.push(origin, outcome);
            }
            RedriveAsk::Count { queue, order } => {
                let dry_run = DryRun {
                    origin,
                    queue,
                    order,
                };
                let pushed = self.state.borrow_mut().dry_runs.push(dry_run);
                if let Err(origin) = pushed {
                    let refused = Refused::new(ErrorCode::TooManyRequests);
                    self.answers.push(origin, Outcome::Refused(refused));
                }
            }
        }
    }

    /// Refuses the dry runs that wait for their turn: the set is about to stop.
    pub(super) fn end_dry_runs(&mut self) {
        loop {
            let next = self.state.borrow_mut().dry_runs.pop();
            let Some(dry_run) = next else { return };
            let refused = Refused::new(ErrorCode::ShuttingDown);
            self.answers.push(dry_run.origin, Outcome::Refused(refused));
        }
    }

    fn shown(&self, route: Arc<Route>) -> Outcome {
        let state = self.state.borrow();
        let attributes = state.broker.attributes(route.queue);
        match (attributes, state.broker.counts(route.queue)) {
            (Some(attributes), Some(counts)) => Outcome::Shown(Shown {
                route,
                attributes: *attributes,
                counts,
            }),
            _ => Outcome::Refused(Refused::new(ErrorCode::QueueNotFound)),
        }
    }
}
