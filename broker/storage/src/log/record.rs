//! Records: what a batch says, in 48 bytes each. Only entries have a payload besides.
//!
//! The entries of one set and one term that follow each other share a record, so that an entry
//! costs four bytes beside its own.
//!
//! Invariant: a record of an unknown kind makes its batch damaged, never skipped.
//! Spec: spec/storage.md, "The log".

use bytes::{Buf, BufMut};
use sampan_protocol::SetId;

use super::{LogId, Vote};

/// Length of one record in the table of a batch.
pub(super) const RECORD_LEN: usize = 48;
/// Length of what stands before each entry in the payload: its length.
pub(super) const ENTRY_PREFIX_LEN: usize = 4;
/// Flag of a vote: a majority gave it.
const FLAG_COMMITTED: u8 = 1;
/// Flag: there is no log id.
const FLAG_NONE: u8 = 2;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// Entries that follow each other, one leader's: the first one's id, and how many.
    Entries { first: LogId, count: u32 },
    /// The vote of the set.
    Vote(Vote),
    /// All after this entry is cut off; `None`: all there is.
    Truncate(Option<LogId>),
    /// All up to and with this entry is gone; the set continues after it.
    Purge(LogId),
    /// State of a set: its last entry. The set's vote and purged id follow if there are any.
    Last(Option<LogId>),
    /// All entries of the set are gone; the next one follows this. `None`: as if there were none.
    Reset(Option<LogId>),
    /// The log was opened: the boot of the machine, and how often it was opened before.
    Opened { boot_id: u128, open_count: u64 },
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) set: SetId,
    /// `None`: this release does not know the kind.
    pub(super) kind: Option<RecordKind>,
    pub(super) payload_len: u32,
    pub(super) payload_crc: u32,
}

impl Record {
    pub(super) fn new(set: SetId, kind: RecordKind) -> Self {
        Record {
            set,
            kind: Some(kind),
            payload_len: 0,
            payload_crc: 0,
        }
    }

    pub(super) fn encode(&self, out: &mut [u8]) {
        let maybe = |id: Option<LogId>| match id {
            Some(id) => (0, id),
            None => (FLAG_NONE, LogId::default()),
        };
        let (number, (flags, id)) = match self.kind.expect("records made here have a kind") {
            RecordKind::Entries { first, .. } => (1, (0, first)),
            RecordKind::Vote(vote) => {
                let flags = if vote.committed { FLAG_COMMITTED } else { 0 };
                (
                    2,
                    (
                        flags,
                        LogId {
                            term: vote.term,
                            node: vote.node,
                            index: 0,
                        },
                    ),
                )
            }
            RecordKind::Truncate(id) => (3, maybe(id)),
            RecordKind::Purge(id) => (4, (0, id)),
            RecordKind::Last(id) => (5, maybe(id)),
            RecordKind::Reset(id) => (7, maybe(id)),
            RecordKind::Opened {
                boot_id,
                open_count,
            } => {
                let [high, low] = halves(boot_id);
                (
                    6,
                    (
                        0,
                        LogId {
                            term: high,
                            node: low,
                            index: open_count,
                        },
                    ),
                )
            }
        };
        let count = match self.kind {
            Some(RecordKind::Entries { count, .. }) => count,
            _ => 0,
        };
        let mut out = out;
        out.put_u8(number);
        out.put_u8(flags);
        out.put_u16_le(0);
        out.put_u32_le(self.set.0);
        out.put_u32_le(count);
        out.put_u32_le(self.payload_len);
        out.put_u32_le(self.payload_crc);
        out.put_u32_le(0);
        out.put_u64_le(id.term);
        out.put_u64_le(id.node);
        out.put_u64_le(id.index);
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Self {
        let (number, flags) = (bytes.get_u8(), bytes.get_u8());
        bytes.advance(2);
        let set = SetId(bytes.get_u32_le());
        let count = bytes.get_u32_le();
        let (payload_len, payload_crc) = (bytes.get_u32_le(), bytes.get_u32_le());
        bytes.advance(4);
        let (term, node, index) = (bytes.get_u64_le(), bytes.get_u64_le(), bytes.get_u64_le());
        let id = LogId { term, node, index };
        let maybe_id = (flags & FLAG_NONE == 0).then_some(id);
        let kind = match number {
            1 => Some(RecordKind::Entries { first: id, count }),
            2 => Some(RecordKind::Vote(Vote {
                term,
                node,
                committed: flags & FLAG_COMMITTED != 0,
            })),
            3 => Some(RecordKind::Truncate(maybe_id)),
            4 => Some(RecordKind::Purge(id)),
            5 => Some(RecordKind::Last(maybe_id)),
            6 => Some(RecordKind::Opened {
                boot_id: (u128::from(term) << 64) | u128::from(node),
                open_count: index,
            }),
            7 => Some(RecordKind::Reset(maybe_id)),
            _ => None,
        };
        Record {
            set,
            kind,
            payload_len,
            payload_crc,
        }
    }
}

fn halves(id: u128) -> [u64; 2] {
    let bytes = id.to_be_bytes();
    let (high, low) = bytes.split_at(8);
    [high, low].map(|half| u64::from_be_bytes(half.try_into().expect("16 bytes are two halves")))
}

/// The entries in the payload of an entries record, as places in it; `None` if they do not fill it.
pub(super) fn entries_in(payload: &[u8], count: u32) -> Option<Vec<std::ops::Range<usize>>> {
    let mut places = Vec::with_capacity((count as usize).min(payload.len() / ENTRY_PREFIX_LEN));
    let mut at = 0;
    for _ in 0..count {
        let prefix = payload.get(at..at + ENTRY_PREFIX_LEN)?;
        let len = u32::from_le_bytes(prefix.try_into().ok()?) as usize;
        let start = at + ENTRY_PREFIX_LEN;
        payload.get(start..start + len)?;
        places.push(start..start + len);
        at = start + len;
    }
    (at == payload.len()).then_some(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: LogId = LogId {
        term: 3,
        node: 1,
        index: 9,
    };

    #[test]
    fn every_kind_comes_back_as_it_was_written() {
        let kinds = [
            RecordKind::Entries {
                first: ID,
                count: 4,
            },
            RecordKind::Vote(Vote {
                term: 5,
                node: 2,
                committed: true,
            }),
            RecordKind::Truncate(Some(ID)),
            RecordKind::Truncate(None),
            RecordKind::Purge(ID),
            RecordKind::Last(Some(ID)),
            RecordKind::Last(None),
            RecordKind::Reset(Some(ID)),
            RecordKind::Reset(None),
            RecordKind::Opened {
                boot_id: (1 << 100) + 5,
                open_count: 6,
            },
        ];
        for kind in kinds {
            let record = Record {
                payload_len: 7,
                payload_crc: 8,
                ..Record::new(SetId(2), kind)
            };
            let mut bytes = [0; RECORD_LEN];
            record.encode(&mut bytes);
            assert_eq!(Record::decode(&bytes), record);
        }
    }

    #[test]
    fn an_unknown_kind_is_not_taken_for_another() {
        for number in [0, 8, 255] {
            let mut bytes = [0; RECORD_LEN];
            bytes[0] = number;
            assert_eq!(Record::decode(&bytes).kind, None);
        }
    }

    #[test]
    fn entries_must_fill_their_payload() {
        let payload = [1, 0, 0, 0, 9, 0, 0, 0, 0];
        assert_eq!(entries_in(&payload, 2).unwrap(), [4..5, 9..9]);
        for (payload, count) in [(&payload[..], 1), (&payload[..], 3), (&payload[..8], 2)] {
            assert!(entries_in(payload, count).is_none());
        }
        assert!(entries_in(&[255; 8], u32::MAX).is_none());
    }
}
