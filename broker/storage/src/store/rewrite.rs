//! Copies what still lives in a sparse segment to the newest one, so that the file can go.
//!
//! The file itself says which extents it holds; the index says which of them still count. That
//! costs one pass over a file of which nine tenths are dead. A table from segments to extents
//! would cost a row for every extent ever written.
//!
//! Spec: spec/storage.md, "Checkpoints".

use bytes::Bytes;

use super::error::StoreError;
use super::options::{EXTENT_LEN_MAX, WRITE_LEN};
use super::segment_account::SegmentAccount;
use super::segment_extent::{EXTENT_HEADER_LEN, Extent, ExtentHeader};
use super::segment_header::{SEGMENT_HEADER_LEN, segment_name};
use super::segments::Segments;
use super::survivors::ExtentSink;

/// Copies the living messages of segment `number` out of it.
pub(super) fn rewrite_segment(
    segments: &Segments,
    number: u32,
    account: SegmentAccount,
    sink: &mut ExtentSink<'_, '_, '_>,
) -> Result<(), StoreError> {
    let mut scan = SegmentScan::open(segments, number, account.len)?;
    loop {
        match scan.next_extent() {
            Ok(Some((offset, extent))) => copy_living(number, offset, &extent, sink)?,
            Ok(None) => return Ok(()),
            Err(error) if error.is_damage() => {
                // What lies behind it stays where it is. Messages that live in it are replaced
                // when somebody asks for them; that is no reason to stop the set.
                tracing::error!(%error, "a damaged segment is not rewritten");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}

fn copy_living(
    number: u32,
    offset: u64,
    extent: &Extent,
    sink: &mut ExtentSink<'_, '_, '_>,
) -> Result<(), StoreError> {
    let header = extent.header();
    let Some(entry) = sink.index.ending_with(header.queue, header.last)? else {
        return Ok(());
    };
    if (entry.place.segment, entry.place.offset) != (number, offset) {
        return Ok(());
    }
    let outgoing: Vec<_> = extent
        .messages()
        .filter(|message| entry.is_alive(message.id))
        .map(|message| extent.outgoing(&message))
        .collect();
    if outgoing.len() != usize::from(entry.alive_count) {
        let what = "an extent lacks messages that the index names";
        return Err(StoreError::damaged(segment_name(number), what));
    }
    sink.index.remove(sink.books, &entry.key())?;
    sink.put(header.queue, &outgoing)
}

/// Walks over the extents of a segment file.
pub(super) struct SegmentScan {
    number: u32,
    file: std::sync::Arc<dyn crate::io::File>,
    /// Offset of what `buffer` begins with.
    offset: u64,
    len: u64,
    buffer: Bytes,
}

impl SegmentScan {
    /// Begins behind the header; `len` is the length that belongs to a checkpoint.
    pub(super) fn open(segments: &Segments, number: u32, len: u64) -> Result<Self, StoreError> {
        let file = segments.file(number);
        let file = file.map_err(|source| StoreError::io("open", segment_name(number), source))?;
        let offset = SEGMENT_HEADER_LEN as u64;
        Ok(SegmentScan {
            number,
            file,
            offset,
            len,
            buffer: Bytes::new(),
        })
    }

    /// The next extent and its offset.
    pub(super) fn next_extent(&mut self) -> Result<Option<(u64, Extent)>, StoreError> {
        if self.offset >= self.len {
            return Ok(None);
        }
        self.fill(EXTENT_HEADER_LEN)?;
        let header = ExtentHeader::decode(&self.buffer);
        let header = header.ok_or_else(|| self.damaged("no valid extent header"))?;
        self.fill(header.len())?;
        let bytes = self.buffer.split_to(header.len());
        let extent = Extent::decode(bytes).map_err(|what| self.damaged(what))?;
        let offset = self.offset;
        self.offset += extent.len() as u64;
        Ok(Some((offset, extent)))
    }

    /// Makes sure that the buffer has `want` bytes (at most one extent).
    fn fill(&mut self, want: usize) -> Result<(), StoreError> {
        if self.buffer.len() >= want {
            return Ok(());
        }
        let left = self.len.saturating_sub(self.offset);
        let read = left.min(WRITE_LEN.max(EXTENT_LEN_MAX) as u64);
        if read < want as u64 {
            return Err(self.damaged("its last extent is cut short"));
        }
        let mut bytes = vec![0; usize::try_from(read).expect("at most some MiB")];
        let done = self.file.read_exact_at(&mut bytes, self.offset);
        done.map_err(|source| StoreError::io("read", segment_name(self.number), source))?;
        self.buffer = Bytes::from(bytes);
        Ok(())
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::damaged_at(segment_name(self.number), self.offset, what)
    }
}
