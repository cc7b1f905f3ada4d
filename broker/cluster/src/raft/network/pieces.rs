//! Entries as an append frame carries them, encoded and summed once for all peers of a set.
//!
//! A leader sends an entry to each peer at about the same time, from one core. So what was made for
//! the first is kept for the next ones: a few entries per core, and only long ones, whose checksum
//! costs more than looking them up.
//!
//! Invariant: what is kept belongs to an entry that is compared by identity, and the weak reference
//! keeps the entry's address from being given to another.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use sampan_core::Entry;

use super::codec::to_wire_id;
use crate::peer::{EntryHead, EntryPieces};
use crate::raft::payload::LogPayload;
use crate::raft::types::RaftEntry;

/// Batches from this length on are sent as they lie in memory; a copy of shorter ones is cheaper
/// than a piece of its own.
const SHARED_LEN_MIN: usize = 2 * 1024;
/// Entries from this length on are kept.
const KEPT_LEN_MIN: usize = 4 * 1024;
/// Bytes that are kept per core.
const KEPT_LEN_MAX: usize = 8 * 1024 * 1024;
const KEPT_COUNT_MAX: usize = 32;

thread_local! {
    static RECENT: RefCell<Recent> = RefCell::default();
}

#[derive(Clone)]
struct Encoded {
    pieces: Vec<Bytes>,
    len: usize,
    crc32c: u32,
}

#[derive(Default)]
struct Recent {
    kept: VecDeque<(Weak<Entry>, Encoded)>,
    len: usize,
}

/// What an entry is on the wire.
pub(super) fn pieces_of(entry: RaftEntry) -> EntryPieces {
    let id = to_wire_id(&entry.log_id);
    let payload = LogPayload::from_raft(entry.payload);
    let encoded = match &payload {
        LogPayload::Commands(entry) => {
            RECENT.with_borrow_mut(|recent| recent.encoded(entry, &payload))
        }
        LogPayload::Blank | LogPayload::Membership(_) => encode(&payload),
    };
    let len = u32::try_from(encoded.len).expect("an entry is far shorter than 4 GiB");
    let head = EntryHead {
        id,
        len,
        crc32c: encoded.crc32c,
    };
    EntryPieces {
        head,
        pieces: encoded.pieces,
    }
}

fn encode(payload: &LogPayload) -> Encoded {
    let pieces = payload.encode_pieces(SHARED_LEN_MIN);
    let summed = |crc, piece: &Bytes| crc32c::crc32c_append(crc, piece);
    Encoded {
        len: pieces.iter().map(Bytes::len).sum(),
        crc32c: pieces.iter().fold(0, summed),
        pieces,
    }
}

impl Recent {
    fn encoded(&mut self, entry: &Arc<Entry>, payload: &LogPayload) -> Encoded {
        let is_it = |kept: &&(Weak<Entry>, Encoded)| kept.0.as_ptr() == Arc::as_ptr(entry);
        if let Some((_, encoded)) = self.kept.iter().find(is_it) {
            return encoded.clone();
        }
        let encoded = encode(payload);
        if (KEPT_LEN_MIN..=KEPT_LEN_MAX).contains(&encoded.len) {
            self.len += encoded.len;
            self.kept
                .push_back((Arc::downgrade(entry), encoded.clone()));
        }
        while self.len > KEPT_LEN_MAX || self.kept.len() > KEPT_COUNT_MAX {
            let oldest = self.kept.pop_front();
            self.len -= oldest.map_or(0, |(_, encoded)| encoded.len);
        }
        encoded
    }
}

#[cfg(test)]
mod tests {
    use sampan_core::Command;
    use sampan_protocol::{BatchBuilder, NewMessage, QueueId, Timestamp};
    use sampan_storage::log::Payload;

    use super::*;
    use crate::peer::WireLogId;
    use crate::raft::types::{Proposal, RaftPayload};

    fn entry(fill: u8, body_len: usize) -> Arc<Entry> {
        let mut builder = BatchBuilder::new();
        let body = vec![fill; body_len].into();
        let message = NewMessage {
            body,
            ..NewMessage::default()
        };
        builder.push(message).unwrap();
        let batch = builder.finish();
        let queue = QueueId(1);
        Arc::new(Entry {
            stamp: Timestamp(5),
            commands: vec![Command::Send {
                queue,
                producer: None,
                batch,
            }],
            ..Entry::default()
        })
    }

    fn raft_entry(entry: &Arc<Entry>) -> RaftEntry {
        RaftEntry {
            log_id: super::super::codec::from_wire_id(WireLogId { term: 1, index: 2 }),
            payload: RaftPayload::Normal(Proposal(entry.clone())),
        }
    }

    #[test]
    fn pieces_are_the_payload_and_their_checksum_is_its_checksum() {
        for body_len in [1, 3000, 100_000] {
            let entry = entry(1, body_len);
            for _ in 0..3 {
                let made = pieces_of(raft_entry(&entry));
                let mut encoded = Vec::new();
                LogPayload::Commands(entry.clone()).encode(&mut encoded);
                assert_eq!(made.pieces.concat(), encoded);
                assert_eq!(made.head.crc32c, crc32c::crc32c(&encoded));
                assert_eq!(made.head.len as usize, encoded.len());
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded_and_never_taken_for_another_entry() {
        for round in 0..500u32 {
            let fill = u8::try_from(round % 251).unwrap();
            // Each is dropped at once, so that its address is free for the next.
            let entry = entry(fill, 500_000);
            let made = pieces_of(raft_entry(&entry));
            assert_eq!(made.pieces.concat().last(), Some(&fill));
        }
        RECENT.with_borrow(|recent| {
            let len: usize = recent.kept.iter().map(|(_, encoded)| encoded.len).sum();
            assert_eq!(len, recent.len);
            assert!(recent.len <= KEPT_LEN_MAX && recent.kept.len() <= KEPT_COUNT_MAX);
        });
    }
}
