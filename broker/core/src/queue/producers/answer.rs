//! The reply to a stored send, in little room.
//!
//! What a send stores gets ids side by side, those with a delay and those without one by
//! themselves: the first of each and a bit for each message are enough. Ids of messages that were
//! stored before, by their deduplication keys, may be any; such a reply is kept by itself, and the
//! answer only says so. Spec: spec/state.md, "Producers".

use sampan_protocol::{MessageId, Sent};

use crate::fields::{FieldError, Fields, put_varint, unzigzag, zigzag};

const ONE_RUN: u8 = 0;
const MIXED: u8 = 1;
const SCATTERED: u8 = 2;
/// Bytes with a bit for each message of a batch.
const MASK_LEN: usize = 32;

/// The reply to a stored send, in little room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Of the first message; of a mixed batch, of the first one without a delay.
    pub(super) first: u64,
    count: u16,
    mixed: Option<Box<Mixed>>,
    /// The ids are in no order: the reply is kept by itself.
    is_scattered: bool,
}

/// A batch in which some messages have a delay: each kind has ids side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mixed {
    first_delayed: u64,
    /// A bit for each message that has a delay.
    delayed: [u8; MASK_LEN],
}

impl Answer {
    pub(super) fn of(sent: &Sent) -> Self {
        let answer = Answer::in_order(sent);
        // One run is in order.
        let is_scattered = sent.runs.len() > 1 && answer.sent().as_ref() != Some(sent);
        match is_scattered {
            true => Answer {
                mixed: None,
                is_scattered,
                ..answer
            },
            false => answer,
        }
    }

    pub(super) fn is_scattered(&self) -> bool {
        self.is_scattered
    }

    /// What it is if each kind of ids lies side by side.
    fn in_order(sent: &Sent) -> Self {
        let count: u32 = sent.runs.iter().map(|(_, count)| count).sum();
        let count = u16::try_from(count).expect("a batch has at most 256 messages");
        let first_where = |is_delayed: bool| {
            let mut firsts = sent.runs.iter().map(|(first, _)| *first);
            firsts.find(|first| first.is_delayed() == is_delayed)
        };
        let (first, first_delayed) = (first_where(false), first_where(true));
        let (Some(first), Some(first_delayed)) = (first, first_delayed) else {
            let first = first.or(first_delayed).map_or(0, |first| first.0);
            return Answer {
                first,
                count,
                mixed: None,
                is_scattered: false,
            };
        };
        let mut delayed = [0; MASK_LEN];
        for (place, id) in sent.ids().enumerate() {
            delayed[place / 8] |= u8::from(id.is_delayed()) << (place % 8);
        }
        let mixed = Mixed {
            first_delayed: first_delayed.0,
            delayed,
        };
        Answer {
            first: first.0,
            count,
            mixed: Some(Box::new(mixed)),
            is_scattered: false,
        }
    }

    /// The reply, unless it is kept by itself.
    pub(super) fn sent(&self) -> Option<Sent> {
        if self.is_scattered {
            return None;
        }
        let Some(mixed) = &self.mixed else {
            return Some(Sent {
                runs: vec![(MessageId(self.first), self.count.into())],
            });
        };
        let mut next = [self.first, mixed.first_delayed];
        let ids = (0..usize::from(self.count)).map(|place| {
            let is_delayed = mixed.delayed[place / 8] >> (place % 8) & 1 == 1;
            let next = &mut next[usize::from(is_delayed)];
            let id = MessageId(*next);
            *next += 1;
            id
        });
        Some(Sent::of(ids))
    }

    pub(super) fn encode(&self, before: u64, out: &mut Vec<u8>) {
        let less_one = u8::try_from(self.count - 1).expect("a batch has at most 256 messages");
        out.push(less_one);
        out.push(match (&self.mixed, self.is_scattered) {
            (_, true) => SCATTERED,
            (Some(_), _) => MIXED,
            (None, _) => ONE_RUN,
        });
        let step = self.first.wrapping_sub(before).cast_signed();
        put_varint(out, zigzag(step));
        if let Some(mixed) = &self.mixed {
            put_varint(out, mixed.first_delayed - MessageId::DELAYED_BIT);
            out.extend_from_slice(&mixed.delayed);
        }
    }

    pub(super) fn decode(before: u64, fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let count = u16::from(fields.u8()?) + 1;
        let kind = fields.u8()?;
        let step = unzigzag(fields.varint()?).cast_unsigned();
        let mut answer = Answer {
            first: before.wrapping_add(step),
            count,
            mixed: None,
            is_scattered: kind == SCATTERED,
        };
        match kind {
            ONE_RUN | SCATTERED => {}
            MIXED => {
                let first_delayed = fields.varint()?.checked_add(MessageId::DELAYED_BIT);
                let mut delayed = [0; MASK_LEN];
                delayed.copy_from_slice(fields.bytes(MASK_LEN)?);
                answer.mixed = Some(Box::new(Mixed {
                    first_delayed: first_delayed.ok_or(FieldError::Range)?,
                    delayed,
                }));
            }
            other => return Err(FieldError::Kind(other)),
        }
        let last = answer.first.checked_add(u64::from(count));
        if answer.first == 0 || last.is_none_or(|last| last >= 1 << 63) {
            return Err(FieldError::Range);
        }
        Ok(answer)
    }
}
