//! Looks at messages that need pages which are not in memory: their rows are read on a blocking
//! thread and given along, and the state takes in nothing for it.
//!
//! One look of a set reads at a time; further ones wait, and with [`PEEKS_WAITING_MAX`] of them
//! none is taken. The reads were confirmed before they came here.
//! Spec: spec/semantics.md, "Looking".

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use sampan_core::{Need, PeekError, RowKey};
use sampan_protocol::ErrorCode;
use sampan_storage::store::{Reader, StoreError};
use tokio::sync::Notify;

use super::driver::Driver;
use super::request::{Origin, Outcome, PeekRequest, Refused};

/// Looks of a set that wait for a disk.
const PEEKS_WAITING_MAX: usize = 256;
/// How often a look reads rows: pages that it needs may be let go while it reads others.
const ROUND_COUNT_MAX: u32 = 4;
/// Advice to a client whose look found other pages gone each time.
const RETRY_MS: u32 = 100;

type Rows = Vec<(RowKey, Option<Bytes>)>;

/// One look, the rows that it has, and those that it waits for.
struct Look {
    origin: Origin,
    peek: PeekRequest,
    rows: Rows,
    need: Need,
    round_count: u32,
}

/// A look, and what came of reading for it.
type ReadLook = (Look, Result<Rows, StoreError>);

/// The looks of one set that wait for rows.
#[derive(Default)]
pub(super) struct Peeks {
    waiting: VecDeque<Look>,
    is_reading: bool,
    read: Rc<RefCell<Option<ReadLook>>>,
}

impl Peeks {
    pub(super) fn is_busy(&self) -> bool {
        self.is_reading || !self.waiting.is_empty()
    }

    /// Reads the rows of the next look, unless one is being read for.
    fn begin(&mut self, reader: Reader, wake: Rc<Notify>) {
        if self.is_reading {
            return;
        }
        let Some(look) = self.waiting.pop_front() else {
            return;
        };
        self.is_reading = true;
        let read = self.read.clone();
        tokio::task::spawn_local(async move {
            let keys = look.need.0.clone();
            // A thread that panics takes the process along; one that never began has read nothing.
            let rows = tokio::task::spawn_blocking(move || reader.read_rows(&keys)).await;
            *read.borrow_mut() = Some((look, rows.unwrap_or_else(|_| Ok(Vec::new()))));
            wake.notify_one();
        });
    }
}

impl Driver {
    /// A confirmed look at messages.
    pub(super) fn on_peek(&mut self, origin: Origin, peek: PeekRequest) {
        self.look(Look {
            origin,
            peek,
            rows: Vec::new(),
            need: Need(Vec::new()),
            round_count: 0,
        });
    }

    /// Takes in the rows that were read, and begins to read the next.
    pub(super) fn advance_peeks(&mut self) {
        let read = self.peeks.read.borrow_mut().take();
        if let Some((mut look, rows)) = read {
            self.peeks.is_reading = false;
            match rows {
                Ok(rows) => {
                    look.rows.extend(rows);
                    self.look(look);
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(set = %self.set, error, "pages could not be read for a look");
                    let refused = Refused::new(ErrorCode::Internal);
                    self.answers.push(look.origin, Outcome::Refused(refused));
                }
            }
        }
        let reader = self.state.borrow().reader();
        self.peeks.begin(reader, self.wake.clone());
    }

    fn look(&mut self, mut look: Look) {
        let peek = &look.peek;
        let looked = self
            .state
            .borrow()
            .broker
            .peek(peek.queue, &peek.ask, &look.rows);
        let refused = match looked {
            Ok(messages) => {
                let peeked = self.state.borrow().locate_peeked(peek.queue, messages);
                return self.answers.push(look.origin, Outcome::Peeked(peeked));
            }
            Err(PeekError::QueueNotFound) => Refused::new(ErrorCode::QueueNotFound),
            Err(PeekError::Damaged(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(set = %self.set, error, "a look found a damaged page");
                Refused::new(ErrorCode::Internal)
            }
            Err(PeekError::Need(_)) if look.round_count == ROUND_COUNT_MAX => {
                Refused::retry_after(ErrorCode::QueueBusy, RETRY_MS)
            }
            Err(PeekError::Need(_)) if self.peeks.waiting.len() >= PEEKS_WAITING_MAX => {
                Refused::new(ErrorCode::TooManyRequests)
            }
            Err(PeekError::Need(need)) => {
                look.need = need;
                look.round_count += 1;
                return self.peeks.waiting.push_back(look);
            }
        };
        self.answers.push(look.origin, Outcome::Refused(refused));
    }
}
