//! Messages of one queue as they lie in a segment file.
//!
//! Owns the layout of an extent: a header, one fixed-size record per message, then the contents
//! exactly as they came in the batch. The checksum is over everything, so one pass when it is read
//! covers ids, lengths and bodies.
//!
//! Invariants of a decoded extent: ids ascend from `first` to `last`; the lengths of the records
//! add up to its content.
//! Spec: spec/storage.md, "Segment files".

use bytes::{Buf, BufMut, Bytes};
use sampan_protocol::{MessageRecord, QueueId, Timestamp};

use super::options::{EXTENT_LEN_MAX, EXTENT_SPAN_MAX};

/// Length of the header of an extent.
pub const EXTENT_HEADER_LEN: usize = 48;
/// Length of one message's record in an extent.
pub const EXTENT_RECORD_LEN: usize = 32;
const MAGIC: u32 = u32::from_le_bytes(*b"EXT1");
const CRC_END: usize = 8;

/// One message on its way into a segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) id: u64,
    pub(super) sent_at: Timestamp,
    pub(super) record: MessageRecord,
    pub(super) content: &'a [u8],
}

/// The length of an extent of `count` messages with `content_len` bytes.
pub(super) fn extent_len(count: usize, content_len: usize) -> usize {
    EXTENT_HEADER_LEN + count * EXTENT_RECORD_LEN + content_len
}

/// Appends an extent of `messages` (not empty, ascending) to `out`; returns its length.
pub(super) fn encode_extent(
    queue: QueueId,
    segment: u32,
    messages: &[Outgoing<'_>],
    out: &mut Vec<u8>,
) -> u32 {
    let start = out.len();
    let content_len: usize = messages.iter().map(|message| message.content.len()).sum();
    let short = |len: usize| u32::try_from(len).expect("an extent is shorter than 2 MiB");
    let (first, last) = (messages[0].id, messages[messages.len() - 1].id);
    out.reserve(extent_len(messages.len(), content_len));
    out.put_u32_le(MAGIC);
    out.put_u32_le(0);
    out.put_u64_le(queue.0);
    out.put_u64_le(first);
    out.put_u64_le(last);
    out.put_u32_le(short(messages.len()));
    out.put_u32_le(short(content_len));
    out.put_u32_le(segment);
    out.put_u32_le(0);
    for message in messages {
        encode_record(message, first, out);
    }
    for message in messages {
        out.extend_from_slice(message.content);
    }
    let crc = crc32c::crc32c(&out[start + CRC_END..]);
    out[start + 4..start + CRC_END].copy_from_slice(&crc.to_le_bytes());
    short(out.len() - start)
}

fn encode_record(message: &Outgoing<'_>, first: u64, out: &mut Vec<u8>) {
    let offset = u32::try_from(message.id - first).expect("an extent spans at most 4096 ids");
    let record = &message.record;
    out.put_u32_le(offset);
    out.put_u32_le(record.body_len);
    out.put_u32_le(record.body_crc32c);
    out.put_u16_le(record.headers_len);
    out.put_u8(record.group_key_len);
    out.put_u8(record.dedup_key_len);
    out.put_u64_le(message.sent_at.0);
    out.put_u64_le(record.delay_ms);
}

/// The header of an extent, not yet checked against its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ExtentHeader {
    pub(super) queue: QueueId,
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) segment: u32,
    count: usize,
    content_len: usize,
}

impl ExtentHeader {
    /// The header, if its numbers are within the limits of the format.
    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        if bytes.len() < EXTENT_HEADER_LEN || bytes.get_u32_le() != MAGIC {
            return None;
        }
        bytes.advance(4);
        let queue = QueueId(bytes.get_u64_le());
        let (first, last) = (bytes.get_u64_le(), bytes.get_u64_le());
        let count = usize::try_from(bytes.get_u32_le()).ok()?;
        let content_len = usize::try_from(bytes.get_u32_le()).ok()?;
        let segment = bytes.get_u32_le();
        let span = last.checked_sub(first)?;
        let sound = (1..=EXTENT_SPAN_MAX as usize).contains(&count)
            && span < EXTENT_SPAN_MAX
            && content_len <= EXTENT_LEN_MAX
            && extent_len(count, content_len) <= EXTENT_LEN_MAX;
        sound.then_some(ExtentHeader {
            queue,
            first,
            last,
            segment,
            count,
            content_len,
        })
    }

    /// Length of the extent, header included.
    pub(super) fn len(&self) -> usize {
        extent_len(self.count, self.content_len)
    }
}

/// A whole extent that was read and checked.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    header: ExtentHeader,
    bytes: Bytes,
}

/// One message of an extent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) id: u64,
    pub(super) sent_at: Timestamp,
    pub(super) record: MessageRecord,
    start: usize,
}

impl Extent {
    /// Takes over `bytes` when they are exactly one intact extent.
    pub(super) fn decode(bytes: Bytes) -> Result<Self, &'static str> {
        let header = ExtentHeader::decode(&bytes).ok_or("no valid extent header")?;
        if header.len() != bytes.len() {
            return Err("an extent has another length than its header says");
        }
        let crc = (&bytes[4..CRC_END]).get_u32_le();
        if crc32c::crc32c(&bytes[CRC_END..]) != crc {
            return Err("wrong checksum of an extent");
        }
        let extent = Extent { header, bytes };
        if extent.is_sound() {
            Ok(extent)
        } else {
            Err("an extent contradicts itself")
        }
    }

    fn is_sound(&self) -> bool {
        let mut end = self.content_start();
        let mut before = None;
        for message in self.messages() {
            if before.is_some_and(|before| before >= message.id) {
                return false;
            }
            before = Some(message.id);
            end += message.record.content_len();
        }
        let first = self.messages().next().map(|message| message.id);
        first == Some(self.header.first)
            && before == Some(self.header.last)
            && end == self.bytes.len()
    }

    fn content_start(&self) -> usize {
        extent_len(self.header.count, 0)
    }

    /// What the header says.
    pub(super) fn header(&self) -> &ExtentHeader {
        &self.header
    }

    /// How many bytes it takes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The messages in order.
    pub(super) fn messages(&self) -> impl Iterator<Item = Found> + '_ {
        let mut start = self.content_start();
        let records = self.bytes[EXTENT_HEADER_LEN..start].chunks_exact(EXTENT_RECORD_LEN);
        records.map(move |record| {
            let found = decode_record(record, self.header.first, start);
            start = start.saturating_add(found.record.content_len());
            found
        })
    }

    /// A message as it goes into another segment.
    pub(super) fn outgoing(&self, message: &Found) -> Outgoing<'_> {
        Outgoing {
            id: message.id,
            sent_at: message.sent_at,
            record: message.record,
            content: &self.bytes[message.start..message.start + message.record.content_len()],
        }
    }

    /// Headers, keys and body of a message, shared, not copied.
    pub(super) fn content(&self, message: &Found) -> Bytes {
        self.bytes
            .slice(message.start..message.start + message.record.content_len())
    }
}

fn decode_record(mut bytes: &[u8], first: u64, start: usize) -> Found {
    let offset = u64::from(bytes.get_u32_le());
    let (body_len, body_crc32c) = (bytes.get_u32_le(), bytes.get_u32_le());
    let headers_len = bytes.get_u16_le();
    let (group_key_len, dedup_key_len) = (bytes.get_u8(), bytes.get_u8());
    let sent_at = Timestamp(bytes.get_u64_le());
    let delay_ms = bytes.get_u64_le();
    let record = MessageRecord {
        body_len,
        body_crc32c,
        delay_ms,
        headers_len,
        group_key_len,
        dedup_key_len,
    };
    Found {
        id: first.saturating_add(offset),
        sent_at,
        record,
        start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let bodies: [&[u8]; 3] = [b"one", b"header+two", b"three"];
        let messages = [0, 1, 2].map(|index| Outgoing {
            id: [10, 11, 15][index],
            sent_at: Timestamp(1_000 + index as u64),
            record: MessageRecord {
                body_len: [3, 3, 5][index],
                body_crc32c: crc32c::crc32c([b"one".as_slice(), b"two", b"three"][index]),
                delay_ms: MessageRecord::DELAY_DEFAULT,
                headers_len: [0, 7, 0][index],
                group_key_len: 0,
                dedup_key_len: 0,
            },
            content: bodies[index],
        });
        let mut out = Vec::new();
        let len = encode_extent(QueueId(4), 2, &messages, &mut out);
        assert_eq!(len as usize, out.len());
        out
    }

    #[test]
    fn an_extent_comes_back_as_it_went_in() {
        let extent = Extent::decode(Bytes::from(sample())).unwrap();
        let header = extent.header();
        assert_eq!(
            (header.queue, header.first, header.last),
            (QueueId(4), 10, 15)
        );
        let found: Vec<_> = extent.messages().collect();
        assert_eq!(
            found.iter().map(|message| message.id).collect::<Vec<_>>(),
            [10, 11, 15]
        );
        assert_eq!(found[2].sent_at, Timestamp(1_002));
        assert_eq!(&extent.content(&found[1])[..], b"header+two");
        assert_eq!(&extent.content(&found[2])[..], b"three");
    }

    #[test]
    fn every_changed_or_missing_byte_is_noticed() {
        let sample = sample();
        for place in 0..sample.len() {
            let mut flipped = sample.clone();
            flipped[place] ^= 0x40;
            assert!(
                Extent::decode(Bytes::from(flipped)).is_err(),
                "byte {place}"
            );
            assert!(Extent::decode(Bytes::copy_from_slice(&sample[..place])).is_err());
        }
    }
}
