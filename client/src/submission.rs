//! The futures of sends and deletes: a place in a frame that is under way already.
//!
//! A unit joins its frame when the call is made, not when the future is polled, so calls that are
//! made one after another travel together. Only a unit that finds no room stays in its future; the
//! first poll puts it in the line for room, and dropping the future takes it out again.
//!
//! Invariant: once its unit is in a frame, dropping a future changes nothing but that nobody hears.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use sampan_protocol::{MessageId, ReceiptHandle};

use crate::error::Error;
use crate::send_frame::SendUnit;
use crate::shared::{Shared, Submitted, Unit};
use crate::slot::Ticket;

/// Where a unit is.
enum Place<U: Unit> {
    /// Still here, for want of room.
    Here(Arc<Shared>, Arc<str>, U),
    /// In the line for room, under a number, or already in a frame.
    InLine(Arc<Shared>, u64, Ticket),
    InFrame(Ticket),
    Refused(Error),
    /// Only while it moves from one place to another.
    Nowhere,
}

/// See the head of the file.
pub(crate) struct Submission<U: Unit> {
    place: Place<U>,
}

impl<U: Unit> Submission<U> {
    pub(crate) fn new(shared: &Arc<Shared>, queue: &Arc<str>, unit: Result<U, Error>) -> Self {
        let place = match unit.map(|unit| shared.submit(queue, unit)) {
            Ok(Submitted::Accepted(ticket)) => Place::InFrame(ticket),
            Ok(Submitted::Full(unit)) => Place::Here(Arc::clone(shared), Arc::clone(queue), unit),
            Ok(Submitted::Refused(error)) | Err(error) => Place::Refused(error),
        };
        Submission { place }
    }

    /// Ready with the ticket once its slot has an outcome.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<&Ticket, Error>> {
        if matches!(self.place, Place::Here(..))
            && let Place::Here(shared, queue, unit) =
                std::mem::replace(&mut self.place, Place::Nowhere)
        {
            let (ticket, number) = shared.wait(&queue, unit);
            self.place = Place::InLine(shared, number, ticket);
        }
        match &mut self.place {
            Place::InLine(_, _, ticket) | Place::InFrame(ticket) => {
                ready!(ticket.poll(cx));
                Poll::Ready(Ok(ticket))
            }
            Place::Refused(error) => Poll::Ready(Err(error.clone())),
            Place::Here(..) | Place::Nowhere => Poll::Pending,
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

/// A send under way; resolves to the message's id once the message is durable.
///
/// Dropping it does not take the message back, unless it never found room (see
/// [`Queue::send`](crate::Queue::send)).
#[must_use = "a send says only here whether the message is stored"]
pub struct Sending(pub(crate) Submission<SendUnit>);

impl Future for Sending {
    type Output = Result<MessageId, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let ticket = ready!(self.0.poll(cx))?;
        Poll::Ready(ticket.message_id(0))
    }
}

opaque_debug!(Sending);

/// A batch under way; resolves to the messages' ids, in order, once all of them are durable.
#[must_use = "a send says only here whether the messages are stored"]
pub struct SendingBatch {
    pub(crate) submission: Submission<SendUnit>,
    pub(crate) count: u16,
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
