//! Deleted messages that come back, as one would write it in an hour: they are kept whole, with
//! when they were sent.
//!
//! How many older messages come back with those that were asked for is the broker's choice: the
//! model looks which they were, and that they are not much older.

use std::collections::BTreeMap;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use sampan_core::{Broker, Command, Peek, Reply};
use sampan_protocol::{ErrorCode, MessageId, PeekOf, QueueId, Timestamp};

use crate::naive::{Message, Naive, State, assert_refused};

#[derive(Clone, Debug, Default)]
pub(crate) struct Kept {
    pub(crate) messages: BTreeMap<u64, Message>,
    /// What was sent up to here has left the window, even when it grew afterwards.
    left_until: u64,
    /// To when the last rewind went, and how many messages it has not brought back yet.
    rewound: Option<(u64, u64)>,
}

/// Whether a message is ready in a broker that has all pages in memory.
fn is_ready(broker: &Broker, queue: QueueId, id: u64) -> bool {
    let ask = Peek {
        of: PeekOf::Message,
        id: MessageId(id),
        count_max: 1,
        len_max: 0,
    };
    !broker.peek(queue, &ask, &[]).unwrap().is_empty()
}

impl Naive {
    fn window_ms(&self) -> u64 {
        self.attributes.rewind_ms.min(self.attributes.retention_ms)
    }

    /// A rewind to somewhere, mostly within the window.
    pub(crate) fn random_rewind(&self, random: &mut StdRng, queue: QueueId) -> Command {
        let earliest = self.now.saturating_sub(self.window_ms());
        let sent_at = self.kept.messages.values().map(|message| message.sent_at);
        let sent_at: Vec<u64> = sent_at.collect();
        let around = [earliest - 1, earliest, self.now, self.now + 1];
        let to = match random.random_range(0..8) {
            0 => *around.choose(random).unwrap(),
            1..4 => random.random_range(earliest..=self.now),
            _ => *sent_at.choose(random).unwrap_or(&self.now),
        };
        let to = Timestamp(to);
        Command::Rewind { queue, to }
    }

    /// A message was deleted: the broker keeps its body when it is young enough.
    pub(crate) fn delete_one(&mut self, id: u64) {
        let (window_ms, now) = (self.window_ms(), self.now);
        let message = self.messages[&id].clone();
        self.drop_message(id);
        let sent_at = message.sent_at;
        if self.removed.remove(&id) {
            let is_grouped = MessageId(id).is_grouped();
            let may_go = is_grouped || window_ms == 0 || sent_at + window_ms <= now;
            assert!(may_go || sent_at <= self.expired_until, "{id} was not kept");
            return;
        }
        assert!(
            window_ms > 0 && !MessageId(id).is_grouped(),
            "the body of {id} was not removed"
        );
        assert!(
            sent_at + window_ms + self.tolerance() >= now,
            "{id} was kept"
        );
        self.kept.messages.insert(id, message);
    }

    /// Time moves: what the broker removed of what is kept.
    pub(crate) fn leave_window(&mut self) {
        let left_until = self.now.saturating_sub(self.window_ms());
        self.kept.left_until = self.kept.left_until.max(left_until);
        let left: Vec<u64> = self.removed.iter().copied().collect();
        for id in left {
            let Some(message) = self.kept.messages.remove(&id) else {
                continue;
            };
            assert!(message.sent_at <= self.kept.left_until, "{id} left early");
            self.removed.remove(&id);
        }
    }

    /// Nothing is kept for much longer than the window.
    pub(crate) fn check_window(&self) {
        for (id, message) in &self.kept.messages {
            let latest = message.sent_at + self.window_ms() + self.tolerance();
            assert!(latest >= self.now, "{id} should have left at {latest}");
        }
    }

    /// All of it is dropped; the broker says so later.
    pub(crate) fn drop_kept(&mut self) {
        let kept = std::mem::take(&mut self.kept.messages);
        self.buried.extend(kept.into_keys());
    }

    pub(crate) fn rewind(&mut self, to: u64, reply: &Reply, broker: &Broker, queue: QueueId) {
        let window_ms = self.window_ms();
        if window_ms == 0 || !(self.now - window_ms..=self.now).contains(&to) {
            return assert_refused(reply, ErrorCode::RewindOutOfRange);
        }
        let Reply::Rewound(count) = reply else {
            panic!("{reply:?} to a rewind")
        };
        let fresh = self.ready.range((true, 0)..).next();
        let mut first = fresh.map_or(self.next, |(_, id)| *id);
        let mut left = *count;
        while self.kept.messages.contains_key(&(first - 1)) && is_ready(broker, queue, first - 1) {
            first -= 1;
            left = left.checked_sub(1).expect("no more than was told");
            self.come_back_anew(first, true);
        }
        self.kept.rewound = Some((to, left));
    }

    fn come_back_anew(&mut self, id: u64, is_fresh: bool) {
        let message = self.kept.messages.remove(&id).unwrap();
        let state = State::Ready { is_fresh };
        let anew = Message {
            state,
            receive_count: 0,
            first_received_at: None,
            ..message
        };
        self.messages.insert(id, anew);
        self.enter(id, state);
    }

    /// The rest of the last rewind is back.
    pub(crate) fn finish_rewind(&mut self, broker: &Broker, queue: QueueId) {
        let Some((to, left)) = self.kept.rewound.take() else {
            return;
        };
        let is_near = |message: &Message| message.sent_at + self.tolerance() >= to;
        let near = self.kept.messages.iter();
        let near = near.filter(|(_, message)| is_near(message));
        let is_back =
            |id: &u64| is_ready(broker, queue, *id) || self.mail.given_up.contains_key(id);
        let back: Vec<u64> = near.map(|(id, _)| *id).filter(is_back).collect();
        assert_eq!(back.len() as u64, left, "as many as were told");
        back.iter().for_each(|id| self.come_back_anew(*id, false));
        let missed = self.kept.messages.iter().find(|(_, it)| it.sent_at >= to);
        assert!(missed.is_none(), "{missed:?} did not come back");
    }
}
