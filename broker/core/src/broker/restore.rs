//! A set's state from its rows, as the newest durable checkpoint left them.
//!
//! Rows are read in the order of their keys, so a queue's own row comes before all that hang on it.
//! Pages and chunks of delayed messages are not needed: directories say what is in them, and `Need`
//! asks for them.
//! Spec: spec/state.md, "State rows".

use std::collections::BTreeSet;

use bytes::Bytes;
use sampan_protocol::QueueId;

use super::Broker;
use crate::fields::FieldError;
use crate::frozen::SetRow;
use crate::queue::Queue;
use crate::row_key::RowKey;
use crate::state_hash::StateHash;

/// Why rows do not make a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// A row cannot be read, or contradicts those before it.
    #[error("damaged state row {key:?}")]
    Damaged {
        /// Its key.
        key: RowKey,
        /// What is wrong with it.
        #[source]
        source: FieldError,
    },
    /// A row whose key does not follow the one before it.
    #[error("state row {key:?} is out of order")]
    OutOfOrder {
        /// Its key.
        key: RowKey,
    },
    /// A row of a kind that has no place here, or of a queue that has no row itself.
    #[error("state row {key:?} belongs to nothing")]
    Unexpected {
        /// Its key.
        key: RowKey,
    },
    /// The rows of a queue were read, and do not fit together.
    #[error("state rows of queue {queue} do not fit together")]
    Inconsistent {
        /// The queue.
        queue: QueueId,
    },
}

impl Broker {
    /// The state that these rows describe, each key once, in the order of the keys.
    ///
    /// # Errors
    ///
    /// The first row that does not fit.
    pub fn restore(
        rows: impl IntoIterator<Item = (RowKey, Bytes)>,
    ) -> Result<Broker, RestoreError> {
        let mut broker = Broker::new();
        let mut last = None;
        for (key, row) in rows {
            if last >= Some(key) {
                return Err(RestoreError::OutOfOrder { key });
            }
            last = Some(key);
            broker.restore_row(key, &row)?;
        }
        broker.index()?;
        Ok(broker)
    }

    fn restore_row(&mut self, key: RowKey, row: &[u8]) -> Result<(), RestoreError> {
        let restored = match key.kind {
            RowKey::SET => SetRow::decode(row).map(|set| {
                self.now = set.now;
                self.hash = StateHash::new(set.hash);
                self.hold = set.hold;
            }),
            RowKey::CATALOG => self.catalog.restore(row),
            RowKey::RECORD => self.catalog.restore_record(key.queue, row),
            RowKey::CLUSTER | RowKey::NODE | RowKey::RETIRED | RowKey::PLACEMENT => {
                self.catalog.restore_cluster_row(key, row)
            }
            RowKey::QUEUE => Queue::restore(key.queue, row).map(|queue| {
                self.queues.insert(key.queue, queue);
            }),
            _ => {
                let queue = self.queues.get_mut(&key.queue);
                queue
                    .ok_or(RestoreError::Unexpected { key })?
                    .restore_row(key, row)
            }
        };
        restored.map_err(|source| RestoreError::Damaged { key, source })
    }

    /// Makes what is not stored: the lists over all queues.
    fn index(&mut self) -> Result<(), RestoreError> {
        let (mut evicted, mut mailing) = (BTreeSet::new(), BTreeSet::new());
        let mut redriving = BTreeSet::new();
        for (id, queue) in &mut self.queues {
            queue
                .finish_restore()
                .map_err(|_| RestoreError::Inconsistent { queue: *id })?;
            queue.flags.indexed = queue.next_deadline();
            self.deadlines
                .extend(queue.flags.indexed.map(|at| (at, *id)));
            queue.flags.mailing = queue.has_letters();
            if queue.flags.mailing {
                mailing.insert(*id);
            }
            queue.flags.redriving = queue.is_redriving();
            if queue.flags.redriving {
                redriving.insert(*id);
            }
            if queue.has_evicted() {
                evicted.insert(*id);
            }
        }
        self.evicted = evicted;
        self.mailing = mailing;
        self.redriving = redriving;
        Ok(())
    }
}
