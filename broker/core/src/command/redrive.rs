//! The bytes of a redrive's order and steps. Spec: spec/state.md, "The entry".

use bytes::Bytes;
use sampan_protocol::limits::BATCH_COUNT_MAX;
use sampan_protocol::{DeathReason, MessageId, QueueId, RedriveFilter};

use crate::fields::{FieldError, Fields, put_text};
use crate::queue::{RedriveOrder, RedriveStep};

/// Target 0: each message goes to the queue that it came from.
pub(crate) fn put_order(order: &RedriveOrder, out: &mut Vec<u8>) {
    let filter = &order.filter;
    let target = order.target.map_or(0, |target| target.0);
    out.extend_from_slice(&target.to_le_bytes());
    out.extend_from_slice(&order.rate.to_le_bytes());
    out.extend_from_slice(&filter.since.0.to_le_bytes());
    out.push(filter.reason.map_or(0, DeathReason::number));
    put_text(out, &order.target_name);
    put_text(out, &filter.source_queue);
    put_text(out, &filter.header_name);
    let value_len = u16::try_from(filter.header_value.len());
    let value_len = value_len.expect("a filter is checked before it gets here");
    out.extend_from_slice(&value_len.to_le_bytes());
    out.extend_from_slice(&filter.header_value);
}

pub(crate) fn take_order(fields: &mut Fields<'_>) -> Result<RedriveOrder, FieldError> {
    let target = Some(QueueId(fields.u64()?)).filter(|target| target.0 != 0);
    let rate = fields.u32()?;
    let since = fields.timestamp()?;
    let reason = match fields.u8()? {
        0 => None,
        number => Some(DeathReason::from_number(number).ok_or(FieldError::Range)?),
    };
    let target_name = fields.text()?.to_owned();
    let source_queue = fields.text()?.to_owned();
    let header_name = fields.text()?.to_owned();
    let value_len = usize::from(fields.u16()?);
    let filter = RedriveFilter {
        since,
        reason,
        source_queue,
        header_name,
        header_value: Bytes::copy_from_slice(fields.bytes(value_len)?),
    };
    filter.check().map_err(|_| FieldError::Range)?;
    Ok(RedriveOrder {
        target,
        target_name,
        filter,
        rate,
    })
}

pub(super) fn put_step(step: &RedriveStep, out: &mut Vec<u8>) {
    out.extend_from_slice(&step.job.to_le_bytes());
    out.extend_from_slice(&step.cursor.0.to_le_bytes());
    out.extend_from_slice(&step.skipped.to_le_bytes());
    out.push(u8::from(step.is_last));
    super::codec::put_count(out, step.picks.len());
    for (id, target) in &step.picks {
        out.extend_from_slice(&id.0.to_le_bytes());
        out.extend_from_slice(&target.0.to_le_bytes());
    }
}

pub(super) fn take_step(fields: &mut Fields<'_>) -> Result<RedriveStep, FieldError> {
    let job = fields.u64()?;
    let cursor = MessageId(fields.u64()?);
    let skipped = fields.u32()?;
    let is_last = fields.flag()?;
    let count = usize::from(fields.u16()?);
    let mut picks: Vec<(MessageId, QueueId)> = Vec::new();
    if count > BATCH_COUNT_MAX || cursor.0 >= 1 << 63 {
        return Err(FieldError::Range);
    }
    for _ in 0..count {
        let (id, target) = (MessageId(fields.u64()?), QueueId(fields.u64()?));
        let before = picks.last().map_or(0, |(before, _)| before.0);
        if id.0 <= before || id > cursor || target.0 == 0 {
            return Err(FieldError::Range);
        }
        picks.push((id, target));
    }
    Ok(RedriveStep {
        job,
        cursor,
        picks,
        skipped,
        is_last,
    })
}
