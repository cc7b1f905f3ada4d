//! What waits to be written on a connection, handed over from any thread.
//!
//! Three lanes, each bounded. The **express** lane has short frames that must not wait behind
//! megabytes of entries: heartbeats, votes, answers of append streams. The **bulk** lane has the
//! rest, bounded by bytes. The **replies** lane has the answers to calls: whoever answers need not
//! wait, for there are never more of them than unanswered calls.
//!
//! Order holds within a lane only; so all frames of an append stream take the same lane.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::frame::OutFrame;
use super::limits::{
    BULK_LEN_MAX, CALLS_WAITING_MAX, EXPRESS_LEN_MAX, LANE_COUNT_MAX, WRITE_LEN_MAX,
};
use super::pending::Pending;

/// A frame on its way, and who waits for its answer.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) frame: OutFrame,
    pub(crate) pending: Option<Pending>,
    /// Room in a bound, given back when the frame is written.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
}

/// Which way a frame takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Express,
    Bulk,
}

impl Lane {
    /// The lane of a frame that no other must stay behind.
    pub(crate) fn of(frame: &OutFrame) -> Lane {
        match frame.len {
            len if len <= EXPRESS_LEN_MAX => Lane::Express,
            _ => Lane::Bulk,
        }
    }
}

/// The connection has ended; what was not written comes back.
#[derive(Debug)]
pub(crate) struct OutboxClosed;

/// A frame that was not taken.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// There is no room at this moment.
    Full(Box<Outgoing>),
    Closed,
}

/// The way in, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    express: mpsc::Sender<Outgoing>,
    bulk: mpsc::Sender<Outgoing>,
    replies: mpsc::Sender<Outgoing>,
    bulk_room: Arc<Semaphore>,
    calls_room: Arc<Semaphore>,
    next_id: Arc<AtomicU64>,
}

/// The way out, for the connection's writer.
#[derive(Debug)]
pub(crate) struct Lanes {
    express: mpsc::Receiver<Outgoing>,
    bulk: mpsc::Receiver<Outgoing>,
    replies: mpsc::Receiver<Outgoing>,
}

impl Outbox {
    pub(crate) fn new() -> (Outbox, Lanes) {
        let (express, express_out) = mpsc::channel(LANE_COUNT_MAX);
        let (bulk, bulk_out) = mpsc::channel(LANE_COUNT_MAX);
        let (replies, replies_out) = mpsc::channel(CALLS_WAITING_MAX);
        let outbox = Outbox {
            express,
            bulk,
            replies,
            bulk_room: Arc::new(Semaphore::new(BULK_LEN_MAX)),
            calls_room: Arc::new(Semaphore::new(CALLS_WAITING_MAX)),
            next_id: Arc::new(AtomicU64::new(1)),
        };
        let lanes = Lanes {
            express: express_out,
            bulk: bulk_out,
            replies: replies_out,
        };
        (outbox, lanes)
    }

    /// A number that no call or stream of this connection has had.
    pub(crate) fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until there may be one more unanswered call.
    pub(crate) async fn call_permit(&self) -> Result<OwnedSemaphorePermit, OutboxClosed> {
        let acquired = self.calls_room.clone().acquire_owned().await;
        acquired.map_err(|_| OutboxClosed)
    }

    /// Hands a frame over; waits for room.
    pub(crate) async fn send(
        &self,
        lane: Lane,
        frame: OutFrame,
        pending: Option<Pending>,
    ) -> Result<(), OutboxClosed> {
        let (sender, permit) = match lane {
            Lane::Express => (&self.express, None),
            Lane::Bulk => {
                let room = self.bulk_room.clone();
                let permit = room.acquire_many_owned(bulk_len(&frame)).await;
                (&self.bulk, Some(permit.map_err(|_| OutboxClosed)?))
            }
        };
        let outgoing = Outgoing {
            frame,
            pending,
            permit,
        };
        sender.send(outgoing).await.map_err(|_| OutboxClosed)
    }

    /// Hands a frame over if there is room for it now.
    pub(crate) fn try_send(
        &self,
        lane: Lane,
        frame: OutFrame,
        pending: Option<Pending>,
    ) -> Result<(), NotSent> {
        let mut outgoing = Outgoing {
            frame,
            pending,
            permit: None,
        };
        let sender = match lane {
            Lane::Express => &self.express,
            Lane::Bulk => {
                let room = self.bulk_room.clone();
                match room.try_acquire_many_owned(bulk_len(&outgoing.frame)) {
                    Ok(permit) => outgoing.permit = Some(permit),
                    Err(_) if self.bulk.is_closed() => return Err(NotSent::Closed),
                    Err(_) => return Err(NotSent::Full(Box::new(outgoing))),
                }
                &self.bulk
            }
        };
        sender.try_send(outgoing).map_err(|error| match error {
            TrySendError::Full(outgoing) => NotSent::Full(Box::new(outgoing)),
            TrySendError::Closed(_) => NotSent::Closed,
        })
    }

    /// Hands over the answer to a call, which `permit` counts until it is written.
    pub(crate) fn reply(&self, frame: OutFrame, permit: OwnedSemaphorePermit) {
        let outgoing = Outgoing {
            frame,
            pending: None,
            permit: Some(permit),
        };
        // The lane has room for every permit, so it can only be closed: nobody waits any more.
        drop(self.replies.try_send(outgoing));
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.bulk.is_closed()
    }
}

fn bulk_len(frame: &OutFrame) -> u32 {
    u32::try_from(frame.len.min(BULK_LEN_MAX)).expect("the bound is below 2^32")
}

impl Lanes {
    /// Waits for a frame and returns it with what else waits, about [`WRITE_LEN_MAX`] bytes.
    ///
    /// Cancelled, it has taken nothing.
    pub(crate) async fn gather(&mut self, batch: &mut Vec<Outgoing>) {
        let first = tokio::select! {
            biased;
            Some(outgoing) = self.express.recv() => outgoing,
            Some(outgoing) = self.replies.recv() => outgoing,
            Some(outgoing) = self.bulk.recv() => outgoing,
            else => std::future::pending().await,
        };
        let mut len = first.frame.len;
        batch.push(first);
        while len < WRITE_LEN_MAX
            && let Some(outgoing) = self.try_next()
        {
            len += outgoing.frame.len;
            batch.push(outgoing);
        }
    }

    fn try_next(&mut self) -> Option<Outgoing> {
        let short = self.express.try_recv().or_else(|_| self.replies.try_recv());
        short.or_else(|_| self.bulk.try_recv()).ok()
    }

    /// Nothing is taken any more; what waited was not written, and those who wait are told so.
    pub(crate) fn close(mut self) {
        for lane in [&mut self.express, &mut self.replies, &mut self.bulk] {
            lane.close();
            while let Ok(outgoing) = lane.try_recv() {
                if let Some(pending) = outgoing.pending {
                    pending.on_disconnected(false);
                }
            }
        }
    }
}
