//! The bytes of commands inside an entry.
//!
//! A send's batch and the handles of a request lie in an entry as they came from the client: they
//! are shared, not copied, in both directions. Spec: spec/state.md, "The entry".

use bytes::Bytes;
use sampan_protocol::limits::BATCH_COUNT_MAX;
use sampan_protocol::{Handles, MessageBatch, MessageId, ProducerNumber, ProducerSession, QueueId};

use super::Command;
use super::redrive::{put_order, put_step, take_order, take_step};
use crate::catalog::CatalogCommand;
use crate::entry::FORMAT_VERSION_MIN;
use crate::fields::{FieldError, Fields, put_text};
use crate::limits::HOLD_MAX_MS;
use crate::queue::{Arrival, Fate, decode_attributes, encode_attributes};

const SEND: u8 = 0x01;
const RECEIVE: u8 = 0x02;
const DELETE: u8 = 0x03;
const CHANGE_VISIBILITY: u8 = 0x04;
const RELEASE: u8 = 0x05;
const PURGE: u8 = 0x06;
const RESCHEDULE: u8 = 0x07;
const DELIVER: u8 = 0x08;
const SETTLE: u8 = 0x09;
const REWIND: u8 = 0x0a;
const REDRIVE_BEGIN: u8 = 0x0b;
const REDRIVE_STEP: u8 = 0x0c;
const REDRIVE_CANCEL: u8 = 0x0d;
const QUEUE_CREATE: u8 = 0x10;
const QUEUE_SET: u8 = 0x11;
const QUEUE_DELETE: u8 = 0x12;
const CATALOG: u8 = 0x20;
const HOLD_SETTLEMENTS: u8 = 0x21;
pub(super) const NOTE: u8 = 0x30;

/// Stands for "no visibility timeout of its own".
const NONE: u32 = u32::MAX;
/// Stands for "never" in the place of a delay.
const NEVER: u64 = u64::MAX;

impl Command {
    /// Length of the command inside an entry.
    pub fn encoded_len(&self) -> usize {
        const HEAD_LEN: usize = 9;
        const PRODUCER_LEN: usize = 24;
        match self {
            Command::Send { batch, .. } => HEAD_LEN + PRODUCER_LEN + 4 + batch.as_bytes().len(),
            Command::Receive { .. } => HEAD_LEN + 10,
            Command::Delete { handles, .. } | Command::Release { handles, .. } => {
                HEAD_LEN + 2 + handles.as_bytes().len()
            }
            Command::Deliver {
                arrivals, batch, ..
            } => HEAD_LEN + 10 + arrivals.len() * 16 + 4 + batch.as_bytes().len(),
            Command::Settle { fates, .. } => HEAD_LEN + 2 + fates.len() * 9,
            Command::ChangeVisibility { handles, .. } => HEAD_LEN + 6 + handles.as_bytes().len(),
            Command::QueueCreate { .. }
            | Command::QueueSet { .. }
            | Command::RedriveBegin { .. }
            | Command::RedriveStep { .. }
            | Command::Catalog(_) => {
                let mut out = Vec::new();
                self.encode(&mut out);
                out.len()
            }
            Command::QueueDelete { .. } | Command::Purge { .. } | Command::RedriveCancel { .. } => {
                HEAD_LEN
            }
            Command::HoldSettlements { .. } => 13,
            Command::Reschedule { .. } => HEAD_LEN + 16,
            Command::Rewind { .. } => HEAD_LEN + 8,
            #[cfg(feature = "next-version")]
            Command::Note { text } => 3 + text.len(),
        }
    }

    /// The batch with which the command's bytes end.
    pub(crate) fn batch(&self) -> Option<&Bytes> {
        match self {
            Command::Send { batch, .. } | Command::Deliver { batch, .. } => Some(batch.as_bytes()),
            _ => None,
        }
    }

    /// What lies in front of the batch; nothing for a command without one.
    pub(crate) fn encode_before_batch(&self, out: &mut Vec<u8>) {
        let batch = match self {
            Command::Send {
                queue,
                producer,
                batch,
            } => {
                put_head(out, SEND, *queue);
                put_producer(out, *producer);
                batch
            }
            Command::Deliver {
                queue,
                source,
                arrivals,
                batch,
            } => {
                put_head(out, DELIVER, *queue);
                out.extend_from_slice(&source.0.to_le_bytes());
                put_arrivals(out, arrivals);
                batch
            }
            _ => return,
        };
        let len = u32::try_from(batch.as_bytes().len()).expect("a batch is below 4 MiB");
        out.extend_from_slice(&len.to_le_bytes());
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Command::Send { batch, .. } | Command::Deliver { batch, .. } => {
                self.encode_before_batch(out);
                out.extend_from_slice(batch.as_bytes());
            }
            Command::Receive {
                queue,
                count_max,
                len_max,
                visibility_timeout_ms,
            } => {
                put_head(out, RECEIVE, *queue);
                out.extend_from_slice(&count_max.to_le_bytes());
                out.extend_from_slice(&len_max.to_le_bytes());
                let visibility = visibility_timeout_ms.unwrap_or(NONE);
                out.extend_from_slice(&visibility.to_le_bytes());
            }
            Command::Delete { queue, handles } => {
                put_head(out, DELETE, *queue);
                put_handles(out, handles);
            }
            Command::ChangeVisibility {
                queue,
                visibility_timeout_ms,
                handles,
            } => {
                put_head(out, CHANGE_VISIBILITY, *queue);
                out.extend_from_slice(&visibility_timeout_ms.to_le_bytes());
                put_handles(out, handles);
            }
            Command::Release { queue, handles } => {
                put_head(out, RELEASE, *queue);
                put_handles(out, handles);
            }
            Command::Purge { queue } => put_head(out, PURGE, *queue),
            Command::Reschedule {
                queue,
                id,
                delay_ms,
            } => {
                put_head(out, RESCHEDULE, *queue);
                out.extend_from_slice(&id.0.to_le_bytes());
                out.extend_from_slice(&delay_ms.unwrap_or(NEVER).to_le_bytes());
            }
            Command::Rewind { queue, to } => {
                put_head(out, REWIND, *queue);
                out.extend_from_slice(&to.0.to_le_bytes());
            }
            Command::Settle { queue, fates } => {
                put_head(out, SETTLE, *queue);
                put_fates(out, fates);
            }
            Command::RedriveBegin { queue, order } => {
                put_head(out, REDRIVE_BEGIN, *queue);
                put_order(order, out);
            }
            Command::RedriveStep { queue, step } => {
                put_head(out, REDRIVE_STEP, *queue);
                put_step(step, out);
            }
            Command::RedriveCancel { queue } => put_head(out, REDRIVE_CANCEL, *queue),
            Command::QueueCreate {
                queue,
                name,
                attributes,
                secret,
            } => {
                put_head(out, QUEUE_CREATE, *queue);
                encode_attributes(attributes, out);
                out.extend_from_slice(&secret.to_le_bytes());
                put_text(out, name);
            }
            Command::QueueSet { queue, attributes } => {
                put_head(out, QUEUE_SET, *queue);
                encode_attributes(attributes, out);
            }
            Command::QueueDelete { queue } => put_head(out, QUEUE_DELETE, *queue),
            Command::HoldSettlements { token, for_ms } => {
                out.push(HOLD_SETTLEMENTS);
                out.extend_from_slice(&token.to_le_bytes());
                out.extend_from_slice(&for_ms.to_le_bytes());
            }
            Command::Catalog(command) => {
                out.push(CATALOG);
                command.encode(out);
            }
            #[cfg(feature = "next-version")]
            Command::Note { text } => {
                out.push(NOTE);
                put_text(out, text);
            }
        }
    }

    /// Reads one command. What is variable in length becomes a part of `whole`, shared.
    pub(crate) fn decode(
        fields: &mut Fields<'_>,
        whole: &Bytes,
        version: u16,
    ) -> Result<Self, FieldError> {
        let kind = fields.u8()?;
        if version_of(kind) > version {
            return Err(FieldError::Kind(kind));
        }
        #[cfg(feature = "next-version")]
        if kind == NOTE {
            let text = fields.text()?.to_owned();
            return Ok(Command::Note { text });
        }
        if kind == CATALOG {
            return Ok(Command::Catalog(CatalogCommand::decode(fields, whole)?));
        }
        if kind == HOLD_SETTLEMENTS {
            let (token, for_ms) = (fields.u64()?, fields.u32()?);
            if token == 0 || for_ms > HOLD_MAX_MS {
                return Err(FieldError::Range);
            }
            return Ok(Command::HoldSettlements { token, for_ms });
        }
        let queue = QueueId(fields.u64()?);
        Ok(match kind {
            SEND => Command::Send {
                queue,
                producer: take_producer(fields)?,
                batch: take_batch(fields, whole)?,
            },
            RECEIVE => Command::Receive {
                queue,
                count_max: fields.u16()?,
                len_max: fields.u32()?,
                visibility_timeout_ms: Some(fields.u32()?).filter(|timeout| *timeout != NONE),
            },
            DELETE => Command::Delete {
                queue,
                handles: take_handles(fields, whole)?,
            },
            CHANGE_VISIBILITY => Command::ChangeVisibility {
                queue,
                visibility_timeout_ms: fields.u32()?,
                handles: take_handles(fields, whole)?,
            },
            RELEASE => Command::Release {
                queue,
                handles: take_handles(fields, whole)?,
            },
            PURGE => Command::Purge { queue },
            RESCHEDULE => Command::Reschedule {
                queue,
                id: MessageId(fields.u64()?),
                delay_ms: Some(fields.u64()?).filter(|delay_ms| *delay_ms != NEVER),
            },
            DELIVER => take_deliver(queue, fields, whole)?,
            SETTLE => Command::Settle {
                queue,
                fates: take_fates(fields)?,
            },
            REWIND => Command::Rewind {
                queue,
                to: fields.timestamp()?,
            },
            REDRIVE_BEGIN => Command::RedriveBegin {
                queue,
                order: take_order(fields)?,
            },
            REDRIVE_STEP => Command::RedriveStep {
                queue,
                step: take_step(fields)?,
            },
            REDRIVE_CANCEL => Command::RedriveCancel { queue },
            QUEUE_CREATE => Command::QueueCreate {
                queue,
                attributes: decode_attributes(fields)?,
                secret: fields.u64()?,
                name: fields.text()?.to_owned(),
            },
            QUEUE_SET => Command::QueueSet {
                queue,
                attributes: decode_attributes(fields)?,
            },
            QUEUE_DELETE => Command::QueueDelete { queue },
            other => return Err(FieldError::Kind(other)),
        })
    }
}

/// The format version with which a kind of command came in.
pub(super) const fn version_of(kind: u8) -> u16 {
    match kind {
        NOTE => 2,
        _ => FORMAT_VERSION_MIN,
    }
}

fn put_head(out: &mut Vec<u8>, kind: u8, queue: QueueId) {
    out.push(kind);
    out.extend_from_slice(&queue.0.to_le_bytes());
}

fn put_producer(out: &mut Vec<u8>, producer: Option<ProducerNumber>) {
    let (session, number) = producer.map_or(([0; 16], 0), |it| (it.session.0, it.number));
    out.extend_from_slice(&session);
    out.extend_from_slice(&number.to_le_bytes());
}

fn take_producer(fields: &mut Fields<'_>) -> Result<Option<ProducerNumber>, FieldError> {
    let mut session = [0; 16];
    session.copy_from_slice(fields.bytes(16)?);
    let number = fields.u64()?;
    match (session == [0; 16], number) {
        (true, 0) => Ok(None),
        (false, 1..) => Ok(Some(ProducerNumber {
            session: ProducerSession(session),
            number,
        })),
        _ => Err(FieldError::Range),
    }
}

pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("at most 256 messages at a time");
    out.extend_from_slice(&count.to_le_bytes());
}

fn put_arrivals(out: &mut Vec<u8>, arrivals: &[Arrival]) {
    put_count(out, arrivals.len());
    for Arrival { number, sent_at } in arrivals {
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&sent_at.0.to_le_bytes());
    }
}

fn take_deliver(
    queue: QueueId,
    fields: &mut Fields<'_>,
    whole: &Bytes,
) -> Result<Command, FieldError> {
    let source = QueueId(fields.u64()?);
    let mut arrivals: Vec<Arrival> = Vec::new();
    for _ in 0..fields.u16()? {
        let (number, sent_at) = (fields.u64()?, fields.timestamp()?);
        if number <= arrivals.last().map_or(0, |before| before.number) {
            return Err(FieldError::Range);
        }
        arrivals.push(Arrival { number, sent_at });
    }
    let batch = take_batch(fields, whole)?;
    if batch.count() != arrivals.len() {
        return Err(FieldError::Range);
    }
    Ok(Command::Deliver {
        queue,
        source,
        arrivals,
        batch,
    })
}

fn put_fates(out: &mut Vec<u8>, fates: &[(u64, Fate)]) {
    put_count(out, fates.len());
    for (number, fate) in fates {
        out.extend_from_slice(&number.to_le_bytes());
        out.push(u8::from(*fate == Fate::Undeliverable));
    }
}

fn take_fates(fields: &mut Fields<'_>) -> Result<Vec<(u64, Fate)>, FieldError> {
    let count = usize::from(fields.u16()?);
    if count > BATCH_COUNT_MAX {
        return Err(FieldError::Range);
    }
    let fates = (0..count).map(|_| {
        let number = fields.u64()?;
        let fate = match fields.flag()? {
            false => Fate::Delivered,
            true => Fate::Undeliverable,
        };
        Ok((number, fate))
    });
    fates.collect()
}

fn put_handles(out: &mut Vec<u8>, handles: &Handles) {
    let count = u16::try_from(handles.len()).expect("there are at most 256 handles");
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(handles.as_bytes());
}

fn take_batch(fields: &mut Fields<'_>, whole: &Bytes) -> Result<MessageBatch, FieldError> {
    let len = fields.u32()? as usize;
    let bytes = whole.slice_ref(fields.bytes(len)?);
    MessageBatch::decode(bytes).map_err(|_| FieldError::Range)
}

fn take_handles(fields: &mut Fields<'_>, whole: &Bytes) -> Result<Handles, FieldError> {
    let count = usize::from(fields.u16()?);
    let bytes = whole.slice_ref(fields.bytes(count * 8)?);
    Handles::decode(bytes).map_err(|_| FieldError::Range)
}
