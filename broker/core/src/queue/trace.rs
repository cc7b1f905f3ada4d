//! What happened in a queue during one command, on its way into the state hash.
//!
//! Messages that go or are handed out side by side are told as runs of ids: a batch costs what one
//! message costs. Runs are made here and not taken from the effects, which a caller may collect
//! over several entries and which then are joined differently.
//!
//! Invariant: empty between two commands. Spec: spec/state.md, "State hash".

use sampan_protocol::{IdSpace, MessageId, QueueId, Timestamp};

use crate::effect::{Effect, push_removed};
use crate::marks::Marks;
use crate::state_hash::StateHash;

/// What happened to the messages of a run; the highest bits of its word.
const RESTS: u64 = 0;
const REMOVED: u64 = 1 << 60;
const CAME_BACK: u64 = 2 << 60;
const RECEIVED: u64 = 3 << 60;
const GIVEN_UP: u64 = 1 << 63;
const ARRIVED: u64 = 1 << 63 | 1 << 60;
const KEPT: u64 = 1 << 63 | 2 << 60;
const REWOUND: u64 = 1 << 63 | 3 << 60;

#[derive(Debug, Default)]
pub(super) struct Trace(StateHash);

impl Trace {
    /// Messages are deleted or expired: notes it, and tells of it.
    pub(super) fn on_removed(
        &mut self,
        effects: &mut Vec<Effect>,
        queue: QueueId,
        first: MessageId,
        count: u64,
    ) {
        self.note(REMOVED, first, count);
        push_removed(effects, queue, first, count);
    }

    /// A message is ready again.
    pub(super) fn on_return(&mut self, id: MessageId) {
        self.note(CAME_BACK, id, 1);
    }

    /// A message came back unhandled and rests until `ready_at`.
    pub(super) fn on_rest(&mut self, id: MessageId, ready_at: Timestamp) {
        self.on_number(ready_at.0.rotate_left(20));
        self.note(RESTS, id, 1);
    }

    /// A message was given up, or is addressed anew: the letter of this number is for `target`.
    pub(super) fn on_letter(&mut self, id: MessageId, number: u64, target: QueueId) {
        self.on_number(number ^ target.0.rotate_left(20));
        self.note(GIVEN_UP, id, 1);
    }

    /// A message came from another queue.
    pub(super) fn on_arrival(&mut self, id: MessageId, sent_at: Timestamp) {
        self.on_number(sent_at.0.rotate_left(20));
        self.note(ARRIVED, id, 1);
    }

    /// Messages are deleted, and may come back.
    pub(super) fn on_kept(&mut self, first: MessageId, count: u64) {
        self.note(KEPT, first, count);
    }

    /// Messages that were deleted are as if they had never been received.
    pub(super) fn on_rewound(&mut self, first: MessageId, count: u64) {
        self.note(REWOUND, first, count);
    }

    /// Messages were handed out, each for the `receive_count`-th time.
    pub(super) fn on_receive(
        &mut self,
        first: MessageId,
        count: u64,
        receive_count: u32,
        first_received_ms: u64,
    ) {
        self.on_number(u64::from(receive_count) ^ first_received_ms.rotate_left(20));
        self.note(RECEIVED, first, count);
    }

    /// A number that belongs to the command as a whole.
    pub(super) fn on_number(&mut self, number: u64) {
        self.0.fold(number);
    }

    /// Hash of all that was noted, if anything was; begins anew.
    pub(super) fn take(&mut self) -> Option<u64> {
        let hash = std::mem::take(&mut self.0);
        (hash != StateHash::default()).then(|| hash.value())
    }

    fn note(&mut self, what: u64, first: MessageId, count: u64) {
        // The bit of groups is one of those that say what happened.
        let group_bit = first.0 & MessageId::GROUPED_BIT;
        if group_bit != 0 {
            self.0.fold(group_bit);
        }
        self.0.fold_run(first.0 ^ group_bit ^ what, count);
    }
}

/// Messages that go one by one, told as runs.
pub(super) struct Removals<'a> {
    trace: &'a mut Trace,
    effects: &'a mut Vec<Effect>,
    queue: QueueId,
    /// Of the id spaces, for messages that take their shares along.
    marks: Option<[&'a mut Marks; 3]>,
    /// The run at hand, up to `end`; empty before the first message.
    first: MessageId,
    end: MessageId,
}

impl<'a> Removals<'a> {
    /// Of messages that have no shares any more.
    pub(super) fn new(
        trace: &'a mut Trace,
        effects: &'a mut Vec<Effect>,
        queue: QueueId,
    ) -> Removals<'a> {
        Removals {
            trace,
            effects,
            queue,
            marks: None,
            first: MessageId(0),
            end: MessageId(0),
        }
    }

    /// Of messages that take their shares along.
    pub(super) fn with_shares(self, marks: [&'a mut Marks; 3]) -> Removals<'a> {
        Removals {
            marks: Some(marks),
            ..self
        }
    }

    pub(super) fn push(&mut self, id: MessageId) {
        if self.end != id {
            self.tell();
            self.first = id;
        }
        self.end = id.plus(1);
    }

    fn tell(&mut self) {
        let count = self.end.0 - self.first.0;
        if count > 0 {
            if let Some(marks) = &mut self.marks {
                let place = IdSpace::ALL
                    .into_iter()
                    .position(|it| it == self.first.space());
                marks[place.expect("every space is among all")].take(self.first.0, count);
            }
            self.trace
                .on_removed(self.effects, self.queue, self.first, count);
        }
    }

    /// Tells of the last run too.
    pub(super) fn finish(mut self) {
        self.tell();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(mut work: impl FnMut(&mut Trace)) -> u64 {
        let mut trace = Trace::default();
        work(&mut trace);
        let hash = trace.take();
        assert_eq!(trace.take(), None, "taken once");
        hash.unwrap()
    }

    #[test]
    fn messages_that_go_one_by_one_are_told_as_runs() {
        let told = |ids: &[u64]| {
            let mut effects = Vec::new();
            let hash = traced(|trace| {
                effects.clear();
                let mut removals = Removals::new(trace, &mut effects, QueueId(1));
                ids.iter().for_each(|id| removals.push(MessageId(*id)));
                removals.finish();
            });
            (hash, effects.len())
        };
        let whole = |trace: &mut Trace, first, count| {
            trace.on_removed(&mut Vec::new(), QueueId(1), MessageId(first), count);
        };
        let one = traced(|trace| whole(trace, 5, 3));
        assert_eq!(told(&[5, 6, 7]), (one, 1));
        let two = traced(|trace| {
            whole(trace, 9, 1);
            whole(trace, 5, 2);
        });
        assert_eq!(told(&[9, 5, 6]), (two, 2));
    }

    #[test]
    fn each_part_of_what_happened_counts() {
        let hashes = [
            traced(|trace| trace.on_receive(MessageId(5), 2, 1, 77)),
            traced(|trace| trace.on_receive(MessageId(6), 2, 1, 77)),
            traced(|trace| trace.on_receive(MessageId(5), 3, 1, 77)),
            traced(|trace| trace.on_receive(MessageId(5), 2, 2, 77)),
            traced(|trace| trace.on_receive(MessageId(5), 2, 1, 78)),
            traced(|trace| trace.on_removed(&mut Vec::new(), QueueId(1), MessageId(5), 2)),
            traced(|trace| {
                trace.on_return(MessageId(5));
                trace.on_return(MessageId(6));
            }),
            traced(|trace| trace.on_rest(MessageId(MessageId::GROUPED_BIT | 5), Timestamp(0))),
            traced(|trace| trace.on_rest(MessageId(5), Timestamp(0))),
            traced(|trace| trace.on_return(MessageId(5))),
            traced(|trace| trace.on_kept(MessageId(5), 2)),
            traced(|trace| trace.on_rewound(MessageId(5), 2)),
            traced(|trace| trace.on_number(5)),
        ];
        for (place, hash) in hashes.iter().enumerate() {
            assert!(!hashes[place + 1..].contains(hash), "at {place}");
        }
    }
}
