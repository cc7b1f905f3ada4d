//! Copies what still lives in a sparse segment to the newest one, so that the file can go.
//!
//! The file itself says which extents it holds; the index says which of them still count. That
//! costs one pass over a file of which nine tenths are dead. A table from segments to extents
//! would cost a row for every extent ever written.
//!
//! Spec: spec/storage.md, "Checkpoints".

use bytes::Bytes;

use super::error::StoreError;
use super::options::{EXTENT_LEN_MAX, REWRITE_COUNT_MAX, WRITE_LEN};
use super::segment_account::SegmentAccount;
use super::segment_extent::{EXTENT_HEADER_LEN, Extent, ExtentHeader};
use super::segment_header::{SEGMENT_HEADER_LEN, segment_name};
use super::segments::Segments;
use super::shared::Shared;
use super::survivors::ExtentSink;

/// Copies the living messages of the sparse segments out of them. A segment that cannot be read
/// stays as it is: rewriting saves room, and is no reason to stop the set. What lives in it is
/// replaced when somebody asks for it.
pub(super) fn rewrite_sparse(
    shared: &Shared,
    sink: &mut ExtentSink<'_, '_, '_>,
) -> Result<(), StoreError> {
    let unreadable = shared.unreadable();
    let sparse = sink.books.accounts.sparse(REWRITE_COUNT_MAX, &unreadable);
    drop(unreadable);
    for number in sparse {
        let Some(account) = sink.books.accounts.account(number) else {
            continue;
        };
        if let Err(error) = rewrite_segment(&shared.segments, number, account, sink)? {
            tracing::error!(%error, "a segment that cannot be read is not rewritten");
            shared.unreadable().insert(number);
        }
    }
    Ok(())
}

/// Copies the living messages of segment `number` out of it, up to where it cannot be read. What
/// stopped it there is in the inner result; the outer one has what the copying failed with.
fn rewrite_segment(
    segments: &Segments,
    number: u32,
    account: SegmentAccount,
    sink: &mut ExtentSink<'_, '_, '_>,
) -> Result<Result<(), StoreError>, StoreError> {
    let mut scan = match SegmentScan::open(segments, number, account.len) {
        Ok(scan) => scan,
        Err(error) => return Ok(Err(error)),
    };
    loop {
        let (offset, extent) = match scan.next_extent() {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        if !copy_living(number, offset, &extent, sink)? {
            let what = "an extent lacks messages that the index names";
            return Ok(Err(StoreError::damaged_at(
                segment_name(number),
                offset,
                what,
            )));
        }
    }
}

/// False when the extent is not what the index says; nothing was done then.
fn copy_living(
    number: u32,
    offset: u64,
    extent: &Extent,
    sink: &mut ExtentSink<'_, '_, '_>,
) -> Result<bool, StoreError> {
    let header = extent.header();
    let Some(entry) = sink.index.ending_with(header.queue, header.last)? else {
        return Ok(true);
    };
    if (entry.place.segment, entry.place.offset) != (number, offset) {
        return Ok(true);
    }
    let outgoing: Vec<_> = extent
        .messages()
        .filter(|message| entry.is_alive(message.id))
        .map(|message| extent.outgoing(&message))
        .collect();
    if outgoing.len() != usize::from(entry.alive_count) {
        return Ok(false);
    }
    sink.index.remove(sink.books, &entry.key())?;
    sink.put(header.queue, &outgoing)?;
    Ok(true)
}

/// Walks over the extents of a segment file.
struct SegmentScan {
    number: u32,
    file: std::sync::Arc<dyn crate::io::File>,
    /// Offset of what `buffer` begins with.
    offset: u64,
    len: u64,
    buffer: Bytes,
}

impl SegmentScan {
    /// Begins behind the header; `len` is the length that belongs to a checkpoint.
    fn open(segments: &Segments, number: u32, len: u64) -> Result<Self, StoreError> {
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
    fn next_extent(&mut self) -> Result<Option<(u64, Extent)>, StoreError> {
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
        done.map_err(|source| self.damaged(&format!("it cannot be read: {source}")))?;
        self.buffer = Bytes::from(bytes);
        Ok(())
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::damaged_at(segment_name(self.number), self.offset, what)
    }
}
