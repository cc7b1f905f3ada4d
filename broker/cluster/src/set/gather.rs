//! Gathers the commands of a set into entries.
//!
//! An entry closes at [`ENTRY_LEN`]; a larger command is an entry of its own. Entries leave while
//! fewer than [`ENTRIES_IN_FLIGHT_MAX`] are on their way, so an idle set proposes each command at
//! once and a busy one proposes many together: nothing ever waits for company.
//!
//! Invariant: commands leave in the order they came, each with the asker of its reply.

use std::collections::{BTreeMap, VecDeque};

use sampan_core::{Command, Reply, WaiterId};
use sampan_protocol::QueueId;
use tokio::sync::oneshot;

use super::request::{Origin, Refused};

/// Entries that may be proposed and not yet applied.
pub(crate) const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// An entry takes no further command at this length.
pub(crate) const ENTRY_LEN: usize = 512 * 1024;
/// Gathered and not yet proposed; when there are more, requests wait in their channel.
const ENTRIES_GATHERED_MAX: usize = 4;

/// Who waits for the reply to a command.
#[derive(Debug)]
pub(crate) enum Asker {
    /// A client that sends or deletes.
    Client(Origin),
    /// A client that changes the visibility of messages.
    VisibilityClient(Origin),
    /// A receive in the waiters.
    Waiter(WaiterId),
    /// The node itself.
    Node(oneshot::Sender<Result<Reply, Refused>>),
    /// Nobody: a release.
    Nobody,
}

/// How the messages of a queue will change by what is gathered or on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Messages that sends will add.
    pub(crate) sent: u64,
    /// Messages that receives will take.
    pub(crate) claimed: u64,
}

/// One entry in the making, and later on its way.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) commands: Vec<Command>,
    pub(crate) askers: Vec<Asker>,
    pub(crate) expected: Vec<(QueueId, Expected)>,
    len: usize,
}

/// The entries in the making, and what all unapplied ones are expected to do.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    entries: VecDeque<Gathered>,
    expected: BTreeMap<QueueId, Expected>,
}

impl Gather {
    /// Adds a command at the end.
    pub(crate) fn push(&mut self, command: Command, asker: Asker, expected: Option<Expected>) {
        let len = command.encoded_len();
        let full = |entry: &Gathered| !entry.commands.is_empty() && entry.len + len > ENTRY_LEN;
        if self.entries.back().is_none_or(full) {
            self.entries.push_back(Gathered::default());
        }
        let entry = self
            .entries
            .back_mut()
            .expect("one was pushed if there was none");
        if let (Some(expected), Some(queue)) = (expected, command.queue()) {
            let sum = self.expected.entry(queue).or_default();
            sum.sent += expected.sent;
            sum.claimed += expected.claimed;
            entry.expected.push((queue, expected));
        }
        entry.len += len;
        entry.commands.push(command);
        entry.askers.push(asker);
    }

    /// Adds an entry without commands, to move time.
    pub(crate) fn push_tick(&mut self) {
        self.entries.push_back(Gathered::default());
    }

    /// The oldest entry, to be proposed.
    pub(crate) fn pop(&mut self) -> Option<Gathered> {
        self.entries.pop_front()
    }

    /// The receives that wait to be proposed.
    pub(crate) fn waiters(&self) -> impl Iterator<Item = WaiterId> {
        let askers = self.entries.iter().flat_map(|entry| &entry.askers);
        askers.filter_map(|asker| match asker {
            Asker::Waiter(id) => Some(*id),
            _ => None,
        })
    }

    /// Whether nothing waits to be proposed.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether more requests may be taken in.
    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < ENTRIES_GATHERED_MAX
    }

    /// The messages a receive could get once everything gathered and proposed is applied.
    pub(crate) fn available(&self, queue: QueueId, ready_count: u64) -> u64 {
        let expected = self.expected.get(&queue).copied().unwrap_or_default();
        (ready_count + expected.sent).saturating_sub(expected.claimed)
    }

    /// An entry was applied or refused: nothing is expected of it any more.
    pub(crate) fn settle(&mut self, settled: &[(QueueId, Expected)]) {
        for (queue, expected) in settled {
            let Some(sum) = self.expected.get_mut(queue) else {
                continue;
            };
            sum.sent -= expected.sent;
            sum.claimed -= expected.claimed;
            if *sum == Expected::default() {
                self.expected.remove(queue);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use sampan_protocol::{BatchBuilder, NewMessage};

    const QUEUE: QueueId = QueueId(7);

    fn send(body_len: usize) -> Command {
        let mut batch = BatchBuilder::new();
        let body = Bytes::from(vec![0; body_len]);
        batch
            .push(NewMessage {
                body,
                ..NewMessage::default()
            })
            .unwrap();
        Command::Send {
            queue: QUEUE,
            producer: None,
            batch: batch.finish(),
        }
    }

    fn push(gather: &mut Gather, body_len: usize) {
        let expected = Expected {
            sent: 1,
            claimed: 0,
        };
        gather.push(send(body_len), Asker::Nobody, Some(expected));
    }

    #[test]
    fn commands_share_an_entry_until_it_is_full() {
        let mut gather = Gather::default();
        for _ in 0..3 {
            push(&mut gather, ENTRY_LEN / 3);
        }
        assert_eq!(gather.pop().unwrap().commands.len(), 2);
        assert_eq!(gather.pop().unwrap().commands.len(), 1);
        assert!(gather.pop().is_none());
    }

    #[test]
    fn a_command_longer_than_an_entry_is_one_by_itself() {
        let mut gather = Gather::default();
        push(&mut gather, 10);
        push(&mut gather, ENTRY_LEN + 1);
        push(&mut gather, 10);
        let counts: Vec<_> = std::iter::from_fn(|| gather.pop())
            .map(|entry| entry.commands.len())
            .collect();
        assert_eq!(counts, [1, 1, 1]);
    }

    #[test]
    fn what_is_on_its_way_counts_until_it_is_settled() {
        let mut gather = Gather::default();
        push(&mut gather, 10);
        push(&mut gather, 10);
        let claim = Command::Receive {
            queue: QUEUE,
            count_max: 3,
            len_max: 0,
            visibility_timeout_ms: None,
        };
        let expected = Expected {
            sent: 0,
            claimed: 3,
        };
        gather.push(claim, Asker::Nobody, Some(expected));
        assert_eq!(gather.available(QUEUE, 5), 4);
        assert_eq!(gather.available(QUEUE, 0), 0);
        let entry = gather.pop().unwrap();
        assert_eq!(gather.available(QUEUE, 5), 4);
        gather.settle(&entry.expected);
        assert_eq!(gather.available(QUEUE, 5), 5);
        assert!(gather.expected.is_empty());
    }

    #[test]
    fn a_receive_waits_to_be_proposed_until_its_entry_leaves() {
        let mut gather = Gather::default();
        push(&mut gather, 10);
        let id = WaiterId {
            client: 1,
            request: 2,
        };
        let claim = Command::Receive {
            queue: QUEUE,
            count_max: 1,
            len_max: 0,
            visibility_timeout_ms: None,
        };
        gather.push(claim, Asker::Waiter(id), None);
        assert_eq!(gather.waiters().collect::<Vec<_>>(), [id]);
        gather.pop();
        assert_eq!(gather.waiters().count(), 0);
    }

    #[test]
    fn a_full_gather_asks_for_no_more() {
        let mut gather = Gather::default();
        for _ in 0..ENTRIES_GATHERED_MAX {
            assert!(gather.has_room());
            push(&mut gather, ENTRY_LEN);
        }
        assert!(!gather.has_room());
    }
}
