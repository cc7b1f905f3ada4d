//! Received messages on their way to the client: cut into frames of a bearable length.
//!
//! A reply of several megabytes leaves as several frames with the flag "more follows", and of what
//! lies in segment files only one frame's worth is read at a time.

use bytes::BytesMut;
use sampan_cluster::{BodySource, Received};
use sampan_core::Delivery;
use sampan_protocol::limits::RECEIVE_FRAME_LEN;
use sampan_protocol::{
    DeliveryMeta, MessageBatch, MessageRecord, ReceivedEncoder, Timestamp,
};
use sampan_storage::store::StoredMessage;

/// Encodes one reply to a receive.
pub(super) struct ReplyWriter {
    encoder: ReceivedEncoder,
    request_id: u64,
}

impl ReplyWriter {
    pub(super) fn new(request_id: u64) -> Self {
        ReplyWriter { encoder: ReceivedEncoder::new(), request_id }
    }

    /// A reply whose bodies are all in memory, as a whole.
    pub(super) fn write_in_memory(received: &Received, request_id: u64, out: &mut BytesMut) {
        let mut writer = ReplyWriter::new(request_id);
        let mut deliveries = received.deliveries.as_slice();
        for run in &received.bodies {
            let (now, later) = deliveries.split_at(run.count);
            deliveries = later;
            if let BodySource::Memory { batch, index, sent_at } = &run.source {
                writer.push_run(now, batch, *index, *sent_at, out);
            }
        }
        writer.finish(out);
    }

    /// Consecutive messages of a batch in memory.
    pub(super) fn push_run(
        &mut self,
        deliveries: &[Delivery],
        batch: &MessageBatch,
        index: usize,
        sent_at: Timestamp,
        out: &mut BytesMut,
    ) {
        for (delivery, (record, start)) in deliveries.iter().zip(batch.messages(index)) {
            let content = &batch.as_bytes()[start..start + record.content_len()];
            self.push(delivery, sent_at, record, content, out);
        }
    }

    /// A message that was read from a segment file.
    pub(super) fn push_stored(
        &mut self,
        delivery: &Delivery,
        message: &StoredMessage,
        out: &mut BytesMut,
    ) {
        self.push(delivery, message.sent_at, message.record, &message.content, out);
    }

    fn push(
        &mut self,
        delivery: &Delivery,
        sent_at: Timestamp,
        record: MessageRecord,
        content: &[u8],
        out: &mut BytesMut,
    ) {
        let is_full = self.encoder.encoded_len() + content.len() > RECEIVE_FRAME_LEN;
        if is_full && self.encoder.count() > 0 {
            self.encoder.finish(self.request_id, true, out);
        }
        let meta = DeliveryMeta {
            id: delivery.id,
            handle: delivery.handle,
            sent_at,
            first_received_at: delivery.first_received_at,
            visible_at: delivery.visible_at,
            receive_count: delivery.receive_count,
        };
        self.encoder.push(&meta, record, content);
    }

    /// The last frame of the reply; an empty one when there was no message.
    pub(super) fn finish(mut self, out: &mut BytesMut) {
        self.encoder.finish(self.request_id, false, out);
    }
}
