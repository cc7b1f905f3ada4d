//! Looking at the messages of a queue; see `queue::peek`.

use bytes::Bytes;
use sampan_protocol::{MessageId, QueueId};

use super::{Broker, Need, RestoreError};
use crate::queue::{Look, LookRows, Peek, Peeked, Queue};
use crate::row_key::RowKey;

/// Why nothing can be said of a queue's messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeekError {
    /// There is no such queue.
    QueueNotFound,
    /// Rows are not in memory: read these rows and look again with them.
    Need(Need),
    /// A row is damaged.
    Damaged(RestoreError),
}

impl Broker {
    /// Looks at messages of a queue. Nothing changes.
    ///
    /// `rows` are those that an earlier look asked for; `None` for one that is gone meanwhile.
    ///
    /// # Errors
    ///
    /// See [`PeekError`].
    pub fn peek(
        &self,
        queue: QueueId,
        ask: &Peek,
        rows: &[(RowKey, Option<Bytes>)],
    ) -> Result<Vec<Peeked>, PeekError> {
        self.look(queue, rows, |queue, rows| queue.peek(ask, rows))
    }

    /// The ready messages of a queue behind `ask.id` in the order of their ids, up to where `ends`
    /// says for ids without a delay and with one: what a redrive goes through.
    ///
    /// # Errors
    ///
    /// As [`Broker::peek`].
    pub fn look_by_id(
        &self,
        queue: QueueId,
        ask: &Peek,
        ends: [MessageId; 2],
        rows: &[(RowKey, Option<Bytes>)],
    ) -> Result<Vec<Peeked>, PeekError> {
        self.look(queue, rows, |queue, rows| queue.look_by_id(ask, ends, rows))
    }

    fn look(
        &self,
        id: QueueId,
        rows: &[(RowKey, Option<Bytes>)],
        look: impl for<'a> FnOnce(&'a Queue, &'a LookRows) -> Look<'a>,
    ) -> Result<Vec<Peeked>, PeekError> {
        let queue = self.queues.get(&id).ok_or(PeekError::QueueNotFound)?;
        let mut look_rows = LookRows::default();
        for (key, row) in rows {
            let damaged = |source| RestoreError::Damaged { key: *key, source };
            let pushed = look_rows.push(*key, row.as_deref());
            pushed.map_err(|source| PeekError::Damaged(damaged(source)))?;
        }
        let look = look(queue, &look_rows);
        if look.needs.is_empty() {
            return Ok(look.messages);
        }
        let keys = look.needs.into_iter().map(|(kind, number)| RowKey {
            queue: id,
            kind,
            number,
        });
        Err(PeekError::Need(Need(keys.collect())))
    }
}
