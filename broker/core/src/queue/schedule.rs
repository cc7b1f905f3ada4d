//! What is done with a delayed message by its id: another instant, at once, or never.
//!
//! Only messages that wait for their delay: one that rests has a receiver's try behind it, and one
//! in flight belongs to whoever has its handle. Spec: spec/semantics.md, "Scheduled messages".

use sampan_protocol::{ErrorCode, MessageId, Timestamp};

use super::Queue;
use crate::chunk::CHUNK_COUNT;
use crate::effect::Effect;
use crate::reply::Refusal;
use crate::timed::Edit;

impl Queue {
    /// Makes a delayed message fall due after `delay_ms` from now on. None: removes it.
    pub(crate) fn reschedule(
        &mut self,
        id: MessageId,
        delay_ms: Option<u64>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        if let Some(delay_ms) = delay_ms {
            self.check_delay(delay_ms)?;
        }
        if self.waiting.peek(id.0).is_none() {
            return Err(ErrorCode::MessageNotFound.into());
        }
        let edit = match delay_ms {
            None | Some(0) => Edit::Taking,
            Some(_) => Edit::Slots,
        };
        self.waiting.edit(id.0 / CHUNK_COUNT, edit, |chunk| {
            let offset = id.0 % CHUNK_COUNT;
            match delay_ms {
                None | Some(0) => drop(chunk.take(offset)),
                Some(delay_ms) => chunk.move_to(offset, now.after_ms(delay_ms)),
            }
            chunk.tighten();
        });
        match delay_ms {
            None => self.remove(id, 1, effects),
            Some(0) => self.come_back(id, None, now, effects),
            Some(_) => (),
        }
        Ok(())
    }

    fn check_delay(&self, delay_ms: u64) -> Result<(), Refusal> {
        let limit = self.attributes.retention_ms;
        if delay_ms <= limit {
            return Ok(());
        }
        let text = format!("a delay of {delay_ms} ms is over the queue's retention of {limit} ms");
        Err(Refusal::with_text(ErrorCode::DelayOutOfRange, text))
    }
}
