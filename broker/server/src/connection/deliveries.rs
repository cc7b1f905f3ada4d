//! Received messages, and those that were looked at, on their way to the client: cut into frames of
//! a bearable length.
//!
//! A reply of several megabytes leaves as several frames with the flag "more follows", and of what
//! lies in segment files only a piece is read at a time. Contents are copied once, into the frame.

use bytes::{Bytes, BytesMut};
use sampan_cluster::BodyRun;
use sampan_core::{Delivery, Peeked};
use sampan_protocol::{
    DeliveryMeta, MessageBatch, MessageId, MessageRecord, ReceivedEncoder, Timestamp,
};
use sampan_storage::store::StoredMessage;

/// What a reply says of a message beside its content.
pub(super) trait Item {
    /// A frame of such messages.
    fn encoder<C: AsRef<[u8]>>() -> ReceivedEncoder<C>;

    fn id(&self) -> MessageId;

    fn meta(&self, sent_at: Timestamp) -> DeliveryMeta;
}

impl Item for Delivery {
    fn encoder<C: AsRef<[u8]>>() -> ReceivedEncoder<C> {
        ReceivedEncoder::new()
    }

    fn id(&self) -> MessageId {
        self.id
    }

    fn meta(&self, sent_at: Timestamp) -> DeliveryMeta {
        DeliveryMeta {
            id: self.id,
            handle: self.handle,
            sent_at,
            first_received_at: self.first_received_at,
            visible_at: self.visible_at,
            receive_count: self.receive_count,
        }
    }
}

impl Item for Peeked {
    fn encoder<C: AsRef<[u8]>>() -> ReceivedEncoder<C> {
        ReceivedEncoder::peeked()
    }

    fn id(&self) -> MessageId {
        self.id
    }

    fn meta(&self, sent_at: Timestamp) -> DeliveryMeta {
        DeliveryMeta {
            id: self.id,
            handle: self.state.as_handle(),
            sent_at,
            first_received_at: self.first_received_at,
            visible_at: self.ready_at,
            receive_count: self.receive_count,
        }
    }
}

/// Encodes one reply to a receive or a peek. `C` is what holds a content until its frame is
/// finished.
pub(super) struct ReplyWriter<C> {
    encoder: ReceivedEncoder<C>,
    request_id: u64,
}

/// Appends a reply whose bodies are all in memory.
pub(super) fn write_in_memory<I: Item>(
    mut items: &[I],
    bodies: &[BodyRun],
    request_id: u64,
    out: &mut BytesMut,
) {
    let mut writer = ReplyWriter::<&[u8]>::new::<I>(request_id);
    for run in bodies {
        let (now, later) = items.split_at(run.count());
        items = later;
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
    pub(super) fn push_run<I: Item>(
        &mut self,
        items: &[I],
        (batch, sent_at): (&MessageBatch, Timestamp),
        places: &[(MessageRecord, usize)],
        out: &mut BytesMut,
    ) {
        for (item, (record, start)) in items.iter().zip(places) {
            let content = batch.as_bytes().slice(*start..start + record.content_len());
            self.push(item, sent_at, *record, content, out);
        }
    }

    /// A message that was read from a segment file.
    pub(super) fn push_stored<I: Item>(
        &mut self,
        item: &I,
        message: StoredMessage,
        out: &mut BytesMut,
    ) {
        self.push(item, message.sent_at, message.record, message.content, out);
    }
}

impl<C: AsRef<[u8]>> ReplyWriter<C> {
    pub(super) fn new<I: Item>(request_id: u64) -> Self {
        ReplyWriter {
            encoder: I::encoder(),
            request_id,
        }
    }

    fn push<I: Item>(
        &mut self,
        item: &I,
        sent_at: Timestamp,
        record: MessageRecord,
        content: C,
        out: &mut BytesMut,
    ) {
        if !self.encoder.has_room_for(&record) {
            self.encoder.finish(self.request_id, true, out);
        }
        self.encoder.push(&item.meta(sent_at), record, content);
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
