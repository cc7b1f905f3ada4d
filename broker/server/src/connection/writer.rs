//! The writing half of a connection: answers to the socket, many with one write.
//!
//! Messages that lie in segment files are read here, a frame's worth at a time and on a blocking
//! thread, while the socket takes the frames before: so a reply of megabytes costs the memory of
//! two frames.
//!
//! A message that is gone when its body is read (deleted or expired meanwhile) is left out: its
//! receipt is worth nothing any more. When one is damaged and no replica has it, the others are
//! written before the refusal.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sampan_cluster::{Bodies, BodyRun, Node, Refused};
use sampan_protocol::limits::{BATCH_COUNT_MAX, RECEIVE_FRAME_LEN};
use sampan_protocol::{ErrorCode, MessageId, QueueId, Reply, SetId};
use sampan_storage::store::{StoreError, StoredMessage};
use tokio::io::{AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::deliveries::{Item, ReplyWriter};
use super::outbox::{Outbox, Outgoing, error_reply};
use super::{ConnectionError, WRITE_STALL_MAX};

/// Short answers are gathered up to this length before they are written.
const GATHER_LEN: usize = 256 * 1024;
/// A piece of this length is written as it is instead of being copied together with others.
const WRITE_ALONE_LEN: usize = 32 * 1024;
/// Bodies read first, before their length is known.
const READ_COUNT_FIRST: usize = 4;
/// Length of the bodies that are then read at one time, about.
const READ_LEN: usize = 2 * RECEIVE_FRAME_LEN;

/// See the module's documentation.
pub(super) struct Writer<S> {
    stream: WriteHalf<S>,
    outgoing: mpsc::Receiver<Outgoing>,
    outbox: Arc<Outbox>,
    node: Arc<Node>,
    gathered: BytesMut,
    answered: (usize, usize),
}

impl<S: AsyncWrite + Unpin> Writer<S> {
    pub(super) fn new(
        stream: WriteHalf<S>,
        outgoing: mpsc::Receiver<Outgoing>,
        outbox: Arc<Outbox>,
        node: Arc<Node>,
    ) -> Self {
        let gathered = BytesMut::new();
        Writer {
            stream,
            outgoing,
            outbox,
            node,
            gathered,
            answered: (0, 0),
        }
    }

    /// Writes until the connection is dropped or the client takes nothing any more.
    pub(super) async fn run(mut self) -> Result<(), ConnectionError> {
        while let Some(first) = self.outgoing.recv().await {
            self.write(first).await?;
            while let Ok(next) = self.outgoing.try_recv() {
                self.write(next).await?;
            }
            self.flush_gathered().await?;
            self.within(|stream| stream.flush()).await?;
        }
        Ok(())
    }

    async fn write(&mut self, outgoing: Outgoing) -> Result<(), ConnectionError> {
        match outgoing {
            Outgoing::Frames {
                bytes,
                answered_count,
                answered_len,
            } => {
                if bytes.len() >= WRITE_ALONE_LEN {
                    self.flush_gathered().await?;
                    self.write_all(&bytes).await?;
                    self.outbox.on_answered(answered_count, answered_len);
                    return Ok(());
                }
                self.gathered.extend_from_slice(&bytes);
                self.answered.0 += answered_count;
                self.answered.1 += answered_len;
                if self.gathered.len() >= GATHER_LEN {
                    self.flush_gathered().await?;
                }
                Ok(())
            }
            Outgoing::Unread {
                set,
                request_id,
                received,
            } => {
                self.flush_gathered().await?;
                let bodies = (received.queue, received.bodies.as_slice());
                self.write_unread(set, request_id, &received.deliveries, bodies)
                    .await?;
                self.outbox.on_answered(1, 0);
                Ok(())
            }
            Outgoing::Unseen {
                set,
                request_id,
                peeked,
            } => {
                self.flush_gathered().await?;
                let bodies = (peeked.queue, peeked.bodies.as_slice());
                self.write_unread(set, request_id, &peeked.messages, bodies)
                    .await?;
                self.outbox.on_answered(1, 0);
                Ok(())
            }
        }
    }

    async fn write_unread<I: Item>(
        &mut self,
        set: SetId,
        request_id: u64,
        mut items: &[I],
        (queue, bodies): (QueueId, &[BodyRun]),
    ) -> Result<(), ConnectionError> {
        let mut reply = ReplyWriter::new::<I>(request_id);
        let (mut frames, mut lost_count) = (BytesMut::new(), 0);
        for run in bodies {
            let mut now = take(&mut items, run.count());
            if let BodyRun::Memory {
                batch,
                sent_at,
                places,
            } = run
            {
                reply.push_run(now, (batch, *sent_at), places, &mut frames);
                self.write_uncounted(&mut frames).await?;
                continue;
            }
            let mut read_count = READ_COUNT_FIRST;
            while !now.is_empty() {
                let piece_len = read_count.min(now.len());
                let piece = take(&mut now, piece_len);
                let bodies = match self.read(set, queue, piece).await {
                    Ok(bodies) => bodies,
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(%set, error, "stored messages could not be read");
                        return self.refuse_unread(reply, &mut frames).await;
                    }
                };
                lost_count += bodies.lost_count;
                read_count = next_read_count(&bodies.messages);
                for (item, message) in piece.iter().zip(bodies.messages) {
                    if let Some(message) = message {
                        reply.push_stored(item, message, &mut frames);
                    }
                    if frames.len() >= RECEIVE_FRAME_LEN {
                        self.write_uncounted(&mut frames).await?;
                    }
                }
                self.write_uncounted(&mut frames).await?;
            }
        }
        if lost_count > 0 {
            return self.refuse_unread(reply, &mut frames).await;
        }
        reply.finish(&mut frames);
        self.write_uncounted(&mut frames).await
    }

    async fn read<I: Item>(
        &self,
        set: SetId,
        queue: QueueId,
        items: &[I],
    ) -> Result<Bodies, StoreError> {
        let ids: Vec<MessageId> = items.iter().map(Item::id).collect();
        self.node.read(set, queue, &ids).await
    }

    /// Some bodies could not be read: what was read goes out, then the refusal. The other messages
    /// come back when their visibility ends.
    async fn refuse_unread(
        &mut self,
        reply: ReplyWriter<Bytes>,
        frames: &mut BytesMut,
    ) -> Result<(), ConnectionError> {
        let request_id = reply.interrupt(frames);
        let refusal = Reply::Error(error_reply(&Refused::new(ErrorCode::Internal)));
        refusal.encode(request_id, 0, frames);
        self.write_uncounted(frames).await
    }

    async fn flush_gathered(&mut self) -> Result<(), ConnectionError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let bytes = self.gathered.split().freeze();
        self.write_all(&bytes).await?;
        let (count, len) = std::mem::take(&mut self.answered);
        self.outbox.on_answered(count, len);
        Ok(())
    }

    /// Bytes that the outbox counts.
    async fn write_all(&mut self, bytes: &Bytes) -> Result<(), ConnectionError> {
        self.write_pieces(bytes).await?;
        self.outbox.on_written(bytes.len());
        Ok(())
    }

    /// Bytes that were made here.
    async fn write_uncounted(&mut self, bytes: &mut BytesMut) -> Result<(), ConnectionError> {
        let piece = bytes.split().freeze();
        self.write_pieces(&piece).await
    }

    async fn write_pieces(&mut self, mut bytes: &[u8]) -> Result<(), ConnectionError> {
        while !bytes.is_empty() {
            let written = self.within(|stream| stream.write(bytes)).await?;
            if written == 0 {
                return Err(ConnectionError::Socket(
                    std::io::ErrorKind::WriteZero.into(),
                ));
            }
            bytes = &bytes[written..];
        }
        Ok(())
    }

    async fn within<'s, T, F>(
        &'s mut self,
        write: impl FnOnce(&'s mut WriteHalf<S>) -> F,
    ) -> Result<T, ConnectionError>
    where
        F: Future<Output = std::io::Result<T>>,
    {
        let written = timeout(WRITE_STALL_MAX, write(&mut self.stream)).await;
        written
            .map_err(|_| ConnectionError::Stalled)?
            .map_err(ConnectionError::Socket)
    }
}

/// How many messages like these make one reading.
fn next_read_count(messages: &[Option<StoredMessage>]) -> usize {
    let len: usize = messages
        .iter()
        .flatten()
        .map(|message| message.content.len())
        .sum();
    let average = len / messages.len().max(1);
    (READ_LEN / average.max(1)).clamp(1, BATCH_COUNT_MAX)
}

fn take<'i, I>(items: &mut &'i [I], count: usize) -> &'i [I] {
    let (now, later) = items.split_at(count);
    *items = later;
    now
}
