//! The key of a state row: what the store orders and finds rows by.
//!
//! Encoded big-endian as queue, kind, number, so that the bytes sort as the fields do: all rows of
//! a queue lie together, its own row before everything that hangs on it.
//!
//! Spec: spec/state.md, "State rows".

use sampan_protocol::QueueId;

/// The key of one state row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// The queue; 0 for what belongs to the set as a whole.
    pub queue: QueueId,
    /// What the row holds: one of the `RowKey` constants.
    pub kind: u8,
    /// Which one of its kind.
    pub number: u64,
}

impl RowKey {
    /// Length of an encoded key.
    pub const LEN: usize = 17;
    /// The set itself: its time and state hash.
    pub const SET: u8 = 0x01;
    /// The catalog itself: the next queue id.
    pub const CATALOG: u8 = 0x02;
    /// One queue in the catalog.
    pub const RECORD: u8 = 0x03;
    /// The cluster: its id, and what holds for all nodes.
    pub const CLUSTER: u8 = 0x04;
    /// One node of the cluster.
    pub const NODE: u8 = 0x05;
    /// Data folders that were replaced or removed.
    pub const RETIRED: u8 = 0x06;
    /// Who is to vote in one set.
    pub const PLACEMENT: u8 = 0x07;
    /// A queue: attributes and sequences.
    pub const QUEUE: u8 = 0x10;
    /// When a run of messages was sent.
    pub const MARK: u8 = 0x11;
    /// How many messages are ready on each of 256 pages.
    pub const DIRECTORY: u8 = 0x12;
    /// 64 lease numbers: messages in flight.
    pub const LEASES: u8 = 0x13;
    /// A session of a producer: which numbers the queue has stored.
    pub const PRODUCER: u8 = 0x15;
    /// 64 numbers of messages that rest.
    pub const RESTING: u8 = 0x16;
    /// 64 numbers of messages on their way to another queue.
    pub const LETTERS: u8 = 0x17;
    /// A run of messages that were deleted and may come back.
    pub const KEPT: u8 = 0x1a;
    /// What a queue has judged of the messages of one other queue.
    pub const LANE: u8 = 0x19;
    /// 64 deduplication keys.
    pub const KEYS: u8 = 0x18;
    /// What is known of each of 256 chunks of delayed messages without reading them.
    pub const DELAYED_DIRECTORY: u8 = 0x1d;
    /// The newest redrive of a queue.
    pub const REDRIVE: u8 = 0x1b;
    /// The reply to a numbered send whose ids are in no order.
    pub const REPLY: u8 = 0x1f;
    /// 64 ids of groups: which are ready.
    pub const GROUPED: u8 = 0x20;
    /// 64 ids of groups: which are in flight or rest.
    pub const HELD: u8 = 0x21;
    /// A page of messages that came back or fell due.
    pub const PAGE: u8 = 0x80;
    /// 64 ids of delayed messages.
    pub const DELAYED: u8 = 0x81;

    /// Whether the row is read only when `Need` asks for it. [`crate::Broker::restore`] takes no
    /// harm from such rows, but does without them.
    pub const fn is_paged(self) -> bool {
        self.kind & 0x80 != 0
    }

    /// The key as bytes, which sort as keys do.
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.queue.0.to_be_bytes());
        bytes[8] = self.kind;
        bytes[9..].copy_from_slice(&self.number.to_be_bytes());
        bytes
    }

    /// The key of 17 bytes.
    pub fn decode(bytes: [u8; Self::LEN]) -> RowKey {
        let [
            q0,
            q1,
            q2,
            q3,
            q4,
            q5,
            q6,
            q7,
            kind,
            n0,
            n1,
            n2,
            n3,
            n4,
            n5,
            n6,
            n7,
        ] = bytes;
        RowKey {
            queue: QueueId(u64::from_be_bytes([q0, q1, q2, q3, q4, q5, q6, q7])),
            kind,
            number: u64::from_be_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_bytes_do() {
        let keys = [
            (0, 1, 9),
            (1, 0x10, 0),
            (1, 0x11, 5),
            (1, 0x80, 256),
            (1, 0x80, 257),
            (2, 1, 0),
        ]
        .map(|(queue, kind, number)| RowKey {
            queue: QueueId(queue),
            kind,
            number,
        });
        for pair in keys.windows(2) {
            assert!(pair[0] < pair[1] && pair[0].encode() < pair[1].encode());
            assert_eq!(RowKey::decode(pair[0].encode()), pair[0]);
        }
    }
}
