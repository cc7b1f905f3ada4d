//! Large reads and writes past the page cache.
//!
//! What a log or a checkpoint writes is not read again soon, so the kernel's copy of it is of no
//! use, and making one costs more than everything else: a page of the cache must be found, charged
//! and later given back for every four kibibytes. Measured with pieces of 1 MiB into a new file:
//! 2.0 us of CPU per KiB through the page cache, 0.07 us past it; over a file that is written again
//! and again, 0.19 us and 0.11 us.
//!
//! Of writes, only whole pages go this way, from memory on a page boundary; what is left at both
//! ends takes the usual way. The two never touch the same page, so they need no order between them.
//! A file system without direct writes (`tmpfs`) gets everything the usual way.
//!
//! What is read in such lengths (bodies of a backlog, a log behind a peer or a restart) was written
//! this way, is not in the cache, and is read once. Through the cache, 1 KiB of it took 2.8 us of
//! CPU, past it 0.17 us: the cache's fresh pages are what costs.
//!
//! Invariant: after a write, readers of the file see it, whichever way either went; `fdatasync`
//! covers both ways, for it is the file's, not the handle's.

use std::cell::RefCell;
use std::fs;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// What direct reads and writes come in: offset, length and memory.
const PAGE_LEN: usize = 4096;
/// What is shorter is not worth the detour.
const DIRECT_LEN_MIN: usize = 32 * 1024;
/// Longest piece that is moved from or to a page boundary at one time.
const PIECE_LEN: usize = 1024 * 1024;

/// Room for a piece and the rest of the pages that it begins and ends in, from a page boundary on.
const PIECE_MEMORY_LEN: usize = PIECE_LEN + 3 * PAGE_LEN;

/// A handle past the page cache, where there is such a thing.
#[derive(Debug)]
pub(super) struct DirectFile {
    file: fs::File,
    is_refused: AtomicBool,
}

thread_local! {
    /// Memory that holds a piece on a page boundary. Few threads move much.
    static PIECE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl DirectFile {
    /// A second handle of the file at `path`; `None` where the file system has no direct writes.
    pub(super) fn open(path: &Path) -> Option<DirectFile> {
        let mut options = fs::OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .custom_flags(libc::O_DIRECT)
            .open(path)
            .ok()?;
        Some(DirectFile {
            file,
            is_refused: AtomicBool::new(false),
        })
    }

    /// Reads all of `buffer`; false when that is for the usual way: it is short, or the file ends
    /// before its end.
    pub(super) fn read_exact(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        if buffer.len() < DIRECT_LEN_MIN || self.is_refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let mut at = offset;
        for piece in buffer.chunks_mut(PIECE_LEN) {
            match self.read_piece(piece, at) {
                Ok(true) => at += piece.len() as u64,
                Ok(false) => return Ok(false),
                // The file system took the flag and not the read.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                    self.is_refused.store(true, Ordering::Relaxed);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Reads the pages that `piece` lies in, and copies it out of them.
    fn read_piece(&self, piece: &mut [u8], offset: u64) -> io::Result<bool> {
        let skipped = usize::try_from(offset % PAGE_LEN as u64).expect("less than a page");
        let end = skipped + piece.len();
        PIECE.with_borrow_mut(|memory| {
            memory.resize(PIECE_MEMORY_LEN, 0);
            let start = memory.as_ptr().align_offset(PAGE_LEN);
            let pages = &mut memory[start..start + end.next_multiple_of(PAGE_LEN)];
            // Only the end of the file makes it shorter, and from there no page begins.
            let read_len = self.file.read_at(pages, offset - skipped as u64)?;
            if read_len < end {
                return Ok(false);
            }
            piece.copy_from_slice(&pages[skipped..end]);
            Ok(true)
        })
    }

    /// Writes the whole pages in the middle of `bytes`. Returns the part of `bytes` that is
    /// written; the rest is the caller's.
    pub(super) fn write_pages(
        &self,
        bytes: &[u8],
        offset: u64,
    ) -> io::Result<std::ops::Range<usize>> {
        let skipped = offset.next_multiple_of(PAGE_LEN as u64) - offset;
        let start = usize::try_from(skipped).expect("less than a page");
        let len = bytes.len().saturating_sub(start) / PAGE_LEN * PAGE_LEN;
        if len < DIRECT_LEN_MIN || self.is_refused.load(Ordering::Relaxed) {
            return Ok(0..0);
        }
        let pages = start..start + len;
        match self.write_from_boundary(&bytes[pages.clone()], offset + skipped) {
            Ok(()) => Ok(pages),
            // The file system took the flag and not the write.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.is_refused.store(true, Ordering::Relaxed);
                Ok(0..0)
            }
            Err(error) => Err(error),
        }
    }

    fn write_from_boundary(&self, pages: &[u8], offset: u64) -> io::Result<()> {
        if pages.as_ptr().align_offset(PAGE_LEN) == 0 {
            return self.file.write_all_at(pages, offset);
        }
        PIECE.with_borrow_mut(|memory| {
            memory.resize(PIECE_MEMORY_LEN, 0);
            let start = memory.as_ptr().align_offset(PAGE_LEN);
            let mut at = offset;
            for piece in pages.chunks(PIECE_LEN) {
                let aligned = &mut memory[start..start + piece.len()];
                aligned.copy_from_slice(piece);
                self.file.write_all_at(aligned, at)?;
                at += piece.len() as u64;
            }
            Ok(())
        })
    }
}
