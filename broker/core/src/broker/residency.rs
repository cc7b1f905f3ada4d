//! What of the queues stays in memory over a checkpoint, and what comes back.
//!
//! Pages of messages that came back, and chunks of delayed messages. Each kind has a budget for the
//! whole set, kept at each checkpoint; between two of them a set holds what it touched besides. Of
//! pages those that are received from last go first, of chunks those that are due last. Nothing of
//! this shows in what an entry does. Spec: spec/state.md, "Rows that leave memory".

use sampan_protocol::{QueueId, Timestamp};

use super::{Broker, RestoreError};
use crate::limits::{RESIDENT_CHUNK_COUNT_MAX, RESIDENT_PAGE_COUNT_MAX};
use crate::row_key::RowKey;

impl Broker {
    /// The last freeze is durable: pages and chunks over the budget leave memory.
    pub fn checkpointed(&mut self) {
        self.on_checkpoint(RESIDENT_PAGE_COUNT_MAX, RESIDENT_CHUNK_COUNT_MAX);
    }

    /// [`Broker::checkpointed`] with another budget, of pages and of chunks of delayed messages; 0
    /// evicts all that is stored.
    pub fn checkpointed_with(&mut self, resident_count_max: usize) {
        self.on_checkpoint(resident_count_max, resident_count_max);
    }

    fn on_checkpoint(&mut self, page_count_max: usize, chunk_count_max: usize) {
        for id in std::mem::take(&mut self.frozen) {
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.on_checkpoint();
            }
        }
        self.chunk_count_max = chunk_count_max;
        self.evict_pages(page_count_max);
        self.evict_chunks();
        let evicted = self.queues.iter().filter(|(_, queue)| queue.has_evicted());
        self.evicted = evicted.map(|(id, _)| *id).collect();
    }

    fn evict_pages(&mut self, resident_count_max: usize) {
        let mut excess = self
            .resident_page_count()
            .saturating_sub(resident_count_max);
        // First round: each queue keeps its lowest page, which is received from next.
        for kept in [1, 0] {
            for queue in self.queues.values_mut() {
                if excess == 0 {
                    return;
                }
                excess -= queue.pages_mut().evict(excess, kept);
            }
        }
    }

    /// After an entry: once it and those before it were supplied with a quarter of the budget,
    /// chunks over it leave memory. Waiting for the checkpoint, chunks that fall due one message
    /// at a time would all gather here.
    pub(super) fn evict_supplied(&mut self) {
        if self.supplied_count > self.chunk_count_max / 4 {
            self.evict_chunks();
        }
    }

    fn evict_chunks(&mut self) {
        self.supplied_count = 0;
        let resident = self.resident_chunk_count();
        let excess = resident.saturating_sub(self.chunk_count_max);
        if excess == 0 {
            return;
        }
        let queues = self.queues.iter();
        let mut chunks: Vec<(Timestamp, QueueId, u64)> = queues
            .flat_map(|(id, queue)| {
                let chunks = queue.waiting().evictable();
                chunks.map(|(deadline, number)| (deadline, *id, number))
            })
            .collect();
        if excess < chunks.len() {
            // What is due last comes first; its order does not matter.
            chunks.select_nth_unstable_by(excess, |one, other| other.cmp(one));
            chunks.truncate(excess);
        }
        for (_, id, number) in chunks {
            if let Some(queue) = self.queues.get_mut(&id) {
                queue.waiting_mut().evict(number);
                self.evicted.insert(id);
            }
        }
    }

    /// Pages in memory.
    pub fn resident_page_count(&self) -> usize {
        let pages = self.queues.values().map(|queue| queue.pages());
        pages.map(|pages| pages.resident_count()).sum()
    }

    /// Chunks of delayed messages in memory.
    pub fn resident_chunk_count(&self) -> usize {
        let chunks = self.queues.values().map(|queue| queue.waiting());
        chunks.map(|chunks| chunks.resident_count()).sum()
    }

    /// Takes in a row that [`Need`](crate::Need) named. A row that is not needed any more changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// The row is damaged, or not the one that was stored.
    pub fn supply(&mut self, key: RowKey, row: &[u8]) -> Result<(), RestoreError> {
        if !key.is_paged() {
            return Err(RestoreError::Unexpected { key });
        }
        let Some(queue) = self.queues.get_mut(&key.queue) else {
            return Ok(());
        };
        self.supplied_count += 1;
        let supplied = queue.supply(key, row);
        supplied.map_err(|source| RestoreError::Damaged { key, source })?;
        if !queue.has_evicted() {
            self.evicted.remove(&key.queue);
        }
        Ok(())
    }
}
