//! Limits of messages and bytes, and what gives way, as one would write it in an hour.
//!
//! The model does not know the shares that messages take along. When all messages are of one length
//! it knows every sum exactly; otherwise a sum lies between so many of the shortest and so many of
//! the longest, and what the broker gave up must be the oldest, and enough.

use sampan_core::limits::OVERFLOW_COUNT_MAX;
use sampan_core::{Refusal, Reply};
use sampan_protocol::{DeathReason, ErrorCode, WhenFull};

use crate::naive::Naive;

impl Naive {
    /// The least and the most bytes that so many messages may have.
    pub(crate) fn bytes_of(&self, count: u64) -> [u64; 2] {
        match count {
            0 => [0; 2],
            _ => [self.content_shortest, self.content_longest].map(|len| len * count),
        }
    }

    /// How many messages must go before so many more are stored; none when they are refused.
    pub(crate) fn surplus(&self, count: u64, bytes: u64, reply: &Reply) -> Option<u64> {
        if count == 0 {
            return Some(0);
        }
        let drops = self.attributes.when_full == WhenFull::DropOldestToDeadLetter;
        let moving = if drops { self.mail.outbox.len() } else { 0 };
        let here = (self.messages.len() - moving) as u64;
        let over_count = (here + count).saturating_sub(self.attributes.message_count_max);
        let over = |len: u64| (len + bytes).saturating_sub(self.attributes.byte_count_max);
        let [least, most] = self.bytes_of(here).map(over);
        if (over_count, most) == (0, 0) {
            return Some(0);
        }
        let is_refused = is_full(reply);
        if !drops {
            let is_over = over_count > 0 || least > 0;
            return (!is_over && !is_refused).then_some(0);
        }
        if least == most {
            let surplus = over_count.max(most.div_ceil(self.content_longest));
            let ready_count = self.ready_in_order().len() as u64;
            let has_enough = surplus <= ready_count.min(OVERFLOW_COUNT_MAX);
            return has_enough.then_some(surplus);
        }
        let oldest = self.ready_in_order().into_iter();
        let given_up = oldest.take_while(|id| self.mail.gave_way(*id)).count() as u64;
        let is_enough = given_up >= over_count && (least == 0 || given_up > 0);
        let is_stored = !matches!(reply, Reply::Refused(_));
        assert!(!is_stored || is_enough, "{given_up} of {over_count}");
        (!is_refused).then_some(given_up)
    }

    /// The oldest go.
    pub(crate) fn give_way(&mut self, surplus: u64) {
        let mut oldest = self.ready_in_order().into_iter();
        for _ in 0..surplus {
            self.give_up(oldest.next().unwrap(), DeathReason::Overflow);
        }
    }

    /// Those of groups are the last ones.
    fn ready_in_order(&self) -> Vec<u64> {
        let groupless = self.ready.iter().map(|(_, id)| *id);
        groupless.chain(self.groups.ready_ids()).collect()
    }
}

fn is_full(reply: &Reply) -> bool {
    matches!(reply, Reply::Refused(Refusal { code, .. }) if *code == ErrorCode::QueueFull)
}
