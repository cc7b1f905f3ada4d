//! Messages in flight: handed to a receiver, hidden until an instant, not yet deleted.
//!
//! Each hand-out gets the next lease number of its queue; the receipt handle is that number and a
//! tag that depends on the queue's secret. So the handle leads straight to its chunk, an earlier
//! receive's handle finds nothing, and a guessed one is wrong 32,767 times of 32,768. A random
//! handle with a map beside it would cost a lookup and 40 bytes per message more.
//!
//! Invariants: a message id has at most one lease; numbers are given in order and never again.
//! Spec: spec/semantics.md, "Receipt handles"; spec/state.md, "Leases".

use std::sync::Arc;

use sampan_protocol::{ErrorCode, Handles, MessageId, ReceiptHandle, Timestamp};

use crate::chunk::{CHUNK_COUNT, Chunk, Slot, Value};
use crate::fields::{FieldError, Fields};
use crate::limits::LEASE_NUMBER_MAX;
use crate::timed::{Edit, Timed};

const TAG_BITS: u32 = 15;

/// One hand-out of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) id: MessageId,
    pub(crate) first_received_at: Timestamp,
    /// How often the message was handed out, this time included.
    pub(crate) receive_count: u32,
}

impl Value for Lease {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.first_received_at.0.to_le_bytes());
        out.extend_from_slice(&self.receive_count.to_le_bytes());
    }

    fn decode(fields: &mut Fields<'_>) -> Result<Self, FieldError> {
        let id = MessageId(fields.u64()?);
        let first_received_at = fields.timestamp()?;
        let receive_count = fields.u32()?;
        if id.0 >= 1 << 63 || receive_count == 0 {
            return Err(FieldError::Range);
        }
        Ok(Lease {
            id,
            first_received_at,
            receive_count,
        })
    }
}

#[derive(Debug)]
pub(crate) struct Leases {
    pub(crate) table: Timed<Lease>,
    /// The number of the next lease; from 1.
    pub(crate) next: u64,
    secret: u64,
}

impl Leases {
    pub(crate) fn new(secret: u64, next: u64) -> Self {
        Leases {
            table: Timed::new(),
            next,
            secret,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.table.live_count()
    }

    pub(crate) fn secret(&self) -> u64 {
        self.secret
    }

    /// How many lease numbers are left: only a queue that lived for ages runs out.
    pub(crate) fn numbers_left(&self) -> u64 {
        LEASE_NUMBER_MAX - self.next
    }

    /// Leases out `count` messages; `make` gives the message of each place of the run.
    pub(crate) fn add(
        &mut self,
        count: u64,
        visible_at: Timestamp,
        mut make: impl FnMut(u64, ReceiptHandle) -> Lease,
    ) {
        let (first, secret) = (self.next, self.secret);
        self.next += count;
        self.table.extend(first, count, visible_at, |index| {
            make(index, handle_of(secret, first + index))
        });
    }

    /// The lease number of a handle.
    pub(crate) fn number_of(&self, handle: ReceiptHandle) -> Result<u64, ErrorCode> {
        number_of(self.secret, self.next, handle).ok_or(ErrorCode::ReceiptMalformed)
    }

    /// Looks at the lease of a handle.
    pub(crate) fn peek(&self, handle: ReceiptHandle) -> Option<&Lease> {
        let number = self.number_of(handle).ok()?;
        self.table.peek(number).map(|slot| &slot.value)
    }

    /// Carries out `act` for every handle whose lease is live, and tells of every other.
    ///
    /// Handles of one receive lie side by side, so each chunk is looked up once per stretch.
    pub(crate) fn for_each(
        &mut self,
        handles: &Handles,
        now: Timestamp,
        mut act: impl FnMut(&mut Chunk<Lease>, u64, Slot<Lease>),
        mut refuse: impl FnMut(u16, ErrorCode),
    ) {
        let mut places = (0u16..).zip(handles.iter()).peekable();
        while let Some((place, handle)) = places.next() {
            let number = match self.number_of(handle) {
                Ok(number) => number,
                Err(code) => {
                    refuse(place, code);
                    continue;
                }
            };
            let (secret, next) = (self.secret, self.next);
            let chunk_number = number / CHUNK_COUNT;
            let edited = self.table.edit(chunk_number, Edit::Slots, |chunk| {
                let mut work = |place, number| match live(chunk, number, now) {
                    Some(slot) => act(chunk, number % CHUNK_COUNT, slot),
                    None => refuse(place, ErrorCode::ReceiptExpired),
                };
                work(place, number);
                let in_chunk = |handle| {
                    let number = number_of(secret, next, handle);
                    number.filter(|number| number / CHUNK_COUNT == chunk_number)
                };
                while let Some(&(place, handle)) = places.peek()
                    && let Some(number) = in_chunk(handle)
                {
                    places.next();
                    work(place, number);
                }
            });
            if edited.is_none() {
                refuse(place, ErrorCode::ReceiptExpired);
            }
        }
    }

    pub(crate) fn freeze(&mut self, each: impl FnMut(u64, Option<Arc<Chunk<Lease>>>)) {
        self.table.freeze(each);
    }
}

fn live(chunk: &Chunk<Lease>, number: u64, now: Timestamp) -> Option<Slot<Lease>> {
    chunk
        .peek(number % CHUNK_COUNT)
        .filter(|slot| slot.at > now)
        .copied()
}

/// The lease number of a handle, when it is one of those below `next` and has its tag.
fn number_of(secret: u64, next: u64, handle: ReceiptHandle) -> Option<u64> {
    let number = handle.0 >> TAG_BITS;
    let is_given = (1..next).contains(&number) && handle_of(secret, number) == handle;
    is_given.then_some(number)
}

/// The handle of a lease number: the number, then 15 bits that depend on the secret.
fn handle_of(secret: u64, number: u64) -> ReceiptHandle {
    let mut mixed = secret ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ReceiptHandle(number << TAG_BITS | mixed >> (64 - TAG_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_leads_back_to_its_number_only_with_its_tag() {
        let mut leases = Leases::new(0x5eed, 1);
        let mut handles = Vec::new();
        leases.add(100, Timestamp(9), |index, handle| {
            handles.push(handle);
            Lease {
                id: MessageId(index),
                first_received_at: Timestamp(1),
                receive_count: 1,
            }
        });
        for (number, handle) in (1..).zip(&handles) {
            assert_eq!(leases.number_of(*handle), Ok(number));
            let other_tag = ReceiptHandle(handle.0 ^ 1);
            assert_eq!(
                leases.number_of(other_tag),
                Err(ErrorCode::ReceiptMalformed)
            );
        }
        for raw in [
            0,
            1,
            u64::MAX,
            1 << 63,
            handle_of(0x5eed, 101).0,
            handle_of(0x5eed, 0).0,
        ] {
            assert_eq!(
                leases.number_of(ReceiptHandle(raw)),
                Err(ErrorCode::ReceiptMalformed)
            );
        }
    }

    /// Lease 0 was never given, but lies in the chunk of lease 1: its handle must be told apart
    /// also behind a good one.
    #[test]
    fn the_handle_of_lease_0_is_malformed_behind_a_handle_of_its_chunk() {
        let mut leases = Leases::new(0x5eed, 1);
        leases.add(1, Timestamp(9), |_, _| Lease {
            id: MessageId(1),
            first_received_at: Timestamp(1),
            receive_count: 1,
        });
        let handles = [1, 0]
            .map(|number| handle_of(0x5eed, number))
            .into_iter()
            .collect();
        let mut refused = Vec::new();
        leases.for_each(
            &handles,
            Timestamp(2),
            |chunk, offset, _| assert!(chunk.take(offset).is_some()),
            |place, code| refused.push((place, code)),
        );
        assert_eq!(refused, [(1, ErrorCode::ReceiptMalformed)]);
    }

    #[test]
    fn the_highest_lease_number_keeps_the_handle_below_2_to_the_63() {
        assert!(handle_of(u64::MAX, LEASE_NUMBER_MAX - 1).0 < 1 << 63);
    }
}
