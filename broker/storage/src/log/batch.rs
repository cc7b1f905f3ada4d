//! A batch: what one write puts down, and one sync makes durable with all before it.
//!
//! Header, then a table of records of fixed length, then the payloads of those records that have
//! one, then nothing up to the next page. The batch's CRC32C covers header and table; a payload's
//! own CRC32C stands in the table. So every byte is checked once, and one record can later be read
//! and checked without the rest of its batch. One CRC over all would be read in full each time.
//!
//! Invariants: a batch starts on a page that no synced batch covers. Its CRC starts from the seed
//! of its file, and it names the CRC of the batch before it, so batches form one chain.
//! Spec: spec/storage.md, "The log".

use bytes::{Buf, BufMut};

use super::limits::{BATCH_RECORD_COUNT_MAX, PAGE_LEN};
use super::record::{RECORD_LEN, Record};

/// First bytes of every batch.
const MAGIC: u32 = u32::from_le_bytes(*b"SBAT");
/// Length of the header of a batch.
pub(super) const BATCH_HEADER_LEN: usize = 44;
/// Where the CRC stands in the header: at its end.
const CRC_AT: usize = BATCH_HEADER_LEN - 4;

/// How a batch follows the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// From 1, each batch one more than the one before it.
    pub(super) sequence: u64,
    /// CRC of the batch before it, 0 for the first.
    pub(super) previous_crc: u32,
}

/// The fixed-size start of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// Records at the start of the table that repeat the state of sets.
    pub(super) state_count: u16,
    /// Written because nothing else was to write: what it follows is known to be synced.
    pub(super) closing: bool,
    pub(super) record_count: u32,
    /// Header, table and payloads.
    pub(super) len: u32,
    pub(super) generation: u64,
    pub(super) link: Link,
    /// Batches right before it that were not synced when it was written.
    pub(super) unsynced: u32,
    pub(super) crc: u32,
}

impl BatchHeader {
    fn encode(&self, out: &mut [u8]) {
        let mut out = out;
        out.put_u32_le(MAGIC);
        out.put_u16_le(u16::from(self.closing));
        out.put_u16_le(self.state_count);
        out.put_u32_le(self.record_count);
        out.put_u32_le(self.len);
        out.put_u64_le(self.generation);
        out.put_u64_le(self.link.sequence);
        out.put_u32_le(self.link.previous_crc);
        out.put_u32_le(self.unsynced);
        out.put_u32_le(self.crc);
    }

    /// Sequence of the last batch that was known to be synced when this one was written.
    pub(super) fn synced_sequence(&self) -> u64 {
        let before = self.link.sequence.saturating_sub(1);
        before.saturating_sub(self.unsynced.into())
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < BATCH_HEADER_LEN || bytes.get_u32_le() != MAGIC {
            return None;
        }
        let flags = bytes.get_u16_le();
        Some(BatchHeader {
            closing: flags & 1 != 0,
            state_count: bytes.get_u16_le(),
            record_count: bytes.get_u32_le(),
            len: bytes.get_u32_le(),
            generation: bytes.get_u64_le(),
            link: Link {
                sequence: bytes.get_u64_le(),
                previous_crc: bytes.get_u32_le(),
            },
            unsynced: bytes.get_u32_le(),
            crc: bytes.get_u32_le(),
        })
    }

    /// Whether these bytes may be the start of a batch of `generation`, whole or not.
    pub(super) fn may_be_of(bytes: &[u8], generation: u64) -> bool {
        let Some(mut bytes) = bytes.get(..BATCH_HEADER_LEN) else {
            return false;
        };
        let magic = bytes.get_u32_le() == MAGIC;
        bytes.advance(12);
        magic && bytes.get_u64_le() == generation
    }

    /// Whether these bytes look like the start of the batch that is expected here, whole or not:
    /// two of magic, generation, sequence and link are right. What an earlier use of the file
    /// left, or zeros, has one right at most.
    pub(super) fn looks_begun(bytes: &[u8], generation: u64, link: Link) -> bool {
        let Some(mut bytes) = bytes.get(..BATCH_HEADER_LEN) else {
            return false;
        };
        let magic = bytes.get_u32_le() == MAGIC;
        bytes.advance(12);
        let signs = [
            magic,
            bytes.get_u64_le() == generation,
            bytes.get_u64_le() == link.sequence,
            bytes.get_u32_le() == link.previous_crc && link.previous_crc != 0,
        ];
        signs.into_iter().filter(|right| *right).count() >= 2
    }
}

/// A whole batch with right checksums, where it lies in its file.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The batch at the start of `bytes`, if one of `generation` is there and whole.
    pub(super) fn decode(bytes: &'a [u8], generation: u64, seed: u32) -> Option<Self> {
        let header = BatchHeader::decode(bytes)?;
        let record_count = header.record_count as usize;
        if header.generation != generation
            || record_count > BATCH_RECORD_COUNT_MAX
            || usize::from(header.state_count) > record_count
        {
            return None;
        }
        let bytes = bytes.get(..header.len as usize)?;
        let table = bytes.get(BATCH_HEADER_LEN..table_end(record_count))?;
        if crc_of(seed, &bytes[..CRC_AT], table) != header.crc {
            return None;
        }
        let batch = Batch { header, bytes };
        batch.payloads_are_right().then_some(batch)
    }

    /// The records, each with the place of its payload in the batch.
    pub(super) fn records(&self) -> impl Iterator<Item = (Record, std::ops::Range<usize>)> + '_ {
        let mut at = table_end(self.header.record_count as usize);
        self.bytes[BATCH_HEADER_LEN..at]
            .chunks_exact(RECORD_LEN)
            .map(move |bytes| {
                let record = Record::decode(bytes);
                let start = at;
                at = at.saturating_add(record.payload_len as usize);
                (record, start..at)
            })
    }

    /// The bytes of a payload.
    pub(super) fn payload(&self, place: std::ops::Range<usize>) -> &'a [u8] {
        &self.bytes[place]
    }

    /// Length on disk: up to the next page.
    pub(super) fn padded_len(&self) -> usize {
        self.bytes.len().next_multiple_of(PAGE_LEN)
    }

    fn payloads_are_right(&self) -> bool {
        let mut end = table_end(self.header.record_count as usize);
        for (record, place) in self.records() {
            end = place.end;
            match self.bytes.get(place) {
                Some(payload) if crc32c::crc32c(payload) == record.payload_crc => {}
                _ => return false,
            }
        }
        end == self.bytes.len()
    }
}

/// Where the table of `record_count` records ends.
pub(super) fn table_end(record_count: usize) -> usize {
    BATCH_HEADER_LEN + record_count * RECORD_LEN
}

/// Lays out one batch in a buffer that is used again and again.
#[derive(Debug, Default)]
pub(super) struct BatchBuffer {
    bytes: Vec<u8>,
    record_count: usize,
    written_count: usize,
}

impl BatchBuffer {
    /// Starts a batch of exactly `record_count` records.
    pub(super) fn start(&mut self, record_count: usize) {
        self.bytes.clear();
        self.bytes.resize(table_end(record_count), 0);
        (self.record_count, self.written_count) = (record_count, 0);
    }

    /// Where the next payload begins; append it there.
    pub(super) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Adds a record whose payload is what was appended from `payload_start` on. Returns it with
    /// length and checksum filled in.
    pub(super) fn finish_record(&mut self, mut record: Record, payload_start: usize) -> Record {
        let payload = &self.bytes[payload_start..];
        record.payload_len = u32::try_from(payload.len()).expect("a batch is below 4 GiB");
        record.payload_crc = crc32c::crc32c(payload);
        assert!(
            self.written_count < self.record_count,
            "records were counted before"
        );
        let start = table_end(self.written_count);
        record.encode(&mut self.bytes[start..start + RECORD_LEN]);
        self.written_count += 1;
        record
    }

    /// Adds a record without a payload.
    pub(super) fn push(&mut self, record: Record) {
        let end = self.bytes.len();
        self.finish_record(record, end);
    }

    /// Seals the batch, which `unsynced` others precede that no sync covered, and fills it up to a
    /// page. Returns its CRC and the bytes to write.
    pub(super) fn seal(
        &mut self,
        generation: u64,
        seed: u32,
        link: Link,
        unsynced: u32,
        state_count: usize,
        closing: bool,
    ) -> (u32, &[u8]) {
        assert!(
            self.written_count == self.record_count,
            "all records are there"
        );
        let mut header = BatchHeader {
            state_count: u16::try_from(state_count).expect("bounded by the count of sets"),
            closing,
            record_count: u32::try_from(self.record_count).expect("bounded by its limit"),
            len: u32::try_from(self.bytes.len()).expect("a batch is below 4 GiB"),
            generation,
            link,
            unsynced,
            crc: 0,
        };
        let (head, rest) = self.bytes.split_at_mut(BATCH_HEADER_LEN);
        header.encode(head);
        let table = &rest[..self.record_count * RECORD_LEN];
        header.crc = crc_of(seed, &head[..CRC_AT], table);
        header.encode(head);
        self.bytes
            .resize(self.bytes.len().next_multiple_of(PAGE_LEN), 0);
        (header.crc, &self.bytes)
    }
}

fn crc_of(seed: u32, head: &[u8], table: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, head), table)
}
