//! What a connection has to write: answers from the sets and from the connection itself.
//!
//! Sets call [`Outbox::answer`] on their own core threads; it encodes what is in memory and hands
//! bytes over, without waiting. Messages that lie in segment files are handed over as they are:
//! the connection's writer reads them as the socket drains.
//!
//! Invariants: a connection never has more than [`OUTBOX_LEN_MAX`] bytes encoded and unwritten,
//! plus one answer per set; beyond that, received messages go back to their queues. Every request
//! that was let in has one place in the channel, so handing over never waits; whoever answers by
//! itself asks for a place before it lets another request in.
//! Spec: spec/limits.md, "Server".

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use sampan_cluster::{
    Answer, BodyRun, Client, ClientId, Outcome, PeekedMessages, Received, RedriveShown, Refused,
    Shown,
};
use sampan_protocol::limits::REQUESTS_IN_FLIGHT_MAX;
use sampan_protocol::{
    ErrorCode, ErrorReply, QueueDescription, ReceivedEncoder, RedriveBegun, RedriveStatus, Reply,
    SetId,
};
use tokio::sync::{Notify, mpsc};

use super::deliveries::write_in_memory;
use crate::serve::refusals;

/// Encoded and unwritten bytes at which a connection is too slow to be given messages.
pub(crate) const OUTBOX_LEN_MAX: usize = 8 * 1024 * 1024;

/// Answers that may wait for the writer: some more than requests, for what the connection answers
/// beyond them (pings, refusals of one request too many, last words).
const PLACE_COUNT: usize = REQUESTS_IN_FLIGHT_MAX + 16;
/// With so many unanswered, nothing more is answered before the writer has come along.
const ANSWER_COUNT_MAX: usize = PLACE_COUNT - 8;

/// Long enough for an answer without messages, and for what comes before messages.
const HEAD_LEN: usize = 64;

/// Something for the writer.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// Whole frames.
    Frames {
        /// The frames.
        bytes: Bytes,
        /// How many requests they answer.
        answered_count: usize,
        /// Length of those requests.
        answered_len: usize,
    },
    /// Messages whose bodies are still to be read.
    Unread {
        /// The set they are from.
        set: SetId,
        /// The request they answer.
        request_id: u64,
        /// The messages.
        received: Received,
    },
    /// The same of messages that were looked at.
    Unseen {
        /// The set they are from.
        set: SetId,
        /// The request they answer.
        request_id: u64,
        /// The messages.
        peeked: PeekedMessages,
    },
}

/// See the module's documentation.
pub(crate) struct Outbox {
    id: ClientId,
    sender: mpsc::Sender<Outgoing>,
    /// Requests let in and not yet answered on the socket.
    request_count: AtomicUsize,
    /// Their length.
    request_len: AtomicUsize,
    /// Bytes handed over and not yet written.
    unwritten_len: AtomicUsize,
    /// Rung when one of the three has gone down.
    drained: Notify,
    /// Nothing is read from the client any more, and the sets are being told.
    is_closed: AtomicBool,
}

impl Outbox {
    pub(crate) fn new(id: ClientId) -> (Arc<Outbox>, mpsc::Receiver<Outgoing>) {
        let (sender, receiver) = mpsc::channel(PLACE_COUNT);
        let outbox = Outbox {
            id,
            sender,
            request_count: AtomicUsize::new(0),
            request_len: AtomicUsize::new(0),
            unwritten_len: AtomicUsize::new(0),
            drained: Notify::new(),
            is_closed: AtomicBool::new(false),
        };
        (Arc::new(outbox), receiver)
    }

    /// A request was let in.
    pub(crate) fn on_request(&self, len: usize) {
        self.request_count.fetch_add(1, Ordering::Relaxed);
        self.request_len.fetch_add(len, Ordering::Relaxed);
    }

    /// Requests without an answer.
    pub(crate) fn request_count(&self) -> usize {
        self.request_count.load(Ordering::Relaxed)
    }

    /// Their length.
    pub(crate) fn request_len(&self) -> usize {
        self.request_len.load(Ordering::Relaxed)
    }

    /// Bytes that wait to be written.
    pub(crate) fn unwritten_len(&self) -> usize {
        self.unwritten_len.load(Ordering::Relaxed)
    }

    /// Resolves when something was written or answered since the last call.
    pub(crate) async fn drained(&self) {
        self.drained.notified().await;
    }

    /// Waits until the writer has a place for one more answer.
    ///
    /// Of that many requests some were answered, by the connection itself: sets get no more than
    /// `REQUESTS_IN_FLIGHT_MAX`. So this does not wait for a receive to end.
    pub(crate) async fn has_place(&self) {
        while self.request_count() >= ANSWER_COUNT_MAX {
            self.drained().await;
        }
    }

    /// From now on no messages are taken: nobody would get them.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    /// The writer has written `len` bytes.
    pub(crate) fn on_written(&self, len: usize) {
        self.unwritten_len.fetch_sub(len, Ordering::Relaxed);
        self.drained.notify_one();
    }

    /// Requests have their whole answer on the socket.
    pub(crate) fn on_answered(&self, count: usize, len: usize) {
        self.request_count.fetch_sub(count, Ordering::Relaxed);
        self.request_len.fetch_sub(len, Ordering::Relaxed);
        self.drained.notify_one();
    }

    /// Hands over the connection's own answer to a request of `len` bytes that was let in.
    pub(crate) fn push(&self, request_id: u64, len: usize, reply: &Reply) {
        let mut frames = BytesMut::new();
        reply.encode(request_id, 0, &mut frames);
        self.hand_over(frames, 1, len);
    }

    /// Hands over a refusal of a request that was let in.
    pub(crate) fn refuse(&self, request_id: u64, len: usize, refused: &Refused) {
        self.push(request_id, len, &Reply::Error(error_reply(refused)));
    }

    fn hand_over(&self, frames: BytesMut, answered_count: usize, answered_len: usize) {
        let bytes = frames.freeze();
        self.unwritten_len.fetch_add(bytes.len(), Ordering::Relaxed);
        let outgoing = Outgoing::Frames {
            bytes,
            answered_count,
            answered_len,
        };
        // The only failure is a writer that is gone, and with it the client.
        drop(self.sender.try_send(outgoing));
    }

    fn can_take(&self, len: usize) -> bool {
        self.unwritten_len() + len <= OUTBOX_LEN_MAX
            && !self.sender.is_closed()
            && !self.is_closed.load(Ordering::Acquire)
    }
}

fn description(shown: Shown) -> QueueDescription {
    QueueDescription {
        name: shown.route.name.clone(),
        id: shown.route.queue,
        set: shown.route.set,
        created_at: shown.route.created_at,
        attributes: shown.attributes,
        counts: shown.counts,
        dead_letter_queue: shown.route.dead_letter_queue.clone(),
    }
}

fn redrive_status(shown: RedriveShown) -> RedriveStatus {
    let RedriveShown { redrive, moving } = shown;
    RedriveStatus {
        job: redrive.job,
        state: redrive.state,
        rate: redrive.order.rate,
        begun_at: redrive.begun_at,
        ended_at: Some(redrive.ended_at).filter(|at| at.0 != 0),
        looked: redrive.looked,
        moved: redrive.moved,
        skipped: redrive.skipped,
        moving,
        to: redrive.order.target_name,
    }
}

/// The wire's form of a refusal.
pub(crate) fn error_reply(refused: &Refused) -> ErrorReply {
    refusals::count(refused.code);
    let mut reply = ErrorReply::new(refused.code, &refused.text);
    reply.retry_after_ms = refused.retry_after_ms;
    reply
}

impl Client for Outbox {
    fn id(&self) -> ClientId {
        self.id
    }

    fn answer(&self, set: SetId, answers: Vec<Answer>) -> Vec<Received> {
        let frames_len = answers.iter().map(|answer| len_of(&answer.outcome)).sum();
        let mut frames = BytesMut::with_capacity(OUTBOX_LEN_MAX.min(frames_len));
        let (mut count, mut len) = (0, 0);
        let mut not_taken = Vec::new();
        for Answer {
            request_id,
            len: request_len,
            outcome,
        } in answers
        {
            let reply = match outcome {
                Outcome::Received(received) => {
                    if !self.can_take(frames.len()) {
                        let refused = Refused::new(ErrorCode::TooManyRequests);
                        not_taken.push(received);
                        Reply::Error(error_reply(&refused))
                    } else if is_on_disk(&received.bodies) {
                        self.request_len.fetch_sub(request_len, Ordering::Relaxed);
                        let unread = Outgoing::Unread {
                            set,
                            request_id,
                            received,
                        };
                        if let Err(error) = self.sender.try_send(unread) {
                            not_taken.extend(unread_of(error));
                        }
                        continue;
                    } else {
                        count += 1;
                        len += request_len;
                        let Received {
                            deliveries, bodies, ..
                        } = received;
                        write_in_memory(&deliveries, &bodies, request_id, &mut frames);
                        continue;
                    }
                }
                Outcome::Peeked(_) if !self.can_take(frames.len()) => {
                    Reply::Error(error_reply(&Refused::new(ErrorCode::TooManyRequests)))
                }
                Outcome::Peeked(peeked) if is_on_disk(&peeked.bodies) => {
                    self.request_len.fetch_sub(request_len, Ordering::Relaxed);
                    let unseen = Outgoing::Unseen {
                        set,
                        request_id,
                        peeked,
                    };
                    // The only failure is a writer that is gone, and with it the client.
                    drop(self.sender.try_send(unseen));
                    continue;
                }
                Outcome::Peeked(peeked) => {
                    count += 1;
                    len += request_len;
                    let (messages, bodies) = (&peeked.messages, &peeked.bodies);
                    write_in_memory(messages, bodies, request_id, &mut frames);
                    continue;
                }
                Outcome::Sent(sent) => Reply::Sent(sent),
                Outcome::Deleted(results) => Reply::Deleted(results),
                Outcome::VisibilityChanged(results) => Reply::VisibilityChanged(results),
                Outcome::Purged(count) => Reply::QueuePurged(count),
                Outcome::Rewound(count) => Reply::QueueRewound(count),
                Outcome::Rescheduled => Reply::Rescheduled,
                Outcome::RedriveBegun(job) => Reply::RedriveBegun(RedriveBegun { job, count: 0 }),
                Outcome::RedriveCounted(count) => {
                    Reply::RedriveBegun(RedriveBegun { job: 0, count })
                }
                Outcome::RedriveShown(shown) => Reply::RedriveShown(redrive_status(*shown)),
                Outcome::RedriveCancelled(shown) => Reply::RedriveCancelled(redrive_status(*shown)),
                Outcome::Shown(shown) => Reply::QueueShown(Box::new(description(shown))),
                Outcome::Refused(refused) => Reply::Error(error_reply(&refused)),
            };
            count += 1;
            len += request_len;
            reply.encode(request_id, 0, &mut frames);
        }
        if count > 0 {
            self.hand_over(frames, count, len);
        }
        not_taken
    }
}

fn unread_of(error: mpsc::error::TrySendError<Outgoing>) -> Option<Received> {
    match error.into_inner() {
        Outgoing::Unread { received, .. } => Some(received),
        Outgoing::Frames { .. } | Outgoing::Unseen { .. } => None,
    }
}

/// About how long an answer gets, so that its buffer need not grow.
fn len_of(outcome: &Outcome) -> usize {
    let bodies = match outcome {
        Outcome::Received(received) => &received.bodies[..],
        _ => &[],
    };
    let in_memory = bodies.iter().flat_map(|run| match run {
        BodyRun::Memory { places, .. } => &places[..],
        BodyRun::Disk { .. } => &[],
    });
    let messages = in_memory.map(|(record, _)| ReceivedEncoder::<Bytes>::len_of(record));
    HEAD_LEN + messages.sum::<usize>()
}

fn is_on_disk(bodies: &[BodyRun]) -> bool {
    let mut runs = bodies.iter();
    runs.any(|run| matches!(run, BodyRun::Disk { .. }))
}

#[cfg(test)]
mod tests {
    use sampan_protocol::QueueId;

    use super::*;

    fn received(outbox: &Outbox) -> Vec<Received> {
        outbox.on_request(0);
        let received = Received {
            queue: QueueId(7),
            deliveries: Vec::new(),
            bodies: Vec::new(),
        };
        let answer = Answer {
            request_id: 1,
            len: 0,
            outcome: Outcome::Received(received),
        };
        outbox.answer(SetId(1), vec![answer])
    }

    #[test]
    fn a_connection_that_is_over_takes_no_messages() {
        let (outbox, _outgoing) = Outbox::new(ClientId(1));
        assert!(received(&outbox).is_empty(), "taken");
        outbox.close();
        assert_eq!(received(&outbox).len(), 1, "goes back to its queue");
    }

    #[tokio::test]
    async fn no_answer_is_lost_however_many_are_made_without_a_pause() {
        let (outbox, mut outgoing) = Outbox::new(ClientId(1));
        let count = 3 * PLACE_COUNT;
        let reader = async {
            for request_id in 0..count as u64 {
                outbox.has_place().await;
                outbox.on_request(5);
                outbox.push(request_id, 5, &Reply::Pong);
            }
        };
        let writer = async {
            for _ in 0..count {
                let Some(Outgoing::Frames { bytes, .. }) = outgoing.recv().await else {
                    panic!("no frames")
                };
                outbox.on_written(bytes.len());
                outbox.on_answered(1, 5);
            }
        };
        tokio::join!(reader, writer);
        assert_eq!((outbox.request_count(), outbox.unwritten_len()), (0, 0));
    }
}
