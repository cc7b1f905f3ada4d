//! The files of a log: in use, made ready, and given up.
//!
//! Invariants: generations in use follow each other without gaps; the ready ones follow those. The
//! newest file in use is the one that is written. Files are given up from the oldest on, one after
//! the other, so that no crash leaves a gap.
//! Spec: spec/storage.md, "The log".

use std::collections::VecDeque;
use std::sync::Arc;

use crate::io::File;

/// One file of the log.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    pub(super) generation: u64,
    pub(super) file: Arc<dyn File>,
    pub(super) len: u64,
    /// What the CRC of its batches starts from.
    pub(super) seed: u32,
}

/// All files of a log.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) used: VecDeque<LogFile>,
    pub(super) ready: VecDeque<LogFile>,
    /// Purged, and still under their names.
    pub(super) retired: VecDeque<LogFile>,
}

impl Files {
    /// The file in use with this generation.
    pub(super) fn find(&self, generation: u64) -> Option<&LogFile> {
        let oldest = self.used.front()?.generation;
        let place = usize::try_from(generation.checked_sub(oldest)?).ok()?;
        self.used.get(place)
    }

    /// Gives up files that hold nothing of `oldest_needed` or later, but never the newest one.
    pub(super) fn retire_before(&mut self, oldest_needed: u64) {
        while self.used.len() > 1 && self.used[0].generation < oldest_needed {
            self.retired.extend(self.used.pop_front());
        }
    }

    /// Bytes of the files in use.
    pub(super) fn used_len(&self) -> u64 {
        self.used.iter().map(|file| file.len).sum()
    }
}
