//! Received messages on their way to the client: cut into frames of a bearable length.
//!
//! A reply of several megabytes leaves as several frames with the flag "more follows", and of what
//! lies in segment files only a piece is read at a time. Contents are copied once, into the frame.

use bytes::{Bytes, BytesMut};
use sampan_cluster::{BodyRun, Received};
use sampan_core::Delivery;
use sampan_protocol::{DeliveryMeta, MessageBatch, MessageRecord, ReceivedEncoder, Timestamp};
use sampan_storage::store::StoredMessage;

/// Encodes one reply to a receive. `C` is what holds a content until its frame is finished.
pub(super) struct ReplyWriter<C> {
    encoder: ReceivedEncoder<C>,
    request_id: u64,
}

/// Appends a reply whose bodies are all in memory.
pub(super) fn write_in_memory(received: &Received, request_id: u64, out: &mut BytesMut) {
    let mut writer = ReplyWriter::<&[u8]>::new(request_id);
    let mut deliveries = received.deliveries.as_slice();
    for run in &received.bodies {
        let (now, later) = deliveries.split_at(run.count());
        deliveries = later;
        let BodyRun::Memory {
            batch,
            sent_at,
            places,
        } = run
        else {
            continue;
        };
        for (delivery, (record, start)) in now.iter().zip(places) {
            let content = &batch.as_bytes()[*start..start + record.content_len()];
            writer.push(delivery, *sent_at, *record, content, out);
        }
    }
    writer.finish(out);
}

impl ReplyWriter<Bytes> {
    /// Messages of one batch in memory.
    pub(super) fn push_run(
        &mut self,
        deliveries: &[Delivery],
        (batch, sent_at): (&MessageBatch, Timestamp),
        places: &[(MessageRecord, usize)],
        out: &mut BytesMut,
    ) {
        for (delivery, (record, start)) in deliveries.iter().zip(places) {
            let content = batch.as_bytes().slice(*start..start + record.content_len());
            self.push(delivery, sent_at, *record, content, out);
        }
    }

    /// A message that was read from a segment file.
    pub(super) fn push_stored(
        &mut self,
        delivery: &Delivery,
        message: StoredMessage,
        out: &mut BytesMut,
    ) {
        self.push(
            delivery,
            message.sent_at,
            message.record,
            message.content,
            out,
        );
    }
}

impl<C: AsRef<[u8]>> ReplyWriter<C> {
    pub(super) fn new(request_id: u64) -> Self {
        ReplyWriter {
            encoder: ReceivedEncoder::new(),
            request_id,
        }
    }

    fn push(
        &mut self,
        delivery: &Delivery,
        sent_at: Timestamp,
        record: MessageRecord,
        content: C,
        out: &mut BytesMut,
    ) {
        if !self.encoder.has_room_for(&record) {
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

    /// What there is so far, as a frame that others follow; returns the request's number.
    pub(super) fn interrupt(mut self, out: &mut BytesMut) -> u64 {
        if !self.encoder.is_empty() {
            self.encoder.finish(self.request_id, true, out);
        }
        self.request_id
    }

    /// The last frame of the reply; an empty one when there was no message.
    pub(super) fn finish(mut self, out: &mut BytesMut) {
        self.encoder.finish(self.request_id, false, out);
    }
}
