//! What clients asked and what they were told: the only thing the checker believes.
//!
//! One event per message that a call was about, with the time before the call and after its
//! answer, by one monotonic clock. A refusal says that nothing was changed; everything else that is
//! not a success is unknown. Compact, for a round has hundreds of thousands of events.
//!
//! Invariant: at most `EVENT_COUNT_MAX` events; what comes beyond is a note, which fails the round.

use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use sampan_client::{Applied, Error};

/// 256 MiB of events: many times what a round has.
const EVENT_COUNT_MAX: usize = 4 * 1024 * 1024;
/// Notes that are kept; more of them tell nothing new.
const NOTE_COUNT_MAX: usize = 100;

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Send,
    Receive,
    Delete,
    /// Hiding for longer, or shorter.
    Extend,
    /// Giving back.
    Release,
    /// Of a queue: what was deleted comes back.
    Rewind,
    /// Of a queue: all that is there goes to another one.
    Redrive,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    /// Nothing was changed.
    Refused,
    Unknown,
}

/// Codes of failures that are no refusals; those have the numbers of spec/errors.md.
pub(crate) mod code {
    pub(crate) const NONE: u16 = 0;
    pub(crate) const DISCONNECTED: u16 = 1;
    pub(crate) const TIMED_OUT: u16 = 2;
    pub(crate) const CORRUPT: u16 = 3;
    pub(crate) const OTHER: u16 = 4;
}

/// See the head of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Microseconds since the history began.
    pub(crate) start_us: u64,
    pub(crate) end_us: u64,
    /// The message's id in its queue; 0 when it is not known.
    pub(crate) message: u64,
    /// What the producer called it; 0 when it is not known.
    pub(crate) number: u64,
    /// Of a receive, by the set's clock.
    pub(crate) visible_at_ms: u64,
    /// Of a receive, by the set's clock; of a rewind the instant asked for.
    pub(crate) sent_at_ms: u64,
    /// Of a send the delay, of a receive and an extension the visibility asked for.
    pub(crate) timeout_ms: u32,
    /// Of a receive, and of what is done with its handle.
    pub(crate) receive_count: u32,
    pub(crate) queue: u16,
    pub(crate) code: u16,
    pub(crate) kind: Kind,
    pub(crate) outcome: Outcome,
    /// Of a send: the SDK numbers it, and repeats it by itself when its outcome is unknown.
    pub(crate) is_numbered: bool,
    /// Of a send that succeeded: its acknowledgement says async.
    pub(crate) is_async: bool,
}

impl Event {
    /// An event of this kind and time, successful, about nothing yet.
    pub(crate) fn new(kind: Kind, queue: u16, start_us: u64, end_us: u64) -> Event {
        Event {
            start_us,
            end_us,
            message: 0,
            number: 0,
            visible_at_ms: 0,
            sent_at_ms: 0,
            timeout_ms: 0,
            receive_count: 0,
            queue,
            code: code::NONE,
            kind,
            outcome: Outcome::Done,
            is_numbered: false,
            is_async: false,
        }
    }

    /// The same event, failed.
    pub(crate) fn failed(mut self, error: &Error) -> Event {
        self.outcome = match error.applied() {
            Applied::No => Outcome::Refused,
            Applied::Yes | Applied::Unknown => Outcome::Unknown,
        };
        self.code = match error {
            Error::Refused { number, .. } => *number,
            Error::Disconnected { .. } => code::DISCONNECTED,
            Error::TimedOut { .. } => code::TIMED_OUT,
            Error::Corrupt { .. } => code::CORRUPT,
            _ => code::OTHER,
        };
        self
    }

    /// When a received message was handed out, by the set's clock.
    pub(crate) fn handed_at_ms(&self) -> u64 {
        self.visible_at_ms.saturating_sub(self.timeout_ms.into())
    }

    /// Whether this is a successful call of this kind.
    pub(crate) fn is_done(&self, kind: Kind) -> bool {
        self.kind == kind && self.outcome == Outcome::Done
    }
}

#[derive(Default)]
struct Recorded {
    events: Vec<Event>,
    notes: Vec<String>,
}

/// See the head of the file.
pub(crate) struct History {
    began: Instant,
    recorded: Mutex<Recorded>,
}

impl History {
    /// An empty history that begins now.
    pub(crate) fn new() -> History {
        History {
            began: Instant::now(),
            recorded: Mutex::default(),
        }
    }

    /// Microseconds since it began.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).expect("less than 500,000 years")
    }

    /// Adds an event.
    pub(crate) fn push(&self, event: Event) {
        let mut recorded = self.lock();
        if recorded.events.len() < EVENT_COUNT_MAX {
            recorded.events.push(event);
        } else if recorded.notes.len() < NOTE_COUNT_MAX {
            recorded.notes.push("the history is full".to_owned());
        }
    }

    /// Adds something that is wrong whatever else happened.
    pub(crate) fn note(&self, text: String) {
        let mut recorded = self.lock();
        if recorded.notes.len() < NOTE_COUNT_MAX {
            recorded.notes.push(text);
        }
    }

    /// How many events there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().events.len()
    }

    /// Takes all events and notes out.
    pub(crate) fn take(&self) -> (Vec<Event>, Vec<String>) {
        let recorded = std::mem::take(&mut *self.lock());
        (recorded.events, recorded.notes)
    }

    fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.recorded
            .lock()
            .expect("no holder of the history panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_takes_at_most_64_bytes() {
        assert!(size_of::<Event>() <= 64);
    }

    #[test]
    fn a_failure_keeps_its_number_and_whether_anything_was_changed() {
        let event = Event::new(Kind::Send, 0, 1, 2);
        let unknown = event.failed(&Error::TimedOut {
            applied: Applied::Unknown,
        });
        assert_eq!(
            (unknown.outcome, unknown.code),
            (Outcome::Unknown, code::TIMED_OUT)
        );
        let refused = event.failed(&Error::Refused {
            number: 500,
            text: "storage full".into(),
            applied: Applied::No,
            retry_after: std::time::Duration::ZERO,
        });
        assert_eq!((refused.outcome, refused.code), (Outcome::Refused, 500));
    }
}
