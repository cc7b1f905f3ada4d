//! The book of a stream's heartbeat: which replies are still held, and when they are due.
//!
//! A reply is entered once when it is here, by the connection's task, so that also what nobody has
//! looked at yet is kept. What is deleted or dropped is not taken out: it is not found any more
//! when its reply is due, or when the book has grown.
//!
//! The visibility timeout is what the stream asks for, or else is told by any message that was
//! never received before: the time from its first receive to its end. A reply that has none goes by
//! what was learned less than a visibility timeout ago, or waits until the queue was asked.
//!
//! Invariants: the book holds each reply at most once, and at most [`BOOK_COUNT_MIN`] replies or
//! twice as many as were held when it was last looked through. No extension is under way when
//! [`Watch::settled`] returns that was not begun since.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sampan_protocol::ReceivedMessage;
use sampan_protocol::limits::{VISIBILITY_TIMEOUT_MAX_MS, VISIBILITY_TIMEOUT_MIN_MS};
use tokio::sync::{MutexGuard as RoundGuard, Notify};
use tokio::time::{Instant, sleep_until};

use crate::lease::Leases;

/// So many replies are kept before it is looked which of them are still held.
const BOOK_COUNT_MIN: usize = 64;
/// How long after a failure the queue is asked again for its visibility timeout.
const ASK_PAUSE: Duration = Duration::from_secs(1);

/// One reply.
#[derive(Debug)]
pub(crate) struct Entry {
    leases: Weak<Leases>,
    /// `None`: not known yet.
    visibility: Option<Duration>,
    pub(crate) arrived_at: Instant,
    /// When it was last looked what its messages need.
    pub(crate) looked_at: Instant,
    pub(crate) due_at: Instant,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: Vec<Entry>,
    /// With so many entries it is looked which are still held.
    prune_at: usize,
    /// When the task looks again by itself.
    wake_at: Option<Instant>,
    /// What was learned last, and when.
    known: Option<(Duration, Instant)>,
}

/// What a stream's receives, deliveries and heartbeat share.
#[derive(Debug)]
pub(crate) struct Watch {
    /// What the stream's receives ask for.
    visibility: Option<Duration>,
    book: Mutex<Book>,
    /// Something is due earlier than the task knew.
    earlier: Notify,
    /// Held while extensions are under way.
    round: tokio::sync::Mutex<()>,
}

impl Watch {
    pub(crate) fn new(visibility: Option<Duration>) -> Self {
        Watch {
            visibility,
            book: Mutex::default(),
            earlier: Notify::new(),
            round: tokio::sync::Mutex::new(()),
        }
    }

    /// Enters the messages of a reply.
    pub(crate) fn enter(self: &Arc<Self>, messages: &[ReceivedMessage]) -> Arc<Leases> {
        let handles = messages.iter().map(|message| message.handle);
        let leases = Arc::new(Leases::new(Arc::clone(self), handles));
        let now = Instant::now();
        let told = self.visibility.or_else(|| visibility_of(messages));
        let mut book = self.book();
        if let Some(visibility) = told {
            book.known = Some((visibility, now));
        }
        let visibility = told.or_else(|| book.known_at(now));
        let due_at = visibility.map_or(now, |visibility| now + visibility / 2);
        let is_earlier = book.wake_at.is_none_or(|at| due_at < at);
        book.put(Entry {
            leases: Arc::downgrade(&leases),
            visibility,
            arrived_at: now,
            looked_at: now,
            due_at,
        });
        if is_earlier {
            book.wake_at = Some(due_at);
        }
        drop(book);
        if is_earlier {
            self.earlier.notify_one();
        }
        leases
    }

    /// Waits until every extension that is under way has its outcome.
    pub(crate) async fn settled(&self) {
        drop(self.round.lock().await);
    }

    /// Begins a round of extensions.
    pub(crate) async fn begin_round(&self) -> RoundGuard<'_, ()> {
        self.round.lock().await
    }

    /// The book. Nothing that can panic happens under its lock.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something that is still held is due.
    pub(crate) async fn due(&self) {
        loop {
            let wake_at = self.book().next_due();
            match wake_at {
                Some(at) if at <= Instant::now() => return,
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.earlier.notified() => {}
                },
                None => self.earlier.notified().await,
            }
        }
    }
}

/// What one of the messages tells by never having been received before.
fn visibility_of(messages: &[ReceivedMessage]) -> Option<Duration> {
    let mut firsts = messages.iter().filter(|message| message.receive_count == 1);
    let first = firsts.next()?;
    let visible_ms = first.visible_at.0.checked_sub(first.first_received_at.0)?;
    Some(in_range(Duration::from_millis(visible_ms)))
}

/// As the broker takes it.
pub(crate) fn in_range(visibility: Duration) -> Duration {
    let [min, max] = [VISIBILITY_TIMEOUT_MIN_MS, VISIBILITY_TIMEOUT_MAX_MS]
        .map(|milliseconds| Duration::from_millis(milliseconds.into()));
    visibility.clamp(min, max)
}

impl Book {
    /// Enters a reply, or enters it again.
    pub(crate) fn put(&mut self, entry: Entry) {
        if self.entries.len() >= self.prune_at.max(BOOK_COUNT_MIN) {
            self.prune();
        }
        self.entries.push(entry);
    }

    /// Forgets the replies of which nobody holds a message.
    fn prune(&mut self) {
        self.entries.retain(|entry| entry.leases.strong_count() > 0);
        self.prune_at = self.entries.len() * 2;
    }

    /// When the first of those that are still held is due.
    fn next_due(&mut self) -> Option<Instant> {
        self.prune();
        self.wake_at = self.entries.iter().map(|entry| entry.due_at).min();
        self.wake_at
    }

    /// The visibility timeout, when it was learned less than one ago.
    fn known_at(&self, now: Instant) -> Option<Duration> {
        let (visibility, at) = self.known?;
        (now - at < visibility).then_some(visibility)
    }

    /// Whether something is due whose visibility timeout is not known.
    pub(crate) fn has_unknown(&self, now: Instant) -> bool {
        let is_unknown = |entry: &Entry| entry.visibility.is_none() && entry.due_at <= now;
        self.entries.iter().any(is_unknown)
    }

    /// Takes in what the queue said, or that it did not.
    pub(crate) fn learn(&mut self, learned: Option<Duration>, now: Instant) {
        if let Some(visibility) = learned {
            self.known = Some((visibility, now));
        }
        let unknown = self.entries.iter_mut();
        for entry in unknown.filter(|entry| entry.visibility.is_none()) {
            entry.visibility = learned;
            entry.due_at = match learned {
                Some(visibility) => entry.arrived_at + visibility / 2,
                None => now + ASK_PAUSE,
            };
        }
    }

    /// Takes out what is due, and what nearly is, so that frames fill.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<Due> {
        let is_due = |entry: &mut Entry| {
            let early = entry.visibility.unwrap_or_default() / 8;
            entry.visibility.is_some() && entry.due_at <= now + early
        };
        let due: Vec<_> = self.entries.extract_if(.., is_due).collect();
        due.into_iter().filter_map(Due::new).collect()
    }
}

/// A reply that is looked at.
pub(crate) struct Due {
    pub(crate) leases: Arc<Leases>,
    pub(crate) visibility: Duration,
    pub(crate) entry: Entry,
    /// Whether it is to be looked at again.
    pub(crate) is_needed: bool,
}

impl Due {
    fn new(entry: Entry) -> Option<Self> {
        Some(Due {
            leases: entry.leases.upgrade()?,
            visibility: entry.visibility?,
            entry,
            is_needed: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sampan_protocol::{MessageId, ReceiptHandle, Timestamp};

    use super::*;

    fn message(receive_count: u32) -> ReceivedMessage {
        ReceivedMessage {
            id: MessageId(1),
            handle: ReceiptHandle(1),
            sent_at: Timestamp(0),
            first_received_at: Timestamp(1_000),
            visible_at: Timestamp(21_000),
            receive_count,
            group_key: Bytes::new(),
            dedup_key: Bytes::new(),
            headers: Bytes::new(),
            body_crc32c: 0,
            body: Bytes::new(),
        }
    }

    #[test]
    fn replies_that_are_handled_are_forgotten() {
        let watch = Arc::new(Watch::new(None));
        let enter = || watch.enter(&[message(1)]);
        for _ in 0..10_000 {
            drop(enter());
            assert!(watch.book().entries.len() <= BOOK_COUNT_MIN);
        }
        let held: Vec<_> = (0..100).map(|_| enter()).collect();
        for _ in 0..10_000 {
            drop(enter());
            assert!(watch.book().entries.len() <= 2 * held.len());
        }
    }

    #[test]
    fn a_visibility_timeout_is_known_for_as_long_as_it_is() {
        let watch = Arc::new(Watch::new(None));
        let again = watch.enter(&[message(2)]);
        assert!(watch.book().has_unknown(Instant::now()));
        watch.book().learn(None, Instant::now());
        assert!(!watch.book().has_unknown(Instant::now()), "not so soon");
        let first = watch.enter(&[message(2), message(1)]);
        let (visibility, at) = watch.book().known.unwrap();
        assert_eq!(visibility, Duration::from_secs(20));
        let book = watch.book();
        assert_eq!(book.known_at(at + visibility / 2), Some(visibility));
        assert_eq!(book.known_at(at + visibility), None);
        drop((again, first));
    }
}
