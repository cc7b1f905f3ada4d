//! Replies whose ids are in no order: of numbered sends with messages that were stored before, by
//! their deduplication keys.
//!
//! Such a reply has up to 256 runs of ids, and with a thousand of them the row of a session would
//! be longer than the store takes; so each has a row of its own. Its number is made of the
//! session's and the send's, modulo the replies that are kept: the reply that is forgotten has the
//! place of the new one.
//!
//! Invariants: there is one for each answer that says so, and no other; `run_count` is the sum over
//! all of them. Spec: spec/state.md, "Replies".

use std::collections::BTreeMap;
use std::sync::Arc;

use sampan_protocol::limits::BATCH_COUNT_MAX;
use sampan_protocol::{MessageId, Sent};

use super::answer::Answer;
use crate::fields::{FieldError, Fields, put_varint, unzigzag, zigzag};
use crate::limits::ANSWERS_KEPT;
use crate::row_changes::RowChanges;

const VERSION: u8 = 1;

#[derive(Debug, Default)]
pub(super) struct Scattered {
    replies: BTreeMap<u64, Arc<Sent>>,
    run_count: usize,
    changes: RowChanges,
}

/// The number of the row, for a send of a producer.
fn row_number(producer: u64, number: u64) -> u64 {
    let kept = ANSWERS_KEPT as u64;
    producer * kept + number % kept
}

impl Scattered {
    /// Runs of all replies.
    pub(super) fn run_count(&self) -> usize {
        self.run_count
    }

    pub(super) fn reply_count(&self) -> usize {
        self.replies.len()
    }

    pub(super) fn reply(&self, producer: u64, number: u64) -> Sent {
        let reply = self.replies.get(&row_number(producer, number));
        let reply = reply.expect("a scattered reply is kept as long as its answer");
        Sent::clone(reply)
    }

    /// Whether it has the reply that this answer is of.
    pub(super) fn holds(&self, producer: u64, number: u64, answer: &Answer) -> bool {
        let reply = self.replies.get(&row_number(producer, number));
        reply.is_some_and(|sent| Answer::of(sent) == *answer)
    }

    pub(super) fn put(&mut self, producer: u64, number: u64, sent: &Sent) {
        self.remove(producer, number);
        let row = row_number(producer, number);
        self.run_count += sent.runs.len();
        self.replies.insert(row, Arc::new(sent.clone()));
        self.changes.on_change(row);
    }

    pub(super) fn remove(&mut self, producer: u64, number: u64) {
        self.remove_row(row_number(producer, number));
    }

    /// Forgets all replies of a producer.
    pub(super) fn remove_all(&mut self, producer: u64) {
        let rows = row_number(producer, 0)..row_number(producer + 1, 0);
        let rows: Vec<u64> = self.replies.range(rows).map(|(row, _)| *row).collect();
        rows.into_iter().for_each(|row| self.remove_row(row));
    }

    fn remove_row(&mut self, row: u64) {
        if let Some(sent) = self.replies.remove(&row) {
            self.run_count -= sent.runs.len();
            self.changes.on_removal(row, true);
        }
    }

    /// Hands over what changed since the last freeze.
    pub(super) fn freeze(&mut self, mut each: impl FnMut(u64, Option<Arc<Sent>>)) {
        let (changed, gone) = self.changes.take();
        gone.into_iter().for_each(|row| each(row, None));
        for row in changed {
            each(row, self.replies.get(&row).cloned());
        }
    }

    /// Numbers of all rows that may be stored.
    pub(super) fn row_numbers(&self) -> impl Iterator<Item = u64> + '_ {
        self.replies.keys().copied().chain(self.changes.gone())
    }

    pub(super) fn restore_row(&mut self, row: u64, bytes: &[u8]) -> Result<(), FieldError> {
        let sent = decode(bytes)?;
        self.run_count += sent.runs.len();
        match self.replies.insert(row, Arc::new(sent)) {
            None => Ok(()),
            Some(_) => Err(FieldError::Range),
        }
    }
}

pub(crate) fn encode(sent: &Sent, out: &mut Vec<u8>) {
    out.push(VERSION);
    let mut before = 0;
    for (first, count) in &sent.runs {
        let step = first.0.wrapping_sub(before).cast_signed();
        put_varint(out, zigzag(step));
        put_varint(out, u64::from(*count));
        before = first.0;
    }
}

fn decode(bytes: &[u8]) -> Result<Sent, FieldError> {
    let mut fields = Fields::new(bytes);
    fields.version(VERSION)?;
    let mut runs = Vec::new();
    let (mut before, mut id_count) = (0u64, 0);
    while !fields.is_empty() {
        let step = unzigzag(fields.varint()?).cast_unsigned();
        let first = before.wrapping_add(step);
        let count = u32::try_from(fields.varint()?).map_err(|_| FieldError::Range)?;
        id_count += u64::from(count);
        let is_sound = count > 0 && (1..1 << 63).contains(&first);
        if !is_sound || id_count > BATCH_COUNT_MAX as u64 {
            return Err(FieldError::Range);
        }
        runs.push((MessageId(first), count));
        before = first;
    }
    Ok(Sent { runs })
}
