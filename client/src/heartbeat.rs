//! The heartbeat of a stream: messages that its application works on, or that wait at hand, stay in
//! flight.
//!
//! One task per stream. It sleeps until half of a visibility timeout has passed since the oldest
//! reply that anybody still holds a message of, and extends what needs it for a whole one, with up
//! to 256 handles to a frame. While all messages are handled in time, it wakes twice per visibility
//! timeout at the most, and sends nothing.
//!
//! A message that is handed out is kept up to the ceiling, so that a handler that hangs does not
//! keep it for ever; one that was at hand for so long, because nobody polls the stream, is given
//! back. An extension that fails is tried again after an eighth of the visibility timeout, beyond
//! the client's own repeats.
//!
//! Invariant: the task ends with its [`Heartbeat`], or with the client.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use sampan_protocol::limits::BATCH_COUNT_MAX;
use sampan_protocol::{ChangeVisibility, ErrorCode, Handles, Name, ReceiptHandle, Reply, Request};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::error::Error;
use crate::lease::{Look, Need};
use crate::queue::handle_results;
use crate::queue_options::millis_u32;
use crate::shared::Shared;
use crate::watch::{Due, Watch, in_range};

/// How long a message is kept, unless told otherwise.
pub(crate) const HEARTBEAT_CEILING_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// Longer ceilings are lowered to it; milliseconds up to here fit 32 bits.
const HEARTBEAT_CEILING_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Frames with extensions of one stream that are under way at one time.
const HEARTBEAT_FRAMES_MAX: usize = 16;

/// Handles that are extended by one request.
struct Frame {
    visibility: Duration,
    /// Which of those due, and which of its messages.
    members: Vec<(usize, usize)>,
}

/// A running heartbeat; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    watch: Arc<Watch>,
    task: AbortHandle,
}

impl Heartbeat {
    pub(crate) fn start(
        shared: &Arc<Shared>,
        queue: Name,
        visibility: Option<Duration>,
        ceiling: Duration,
    ) -> Self {
        let watch = Arc::new(Watch::new(visibility.map(in_range)));
        let beating = Beating {
            shared: Arc::clone(shared),
            queue,
            watch: Arc::clone(&watch),
            ceiling: ceiling.min(HEARTBEAT_CEILING_MAX),
        };
        let task = shared.runtime.spawn(beating.run()).abort_handle();
        Heartbeat { watch, task }
    }

    pub(crate) fn watch(&self) -> &Arc<Watch> {
        &self.watch
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task.
struct Beating {
    shared: Arc<Shared>,
    queue: Name,
    watch: Arc<Watch>,
    ceiling: Duration,
}

impl Beating {
    async fn run(self) {
        let mut is_open = true;
        while is_open {
            self.watch.due().await;
            if self.watch.book().has_unknown(Instant::now()) {
                self.ask().await;
            }
            is_open = self.round().await && !self.shared.is_closed();
        }
    }

    /// Asks the queue for its visibility timeout.
    async fn ask(&self) {
        let name = self.queue.clone();
        let shown = self
            .shared
            .call_for_reply(Request::QueueShow { name })
            .await;
        let learned = match shown {
            Ok(Reply::QueueShown(shown)) => {
                let milliseconds = shown.attributes.visibility_timeout_ms;
                Some(in_range(Duration::from_millis(milliseconds.into())))
            }
            _ => None,
        };
        self.watch.book().learn(learned, Instant::now());
    }

    /// Extends what is due. False when the client is closed.
    async fn round(&self) -> bool {
        let _under_way = self.watch.begin_round().await;
        let now = Instant::now();
        let mut due = self.watch.book().take_due(now);
        let frames = self.look(&mut due, now);
        let extending = frames.into_iter().map(|frame| self.extend(&due, frame));
        let extended: Vec<_> = stream::iter(extending)
            .buffer_unordered(HEARTBEAT_FRAMES_MAX)
            .collect()
            .await;
        for (frame, outcome) in extended {
            match outcome {
                Ok(()) => {}
                Err(Error::Closed { .. }) => return false,
                Err(_) => {
                    let again_at = Instant::now() + frame.visibility / 8;
                    for (at, _) in frame.members {
                        due[at].entry.due_at = again_at;
                    }
                }
            }
        }
        let mut book = self.watch.book();
        for due in due.into_iter().filter(|due| due.is_needed) {
            book.put(due.entry);
        }
        true
    }

    /// Looks what the messages need, and gives back what was at hand for too long.
    fn look(&self, due: &mut [Due], now: Instant) -> Vec<Frame> {
        let mut extended: BTreeMap<Duration, Vec<(usize, usize)>> = BTreeMap::new();
        let mut given_back: Vec<ReceiptHandle> = Vec::new();
        for (at, due) in due.iter_mut().enumerate() {
            let look = Look {
                before: due.entry.looked_at - due.entry.arrived_at,
                now: now - due.entry.arrived_at,
                ceiling: self.ceiling,
            };
            for place in due.leases.places() {
                match due.leases.need(place, &look) {
                    Need::Nothing => {}
                    Need::GiveBack if due.leases.give_back(place) => {
                        given_back.push(due.leases.handle(place));
                    }
                    // What can't be given back was handed out in this moment.
                    Need::Extend | Need::GiveBack => {
                        due.is_needed = true;
                        let members = extended.entry(due.visibility).or_default();
                        members.push((at, place));
                    }
                }
            }
            due.entry.looked_at = now;
            due.entry.due_at = now + due.visibility / 2;
        }
        self.shared.release(&self.queue, &given_back);
        let frames = extended.iter().flat_map(|(visibility, members)| {
            members.chunks(BATCH_COUNT_MAX).map(|members| Frame {
                visibility: *visibility,
                members: members.to_vec(),
            })
        });
        frames.collect()
    }

    /// Extends the messages of one frame, and marks those that are lost.
    async fn extend(&self, due: &[Due], frame: Frame) -> (Frame, Result<(), Error>) {
        let members = frame.members.iter();
        let handles = members.map(|(at, place)| due[*at].leases.handle(*place));
        let change = ChangeVisibility {
            queue: self.queue.clone(),
            visibility_timeout_ms: millis_u32(frame.visibility),
            handles: Handles::from_iter(handles),
        };
        let changed = handle_results(&self.shared, Request::ChangeVisibility(change)).await;
        let lost: Vec<usize> = match changed {
            Ok(failures) => failures.into_iter().map(|(place, _)| place).collect(),
            Err(error) if error.code() == Some(ErrorCode::QueueNotFound) => {
                (0..frame.members.len()).collect()
            }
            Err(error) => return (frame, Err(error)),
        };
        for (at, place) in lost.iter().filter_map(|place| frame.members.get(*place)) {
            due[*at].leases.lose(*place);
        }
        (frame, Ok(()))
    }
}
