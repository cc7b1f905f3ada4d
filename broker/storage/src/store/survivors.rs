//! Gathers the messages that outlived a checkpoint into extents.
//!
//! Messages of one queue and one id space go into one extent until it is full, whatever batches
//! they came in. One message per extent would cost an index row each; an extent without a limit
//! would have to be read whole for a single body.
//!
//! Spec: spec/storage.md, "The queue store".

use sampan_protocol::{MessageId, QueueId};

use super::error::StoreError;
use super::extent_index::{Books, ExtentIndex};
use super::options::{EXTENT_LEN, EXTENT_SPAN_MAX};
use super::overlay::Overlay;
use super::removals::Removals;
use super::segment_extent::{EXTENT_RECORD_LEN, Outgoing, extent_len};
use super::segment_writer::SegmentWriter;

/// Writes extents and their index rows.
pub(super) struct ExtentSink<'a, 't, 'b> {
    pub(super) writer: &'a mut SegmentWriter<'b>,
    pub(super) index: &'a mut ExtentIndex<'t>,
    pub(super) books: &'a mut Books,
}

impl ExtentSink<'_, '_, '_> {
    /// Writes one extent.
    pub(super) fn put(
        &mut self,
        queue: QueueId,
        messages: &[Outgoing<'_>],
    ) -> Result<(), StoreError> {
        let entry = self
            .writer
            .append(&mut self.books.accounts, queue, messages)?;
        self.index.insert(self.books, &entry)
    }
}

/// Writes what lives in `frozen`, except what is `gone` since.
pub(super) fn write_survivors(
    frozen: &Overlay,
    gone: &Removals,
    sink: &mut ExtentSink<'_, '_, '_>,
) -> Result<(), StoreError> {
    let mut gathered = Gathered::default();
    for (queue, extent) in frozen.extents() {
        for (id, message) in extent.messages(extent.ids().start) {
            let Some(message) = message else { continue };
            if gone.contains(queue, id) {
                continue;
            }
            let outgoing = Outgoing {
                id: id.0,
                sent_at: message.sent_at,
                record: message.record,
                content: message.content(),
            };
            if !gathered.has_room_for(queue, &outgoing) {
                gathered.write(sink)?;
            }
            gathered.push(queue, outgoing);
        }
    }
    gathered.write(sink)
}

/// The messages of the next extent.
#[derive(Default)]
struct Gathered<'a> {
    queue: QueueId,
    messages: Vec<Outgoing<'a>>,
    len: usize,
}

impl<'a> Gathered<'a> {
    fn has_room_for(&self, queue: QueueId, message: &Outgoing<'_>) -> bool {
        let Some(first) = self.messages.first() else {
            return true;
        };
        let grown = self.len + EXTENT_RECORD_LEN + message.content.len();
        queue == self.queue
            && grown <= EXTENT_LEN
            && MessageId(first.id).space() == MessageId(message.id).space()
            && message.id - first.id < EXTENT_SPAN_MAX
    }

    fn push(&mut self, queue: QueueId, message: Outgoing<'a>) {
        if self.messages.is_empty() {
            self.queue = queue;
            self.len = extent_len(0, 0);
        }
        self.len += EXTENT_RECORD_LEN + message.content.len();
        self.messages.push(message);
    }

    fn write(&mut self, sink: &mut ExtentSink<'_, '_, '_>) -> Result<(), StoreError> {
        if !self.messages.is_empty() {
            sink.put(self.queue, &self.messages)?;
            self.messages.clear();
        }
        Ok(())
    }
}
