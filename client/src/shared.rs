//! The one object behind all handles of a client: the shared state and its lock.
//!
//! Everything that wakes somebody (resolving slots, waking a connection's task) happens after the
//! lock was given up, so no foreign code runs under it, and a future may be dropped or polled from
//! inside a wake-up. Checksums are computed before the lock is taken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sampan_protocol::limits::BATCH_COUNT_MAX;
use sampan_protocol::{
    Applied, ChangeVisibility, ErrorCode, Handles, Name, ReceiptHandle, Reply, Request,
};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::Instant;

use crate::call::{Answer, Call};
use crate::config::Config;
use crate::error::Error;
use crate::gate::{Cost, Gate, Waiting};
use crate::outgoing::{Freed, Outgoing, Work};
use crate::send_frame::SendUnit;
use crate::slot::{Outcome, SlotOwner, Ticket};
use crate::state::{Phase, State, Wakers};
use crate::watch::Watch;

/// Calls other than sends and deletes that may be unanswered at one time; more wait.
const CALLS_IN_FLIGHT_MAX: usize = 4_096;

/// Something that joins other units of its kind in a frame.
pub(crate) trait Unit: Sized {
    fn cost(&self) -> Cost;
    fn gate(state: &mut State) -> &mut Gate<Self>;
    fn put(self, state: &mut State, queue: &Arc<str>) -> Ticket;
}

impl Unit for SendUnit {
    fn cost(&self) -> Cost {
        SendUnit::cost(self)
    }

    fn gate(state: &mut State) -> &mut Gate<Self> {
        &mut state.sends
    }

    fn put(self, state: &mut State, queue: &Arc<str>) -> Ticket {
        state.put_send(queue, self)
    }
}

impl Unit for ReceiptHandle {
    fn cost(&self) -> Cost {
        Cost { count: 1, len: 0 }
    }

    fn gate(state: &mut State) -> &mut Gate<Self> {
        &mut state.deletes
    }

    fn put(self, state: &mut State, queue: &Arc<str>) -> Ticket {
        state.put_delete(queue, self)
    }
}

/// What became of a unit at once.
pub(crate) enum Submitted {
    /// It is in a frame.
    Accepted(Ticket),
    /// It is in the line for room; the number takes it out again.
    InLine(Ticket, u64),
    Refused(Error),
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    /// Where the client lives, so that streams polled elsewhere can have their tasks there.
    pub(crate) runtime: Handle,
    state: Mutex<State>,
    calls: Semaphore,
    /// The supervisor has something to do.
    pub(crate) attention: Notify,
    /// Told once the supervisor has ended.
    finished: Notify,
}

impl Shared {
    /// Must be called inside a tokio runtime.
    pub(crate) fn new(config: Config) -> Self {
        let sends_max = Cost {
            count: config.messages_in_flight_max,
            len: config.bytes_in_flight_max,
        };
        let state = State::new(sends_max, &config.servers, config.resend_unknown);
        Shared {
            config,
            runtime: Handle::current(),
            state: Mutex::new(state),
            calls: Semaphore::new(CALLS_IN_FLIGHT_MAX),
            attention: Notify::new(),
            finished: Notify::new(),
        }
    }

    /// The state. A panic of another thread can't leave it half changed in a way that matters:
    /// slots that get lost are resolved when they are dropped.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accepts a unit when there is room, else puts it in the line for room.
    pub(crate) fn submit<U: Unit>(&self, queue: &Arc<str>, unit: U) -> Submitted {
        let cost = unit.cost();
        let mut state = self.lock();
        if state.phase != Phase::Open {
            return Submitted::Refused(Error::Closed {
                applied: Applied::No,
            });
        }
        if U::gate(&mut state).enter(cost) {
            let ticket = unit.put(&mut state, queue);
            self.wake(state);
            return Submitted::Accepted(ticket);
        }
        let slot = SlotOwner::default();
        let ticket = slot.ticket(0);
        let queue = Arc::clone(queue);
        let number = U::gate(&mut state).wait(Waiting {
            queue,
            unit,
            cost,
            slot,
        });
        Submitted::InLine(ticket, number)
    }

    /// Takes a unit out of the line.
    pub(crate) fn cancel<U: Unit>(&self, number: u64) {
        let mut state = self.lock();
        let cancelled = U::gate(&mut state).cancel(number);
        if cancelled.is_some() {
            // A smaller unit behind it may fit.
            self.free_and_wake(state, &mut Freed::default());
        }
    }

    /// Gives room back to the gates.
    pub(crate) fn free(&self, freed: &mut Freed) {
        self.free_and_wake(self.lock(), freed);
    }

    fn free_and_wake(&self, mut state: MutexGuard<'_, State>, freed: &mut Freed) {
        let moved = state.free(freed);
        self.wake(state);
        resolve_all(moved);
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn call(&self, request: Request) -> Result<Answer, Error> {
        self.call_watched(request, None).await
    }

    /// Like [`Shared::call`], for a receive whose messages are entered at `watch` when they come.
    pub(crate) async fn call_watched(
        &self,
        request: Request,
        watch: Option<Arc<Watch>>,
    ) -> Result<Answer, Error> {
        let closed = |_| Error::Closed {
            applied: Applied::No,
        };
        let _permit = self.calls.acquire().await.map_err(closed)?;
        let (sender, receiver) = oneshot::channel();
        let call = Call::new(request, Some(sender), Instant::now());
        self.start_call(call.watched(watch))?;
        receiver.await.unwrap_or_else(|_| Err(Call::lost()))
    }

    /// Like [`Shared::call`], for requests whose reply is a frame of its own kind.
    pub(crate) async fn call_for_reply(&self, request: Request) -> Result<Reply, Error> {
        match self.call(request).await? {
            Answer::Reply { reply, .. } => Ok(reply),
            Answer::Received(_) => Err(Call::lost()),
        }
    }

    fn start_call(&self, call: Call) -> Result<(), Error> {
        let now = Instant::now();
        let mut state = self.lock();
        let open = match state.phase {
            Phase::Open => true,
            // Messages are still given back while the client closes.
            Phase::Closing => call.is_nobodys(),
            Phase::Closed => false,
        };
        if !open {
            return Err(Error::Closed {
                applied: Applied::No,
            });
        }
        state.put_ready(Outgoing::new(Work::Call(call), now));
        self.wake(state);
        Ok(())
    }

    /// Asks one server something. It does not count among the calls in flight: there is one such
    /// question for each query and each new connection.
    pub(crate) async fn ask(&self, slot: usize, request: Request) -> Result<Reply, Error> {
        let (sender, receiver) = oneshot::channel();
        let now = Instant::now();
        let call = Call::new(request, Some(sender), now);
        let is_live = self.change(|state| {
            let is_live = state.servers.is_live(slot);
            if is_live {
                state.put_at(slot, Outgoing::new(Work::Call(call), now));
            }
            is_live
        });
        if !is_live {
            return Err(Error::disconnected("no connection", Applied::No));
        }
        match receiver.await.unwrap_or_else(|_| Err(Call::lost()))? {
            Answer::Reply { reply, .. } => Ok(reply),
            Answer::Received(_) => Err(Call::lost()),
        }
    }

    /// Changes the state, then wakes who has something to do by that.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let changed = change(&mut state);
        self.wake(state);
        changed
    }

    /// Makes messages ready again that were received and not handed out, as if they had not been.
    pub(crate) fn release(&self, queue: &Name, handles: &[ReceiptHandle]) {
        for handles in handles.chunks(BATCH_COUNT_MAX) {
            let handles = Handles::from_iter(handles.iter().copied());
            let queue = queue.clone();
            let change = ChangeVisibility {
                queue,
                visibility_timeout_ms: ChangeVisibility::UNDO_RECEIVE,
                handles,
            };
            let request = Request::ChangeVisibility(change);
            if self
                .start_call(Call::new(request, None, Instant::now()))
                .is_err()
            {
                // The connection is gone for good, and the broker takes its messages back itself.
                return;
            }
        }
    }

    /// Whether nothing goes out any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.lock().phase == Phase::Closed
    }

    /// Takes no more calls; what was accepted is finished.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closing;
        }
        let refused = state.refuse_waiting(&Error::Closed {
            applied: Applied::No,
        });
        // Each connection finds out whether it has anything left to do.
        state.stir();
        self.wake(state);
        resolve_all(refused);
    }

    /// Waits until [`Shared::finish`] was called.
    pub(crate) async fn finished(&self) {
        loop {
            let finished = self.finished.notified();
            if self.lock().phase == Phase::Closed {
                return;
            }
            finished.await;
        }
    }

    /// Fails everything that is left, for good.
    pub(crate) fn finish(&self) {
        self.lock().phase = Phase::Closed;
        self.calls.close();
        self.fail_waiting(|applied| Error::Closed { applied });
        self.finished.notify_waiters();
    }

    /// Fails everything that is not with a connection.
    pub(crate) fn fail_waiting(&self, error: impl Fn(Applied) -> Error) {
        let mut state = self.lock();
        let mut failed = state.take_if(|_| true);
        state.take_lines(&mut failed);
        let refused = state.refuse_waiting(&error(Applied::No));
        drop(state);
        resolve_all(refused);
        self.fail_all(failed, error);
    }

    /// Fails the frames that have waited too long to be written, or for somebody to lead their
    /// queue.
    pub(crate) fn fail_expired(&self, now: Instant) {
        let request_timeout = self.config.request_timeout;
        let mut state = self.lock();
        let leaderless = state.take_leaderless(now, self.config.retry_deadline);
        let mut gone = state.take_if(|outgoing| outgoing.expires_at(request_timeout) <= now);
        let expired = state.expire_lines(now, request_timeout);
        if !expired.told.is_empty() && state.phase != Phase::Open {
            // A closing client does not wait for those any more.
            state.stir();
        }
        self.wake(state);
        gone.extend(expired.gone);
        for slot in expired.told {
            slot.resolve(Outcome::Failed(Error::TimedOut {
                applied: Applied::Unknown,
            }));
        }
        self.fail_all(leaderless, |_| Error::refused(ErrorCode::NoLeader));
        self.fail_all(gone, |applied| Error::TimedOut { applied });
    }

    /// Wakes who has something to do once the lock is gone.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        let wakers = state.wake();
        drop(state);
        self.rouse(wakers);
    }

    pub(crate) fn rouse(&self, wakers: Wakers) {
        if wakers.supervisor {
            self.attention.notify_one();
        }
        wakers.wake();
    }

    /// Tells those who wait for frames that are done with, and gives their room back.
    pub(crate) fn fail_all(&self, failed: Vec<Outgoing>, error: impl Fn(Applied) -> Error) {
        let mut freed = Freed::default();
        for outgoing in failed {
            let applied = outgoing.applied_unwritten();
            outgoing.fail(error(applied), &mut freed);
        }
        self.free(&mut freed);
    }
}

fn resolve_all(resolved: Vec<(SlotOwner, Outcome)>) {
    for (slot, outcome) in resolved {
        slot.resolve(outcome);
    }
}
