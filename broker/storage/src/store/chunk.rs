//! A chunk: what a snapshot travels in, and what a backup consists of.
//!
//! Each chunk says which snapshot it belongs to, its number, and the checksum of all chunks before
//! it, and is covered by a checksum itself. So a chunk that was lost, doubled, reordered, changed
//! or taken from another snapshot is refused where it arrives; the totals in the last one find what
//! a sender forgot.
//!
//! Messages travel as extents of the segment files, with the dead ones left out and without the
//! number of a segment: where they lie is the receiver's own business, as are the numbers and the
//! headers of its files.
//!
//! Spec: spec/storage.md, "Snapshots".

use bytes::{Buf, BufMut, Bytes};
use sampan_core::RowKey;
use sampan_protocol::QueueId;

use super::options::{CHUNK_LEN_MAX, VALUE_LEN_MAX};
use super::segment_extent::{Extent, Outgoing, encode_extent};
use super::snapshot_id::SnapshotId;
use crate::log::LogId;

/// Length of the header of a chunk.
pub const CHUNK_HEADER_LEN: usize = 72;
const MAGIC: &[u8; 8] = b"SMPNCHK1";
const CRC_END: usize = 12;
const LAST: u32 = 1;
const ITEM_HEADER_LEN: usize = 8;
const ROW: u8 = 1;
const EXTENT: u8 = 2;
const TOTALS: u8 = 3;

/// How much a snapshot holds; in its last chunk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotTotals {
    /// State rows.
    pub row_count: u64,
    /// Extents.
    pub extent_count: u64,
    /// Messages.
    pub message_count: u64,
    /// Bytes of rows and extents.
    pub len: u64,
}

impl SnapshotTotals {
    const LEN: usize = 32;

    /// Counts a row.
    pub(super) fn add_row(&mut self, len: usize) {
        self.row_count += 1;
        self.len += len as u64;
    }

    /// Counts an extent.
    pub(super) fn add_extent(&mut self, message_count: usize, len: usize) {
        self.extent_count += 1;
        self.message_count += message_count as u64;
        self.len += len as u64;
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let Self {
            row_count,
            extent_count,
            message_count,
            len,
        } = *self;
        for number in [row_count, extent_count, message_count, len] {
            out.put_u64_le(number);
        }
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        (bytes.len() == Self::LEN).then(|| SnapshotTotals {
            row_count: bytes.get_u64_le(),
            extent_count: bytes.get_u64_le(),
            message_count: bytes.get_u64_le(),
            len: bytes.get_u64_le(),
        })
    }
}

/// The checksum of all chunks up to one whose own is `crc`.
pub(super) fn running(before: u32, crc: u32) -> u32 {
    crc32c::crc32c_append(before, &crc.to_le_bytes())
}

/// The content of a chunk while it is put together.
#[derive(Debug)]
pub(super) struct ChunkBuilder {
    bytes: Vec<u8>,
    item_count: u32,
}

impl ChunkBuilder {
    pub(super) fn new() -> Self {
        ChunkBuilder {
            bytes: vec![0; CHUNK_HEADER_LEN],
            item_count: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a state row; returns its length.
    pub(super) fn push_row(&mut self, key: &[u8; RowKey::LEN], content: &[u8]) -> usize {
        self.push(ROW, |out| {
            out.put_slice(key);
            out.put_slice(content);
        })
    }

    /// Adds the messages (not empty, ascending) of one queue; returns their length.
    pub(super) fn push_extent(&mut self, queue: QueueId, messages: &[Outgoing<'_>]) -> usize {
        self.push(EXTENT, |out| {
            encode_extent(queue, 0, messages, out);
        })
    }

    /// Adds the totals, which come last.
    pub(super) fn push_totals(&mut self, totals: &SnapshotTotals) {
        self.push(TOTALS, |out| totals.encode(out));
    }

    fn push(&mut self, kind: u8, put: impl FnOnce(&mut Vec<u8>)) -> usize {
        let start = self.bytes.len();
        self.bytes.put_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        put(&mut self.bytes);
        let len = self.bytes.len() - start - ITEM_HEADER_LEN;
        let field = u32::try_from(len).expect("rows and extents are below 2 MiB");
        self.bytes[start + 4..start + ITEM_HEADER_LEN].copy_from_slice(&field.to_le_bytes());
        self.item_count += 1;
        len
    }

    /// The chunk, and its checksum.
    pub(super) fn finish(mut self, place: &ChunkPlace, is_last: bool) -> (Bytes, u32) {
        let items_len = self.bytes.len() - CHUNK_HEADER_LEN;
        let items_len = u32::try_from(items_len).expect("a chunk is below 2 MiB");
        let mut out = &mut self.bytes[..CHUNK_HEADER_LEN];
        out.put_slice(MAGIC);
        out.put_u32_le(0);
        out.put_u32_le(place.set);
        out.put_u64_le(place.number);
        out.put_u64_le(place.applied.term);
        out.put_u64_le(place.applied.node);
        out.put_u64_le(place.applied.index);
        out.put_u32_le(place.id_checksum);
        out.put_u32_le(place.running);
        out.put_u32_le(if is_last { LAST } else { 0 });
        out.put_u32_le(self.item_count);
        out.put_u32_le(items_len);
        let crc = crc32c::crc32c(&self.bytes[CRC_END..]);
        self.bytes[8..CRC_END].copy_from_slice(&crc.to_le_bytes());
        (Bytes::from(self.bytes), crc)
    }
}

/// Where a chunk belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkPlace {
    pub(super) set: u32,
    pub(super) applied: LogId,
    pub(super) id_checksum: u32,
    pub(super) number: u64,
    /// The checksum of all chunks before it.
    pub(super) running: u32,
}

impl ChunkPlace {
    /// The first place of a snapshot.
    pub(super) fn first(id: &SnapshotId) -> Self {
        ChunkPlace {
            set: id.set.0,
            applied: id.applied,
            id_checksum: id.checksum(),
            number: 0,
            running: 0,
        }
    }

    /// The place behind a chunk with this checksum.
    pub(super) fn after(self, crc: u32) -> Self {
        ChunkPlace {
            number: self.number + 1,
            running: running(self.running, crc),
            ..self
        }
    }
}

/// A chunk that was checked.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) place: ChunkPlace,
    pub(super) crc: u32,
    pub(super) is_last: bool,
    item_count: u32,
    items: Bytes,
}

/// One thing in a chunk.
#[derive(Debug)]
pub(super) enum Item {
    Row(RowKey, Bytes),
    Extent(Extent),
    Totals(SnapshotTotals),
}

/// The length of the chunk that begins with `header`, if it may be one.
pub(super) fn chunk_len(header: &[u8; CHUNK_HEADER_LEN]) -> Option<usize> {
    let items_len = usize::try_from((&header[64..68]).get_u32_le()).ok()?;
    let len = CHUNK_HEADER_LEN.checked_add(items_len)?;
    (header.starts_with(MAGIC) && len <= CHUNK_LEN_MAX).then_some(len)
}

impl Chunk {
    /// Takes `bytes` over when they are exactly one intact chunk.
    pub(super) fn decode(bytes: &Bytes) -> Result<Self, &'static str> {
        let header = bytes.first_chunk::<CHUNK_HEADER_LEN>();
        let header = header.ok_or("shorter than its header")?;
        if chunk_len(header) != Some(bytes.len()) {
            return Err("no valid header");
        }
        let mut fields = &header[8..];
        let crc = fields.get_u32_le();
        if crc32c::crc32c(&bytes[CRC_END..]) != crc {
            return Err("wrong checksum");
        }
        let set = fields.get_u32_le();
        let number = fields.get_u64_le();
        let applied = LogId {
            term: fields.get_u64_le(),
            node: fields.get_u64_le(),
            index: fields.get_u64_le(),
        };
        let (id_checksum, running) = (fields.get_u32_le(), fields.get_u32_le());
        let (flags, item_count) = (fields.get_u32_le(), fields.get_u32_le());
        if flags > LAST {
            return Err("unknown flags");
        }
        Ok(Chunk {
            place: ChunkPlace {
                set,
                applied,
                id_checksum,
                number,
                running,
            },
            crc,
            is_last: flags == LAST,
            item_count,
            items: bytes.slice(CHUNK_HEADER_LEN..),
        })
    }

    /// What is in it, checked one by one.
    pub(super) fn items(&self) -> Result<Vec<Item>, &'static str> {
        let mut rest = self.items.clone();
        let mut items = Vec::new();
        while !rest.is_empty() {
            if rest.len() < ITEM_HEADER_LEN {
                return Err("an item is cut short");
            }
            let mut header = rest.split_to(ITEM_HEADER_LEN);
            let kind = header.get_u8();
            header.advance(3);
            let len = usize::try_from(header.get_u32_le()).unwrap_or(usize::MAX);
            if len > rest.len() {
                return Err("an item is cut short");
            }
            items.push(item(kind, rest.split_to(len))?);
        }
        let has_totals = matches!(items.last(), Some(Item::Totals(_)));
        let totals_count = items
            .iter()
            .filter(|item| matches!(item, Item::Totals(_)))
            .count();
        if items.len() != self.item_count as usize {
            return Err("it has not as many items as it says");
        }
        if has_totals != self.is_last || totals_count != usize::from(self.is_last) {
            return Err("totals are at the end, and only there");
        }
        Ok(items)
    }
}

fn item(kind: u8, bytes: Bytes) -> Result<Item, &'static str> {
    match kind {
        ROW => {
            let key = bytes.first_chunk::<{ RowKey::LEN }>();
            let key = *key.ok_or("a row without a key")?;
            if bytes.len() > RowKey::LEN + VALUE_LEN_MAX - 4 {
                return Err("a row over the limit");
            }
            Ok(Item::Row(RowKey::decode(key), bytes.slice(RowKey::LEN..)))
        }
        EXTENT => Extent::decode(bytes).map(Item::Extent),
        TOTALS => SnapshotTotals::decode(&bytes)
            .map(Item::Totals)
            .ok_or("totals of a wrong length"),
        _ => Err("an item of an unknown kind"),
    }
}
