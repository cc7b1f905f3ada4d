//! Messages that came back unhandled and wait before they are ready again.
//!
//! A queue may ask for it: a message that cannot be handled now is not tried again at once, but
//! after a delay that doubles with each receive. Half of it depends on the message's id, so that
//! what failed together does not come back together. Spec: spec/semantics.md, "Redelivery".

use sampan_protocol::{DeathReason, MessageId, QueueAttributes, Timestamp};

use super::Queue;
use super::handles::past_of;
use crate::effect::Effect;
use crate::leases::Lease;
use crate::limits::RESTING_COUNT_MAX;
use crate::page::Received;
use crate::timed::Timed;

/// See the head of the file. What a message brings along is what its lease had.
#[derive(Debug)]
pub(super) struct Resting {
    pub(super) table: Timed<Lease>,
    /// From 1.
    pub(super) next: u64,
}

impl Resting {
    pub(super) fn new(next: u64) -> Self {
        Resting {
            table: Timed::new(),
            next,
        }
    }
}

impl Queue {
    /// A message comes back unhandled: it is given up, or ready again, after a rest if the queue
    /// wants that and has room.
    pub(super) fn come_back_unhandled(
        &mut self,
        lease: &Lease,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let past = Some(past_of(lease));
        let has_expired = self.space_of(lease.id).has_expired(lease.id);
        if !has_expired && self.is_given_up(lease.receive_count) {
            self.let_go(lease.id);
            return self.bury(lease.id, past, DeathReason::ReceiveCount, now, effects);
        }
        let rest_ms = rest_ms(&self.attributes, lease.id, lease.receive_count);
        let has_room = self.delayed_count() < self.attributes.delayed_count_max
            && self.resting.table.live_count() < RESTING_COUNT_MAX;
        if rest_ms == 0 || !has_room || has_expired {
            return self.come_back(lease.id, past, now, effects);
        }
        let ready_at = now.after_ms(rest_ms);
        self.trace.on_rest(lease.id, ready_at);
        let number = self.resting.next;
        self.resting.next += 1;
        self.resting.table.extend(number, 1, ready_at, |_| *lease);
    }

    /// What has rested long enough is ready.
    pub(super) fn end_rests(&mut self, now: Timestamp, work: &mut u64, effects: &mut Vec<Effect>) {
        let mut rested: Vec<(MessageId, Received)> = Vec::new();
        self.resting.table.take_due(now, work, |_, slot| {
            rested.push((slot.value.id, past_of(&slot.value)));
        });
        for (id, received) in rested {
            self.come_back(id, Some(received), now, effects);
        }
    }
}

/// How long a message rests after its `receive_count`-th receive: half of the full delay, and as
/// much of the other half as its id says.
fn rest_ms(attributes: &QueueAttributes, id: MessageId, receive_count: u32) -> u64 {
    let (min, max) = (
        u64::from(attributes.redelivery_delay_min_ms),
        u64::from(attributes.redelivery_delay_max_ms),
    );
    let doublings = receive_count.saturating_sub(1).min(32);
    let full = (min << doublings).min(max);
    let half = full / 2;
    let mixed = (id.0 ^ u64::from(receive_count).rotate_left(32))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(32)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let share = (u128::from(mixed) * u128::from(full - half + 1)) >> 64;
    half + u64::try_from(share).expect("a part of a u64")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(min: u32, max: u32) -> QueueAttributes {
        QueueAttributes {
            redelivery_delay_min_ms: min,
            redelivery_delay_max_ms: max,
            ..QueueAttributes::default()
        }
    }

    #[test]
    fn a_rest_doubles_up_to_its_maximum_and_lies_in_its_upper_half() {
        let attributes = attributes(1_000, 60_000);
        for id in (1..2_000).map(MessageId) {
            for (count, full) in [
                (1, 1_000),
                (2, 2_000),
                (6, 32_000),
                (7, 60_000),
                (99, 60_000),
            ] {
                let rest = rest_ms(&attributes, id, count);
                assert!((full / 2..=full).contains(&rest), "{id} {count}: {rest}");
            }
        }
        let rests = (1..2_000).map(|id| rest_ms(&attributes, MessageId(id), 7));
        let (sum, different): (u64, std::collections::BTreeSet<u64>) =
            rests.fold(Default::default(), |(sum, mut all), rest| {
                all.insert(rest);
                (sum + rest, all)
            });
        assert!((44_000..46_000).contains(&(sum / 1_999)), "{sum}");
        assert!(different.len() > 1_900, "{}", different.len());
    }

    #[test]
    fn without_a_shortest_delay_there_is_no_rest() {
        assert_eq!(rest_ms(&attributes(0, 0), MessageId(7), 3), 0);
        let longest = attributes(43_200_000, 43_200_000);
        let rest = rest_ms(&longest, MessageId(7), u32::MAX);
        assert!((21_600_000..=43_200_000).contains(&rest));
    }
}
