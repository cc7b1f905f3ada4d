//! The futures of sends and deletes: a place in a frame that is under way already.
//!
//! A unit joins its frame when the call is made, not when the future is polled, so calls that are
//! made one after another travel together. A unit that finds no room gets in the line for it at
//! once, too: were it to wait for its first poll, later calls would pass it, and a caller that
//! awaits many futures in order would send the last of them one by one.
//!
//! Invariants: a unit leaves the line into a frame, or because its future was dropped, so the line
//! is never longer than the futures that callers hold. Once its unit is in a frame, dropping a
//! future changes nothing but that nobody hears.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use sampan_protocol::{Durability, MessageId, ReceiptHandle};

use crate::error::Error;
use crate::send_frame::SendUnit;
use crate::shared::{Shared, Submitted, Unit};
use crate::slot::Ticket;

/// Where a unit is.
enum Place {
    InFrame(Ticket),
    /// In the line for room, under a number, or meanwhile in a frame.
    InLine(Arc<Shared>, u64, Ticket),
    Refused(Error),
}

/// See the head of the file.
pub(crate) struct Submission<U: Unit> {
    place: Place,
    unit: PhantomData<fn(U)>,
}

impl<U: Unit> Submission<U> {
    pub(crate) fn new(shared: &Arc<Shared>, queue: &Arc<str>, unit: Result<U, Error>) -> Self {
        let place = match unit.map(|unit| shared.submit(queue, unit)) {
            Ok(Submitted::Accepted(ticket)) => Place::InFrame(ticket),
            Ok(Submitted::InLine(ticket, number)) => {
                Place::InLine(Arc::clone(shared), number, ticket)
            }
            Ok(Submitted::Refused(error)) | Err(error) => Place::Refused(error),
        };
        Submission {
            place,
            unit: PhantomData,
        }
    }

    /// What the acknowledgement promises, once there is one.
    fn durability(&self) -> Option<Durability> {
        match &self.place {
            Place::InLine(_, _, ticket) | Place::InFrame(ticket) => ticket.durability(),
            Place::Refused(_) => None,
        }
    }

    /// Ready with the ticket once its slot has an outcome.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<&Ticket, Error>> {
        match &mut self.place {
            Place::InLine(_, _, ticket) | Place::InFrame(ticket) => {
                ready!(ticket.poll(cx));
                Poll::Ready(Ok(ticket))
            }
            Place::Refused(error) => Poll::Ready(Err(error.clone())),
        }
    }
}

impl<U: Unit> Drop for Submission<U> {
    fn drop(&mut self) {
        if let Place::InLine(shared, number, _) = &self.place {
            shared.cancel::<U>(*number);
        }
    }
}

macro_rules! opaque_debug {
    ($name:ident) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

/// A send under way; resolves to the message's id once the message is as durable as its queue asks
/// for ([`QueueOptions::durability`](crate::QueueOptions::durability)).
///
/// Dropping it does not take the message back, unless it was still in the line for room (see
/// [`Queue::send`](crate::Queue::send)).
#[must_use = "a send says only here whether the message is stored"]
pub struct Sending(pub(crate) Submission<SendUnit>);

impl Sending {
    /// What the acknowledgement promises; `None` before it is there, and without one. A send that
    /// is awaited by reference can be asked afterwards.
    pub fn durability(&self) -> Option<Durability> {
        self.0.durability()
    }
}

impl Future for Sending {
    type Output = Result<MessageId, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = ready!(self.0.poll(cx))?;
        Poll::Ready(ticket.message_id(0))
    }
}

opaque_debug!(Sending);

/// A batch under way; resolves to the messages' ids, in order, once all of them are as durable as
/// their queue asks for.
#[must_use = "a send says only here whether the messages are stored"]
pub struct SendingBatch {
    pub(crate) submission: Submission<SendUnit>,
    pub(crate) count: u16,
}

impl SendingBatch {
    /// See [`Sending::durability`].
    pub fn durability(&self) -> Option<Durability> {
        self.submission.durability()
    }
}

impl Future for SendingBatch {
    type Output = Result<Vec<MessageId>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let count = self.count;
        let ticket = ready!(self.submission.poll(cx))?;
        Poll::Ready((0..count).map(|index| ticket.message_id(index)).collect())
    }
}

opaque_debug!(SendingBatch);

/// A delete under way; resolves once the message is gone for good.
#[must_use = "a delete says only here whether it was done"]
pub struct Deleting(pub(crate) Submission<ReceiptHandle>);

impl Future for Deleting {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = ready!(self.0.poll(cx))?;
        Poll::Ready(ticket.handled())
    }
}

opaque_debug!(Deleting);
