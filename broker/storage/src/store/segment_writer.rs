//! Appends extents to the newest segment, and begins a new one when that is full.
//!
//! Extents are collected in one buffer and written in large pieces; nothing counts until
//! [`SegmentWriter::finish`] has synced every file it touched.
//!
//! Invariant: an extent lies in one file, inside the length that the accounts say.
//! Spec: spec/storage.md, "Segment files".

use std::collections::BTreeMap;
use std::sync::Arc;

use sampan_protocol::QueueId;

use super::checkpoint::Pause;
use super::error::StoreError;
use super::extent_entry::{ExtentEntry, Place};
use super::options::{EXTENT_LEN_MAX, WRITE_LEN};
use super::segment_account::SegmentAccounts;
use super::segment_extent::{Outgoing, encode_extent, extent_len};
use super::segment_header::{SEGMENT_HEADER_LEN, segment_name};
use super::segments::Segments;
use crate::io::File;

/// What long writes are best begun on.
const PAGE_LEN: u64 = 4096;

/// The writer of one checkpoint.
pub(super) struct SegmentWriter<'a> {
    segments: &'a Segments,
    segment_len_max: u64,
    /// The segment that is appended to, and how much of it was written.
    open: Option<(u32, u64)>,
    /// What follows the written part.
    buffer: Vec<u8>,
    /// Files with unsynced bytes.
    dirty: BTreeMap<u32, Arc<dyn File>>,
    has_created: bool,
    /// Called after each long write.
    pause: Option<&'a Pause>,
}

impl<'a> SegmentWriter<'a> {
    /// Goes on behind what `accounts` say.
    pub(super) fn new(
        segments: &'a Segments,
        segment_len_max: u64,
        accounts: &SegmentAccounts,
    ) -> Self {
        let newest = accounts
            .newest
            .and_then(|number| Some((number, accounts.account(number)?)));
        SegmentWriter {
            segments,
            segment_len_max,
            open: newest.map(|(number, account)| (number, account.len)),
            buffer: Vec::with_capacity(WRITE_LEN + EXTENT_LEN_MAX),
            dirty: BTreeMap::new(),
            has_created: false,
            pause: None,
        }
    }

    pub(super) fn with_pause(mut self, pause: &'a Pause) -> Self {
        self.pause = Some(pause);
        self
    }

    /// Appends an extent of `messages` (not empty, ascending); returns its index row.
    pub(super) fn append(
        &mut self,
        accounts: &mut SegmentAccounts,
        queue: QueueId,
        messages: &[Outgoing<'_>],
    ) -> Result<ExtentEntry, StoreError> {
        let content_len = messages.iter().map(|message| message.content.len()).sum();
        let (segment, offset) = self.place(accounts, extent_len(messages.len(), content_len))?;
        let len = encode_extent(queue, segment, messages, &mut self.buffer);
        accounts.set_len(segment, offset + u64::from(len));
        if self.buffer.len() >= WRITE_LEN {
            self.flush_pages()?;
            self.pause.iter().for_each(|pause| pause());
        }
        let ids: Vec<u64> = messages.iter().map(|message| message.id).collect();
        Ok(ExtentEntry::new(
            queue,
            &ids,
            Place {
                segment,
                offset,
                len,
            },
        ))
    }

    /// Where the next `len` bytes go.
    fn place(
        &mut self,
        accounts: &mut SegmentAccounts,
        len: usize,
    ) -> Result<(u32, u64), StoreError> {
        if let Some((number, written)) = self.open {
            let end = written + self.buffer.len() as u64;
            if end + len as u64 <= self.segment_len_max || end == SEGMENT_HEADER_LEN as u64 {
                return Ok((number, end));
            }
        }
        self.flush()?;
        let start = SEGMENT_HEADER_LEN as u64;
        let number = accounts.begin_segment(start);
        let file = self.segments.create(number)?;
        self.has_created = true;
        self.dirty.insert(number, file);
        self.open = Some((number, start));
        Ok((number, start))
    }

    /// Writes up to the last page boundary, so that what follows begins on one: such writes need
    /// no copy on their way past the page cache.
    fn flush_pages(&mut self) -> Result<(), StoreError> {
        let Some((_, written)) = self.open else {
            return Ok(());
        };
        let end = written + self.buffer.len() as u64;
        let rest = usize::try_from(end % PAGE_LEN).expect("less than a page");
        self.flush_part(self.buffer.len().saturating_sub(rest))
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.flush_part(self.buffer.len())
    }

    /// Writes the first `len` bytes of the buffer.
    fn flush_part(&mut self, len: usize) -> Result<(), StoreError> {
        let Some((number, written)) = &mut self.open else {
            return Ok(());
        };
        if len == 0 {
            return Ok(());
        }
        let failed = |source| StoreError::io("write", segment_name(*number), source);
        let file = match self.dirty.get(number) {
            Some(file) => file.clone(),
            None => self.segments.file(*number).map_err(failed)?,
        };
        file.write_all_at(&self.buffer[..len], *written)
            .map_err(failed)?;
        self.dirty.insert(*number, file);
        *written += len as u64;
        self.buffer.drain(..len);
        Ok(())
    }

    /// Writes what is left and syncs every file that was written, and the folder.
    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        self.flush()?;
        for (number, file) in &self.dirty {
            let synced = file.sync_data();
            // No room at this point is not a refusal: what was written before may be lost.
            synced.map_err(|source| StoreError::Io {
                doing: "sync",
                file: segment_name(*number),
                source,
            })?;
        }
        if self.has_created {
            self.segments.sync_folder()
        } else {
            Ok(())
        }
    }
}
