//! What happened in a queue during one command, on its way into the state hash.
//!
//! Messages that go, come back or are handed out are told as runs of ids: a batch costs what one
//! message costs when its ids lie side by side. Runs are joined here and not taken from the effects,
//! which a caller may collect over several entries and which then are joined differently.
//!
//! Invariant: empty between two commands. Spec: spec/state.md, "State hash".

use sampan_protocol::{MessageId, QueueId};

use crate::effect::{Effect, push_removed};
use crate::state_hash::StateHash;

/// What happened to the messages of a run; the lowest byte of its word.
const REMOVED: u64 = 1;
const CAME_BACK: u64 = 2;
const RECEIVED: u64 = 3;

/// Messages side by side to which the same happened.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    what: u64,
    first: u64,
    /// 0 when there is no run.
    count: u64,
}

#[derive(Debug, Default)]
pub(super) struct Trace {
    hash: StateHash,
    run: Run,
}

impl Trace {
    /// Messages are deleted or expired: notes it, and tells of it.
    pub(super) fn on_removed(
        &mut self,
        effects: &mut Vec<Effect>,
        queue: QueueId,
        first: MessageId,
        count: u64,
    ) {
        self.note(REMOVED, first.0, count);
        push_removed(effects, queue, first, count);
    }

    /// A message is ready again.
    pub(super) fn on_return(&mut self, id: MessageId) {
        self.note(CAME_BACK, id.0, 1);
    }

    /// Messages were handed out, each for the `receive_count`-th time.
    pub(super) fn on_receive(
        &mut self,
        first: MessageId,
        count: u64,
        receive_count: u32,
        first_received_ms: u64,
    ) {
        let what = RECEIVED | u64::from(receive_count) << 8;
        self.note(what ^ first_received_ms.rotate_left(40), first.0, count);
    }

    /// A number that belongs to the command as a whole.
    pub(super) fn on_number(&mut self, number: u64) {
        self.close();
        self.hash.fold(number);
    }

    /// Hash of all that was noted, if anything was; begins anew.
    pub(super) fn take(&mut self) -> Option<u64> {
        self.close();
        let hash = std::mem::take(&mut self.hash);
        (hash != StateHash::default()).then(|| hash.value())
    }

    fn note(&mut self, what: u64, first: u64, count: u64) {
        let run = &mut self.run;
        if run.what == what && run.count > 0 && run.first + run.count == first {
            run.count += count;
        } else {
            self.close();
            self.run = Run { what, first, count };
        }
    }

    fn close(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run.count > 0 {
            self.hash.fold(run.what);
            self.hash.fold_run(run.first, run.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(work: impl Fn(&mut Trace)) -> u64 {
        let mut trace = Trace::default();
        work(&mut trace);
        let hash = trace.take();
        assert_eq!(trace.take(), None, "taken once");
        hash.unwrap()
    }

    #[test]
    fn a_run_told_in_pieces_is_the_same_run() {
        let whole = traced(|trace| trace.on_receive(MessageId(5), 9, 1, 77));
        let pieces = traced(|trace| {
            trace.on_receive(MessageId(5), 4, 1, 77);
            (9..14).for_each(|id| trace.on_receive(MessageId(id), 1, 1, 77));
        });
        assert_eq!(whole, pieces);
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
            traced(|trace| trace.on_number(5)),
        ];
        for (place, hash) in hashes.iter().enumerate() {
            assert!(!hashes[place + 1..].contains(hash), "at {place}");
        }
    }
}
