//! Batches that are written now and synced a little later.
//!
//! Whoever appends lazily is told once the kernel has it. The sync follows with the next batch that
//! somebody waits for, or after [`LAZY_SYNC_MS`] by itself. A sync covers one file, so the writer
//! syncs what it leaves behind before it goes on in the next.
//!
//! Invariants: all that is not synced lies at the end of the file that is written. The first batch
//! of a file is never lazy, for files before it may be given up; nor is the one behind a closing
//! batch, for a log that ends in that one counts as clean, and then nothing may be missing.
//! Spec: spec/storage.md, "Writing".

use std::io;
use std::time::{Duration, Instant};

use super::Payload;
use super::files::LogFile;
use super::limits::LAZY_SYNC_MS;
use super::writer::Writer;

/// The batches that were written and not synced.
#[derive(Debug)]
pub(super) struct Unsynced {
    file: LogFile,
    /// When the first one was written.
    since: Instant,
    /// How many there are.
    pub(super) count: u32,
}

impl Unsynced {
    /// One more was written to `file`.
    pub(super) fn add(unsynced: &mut Option<Self>, file: &LogFile, written: Instant) {
        let unsynced = unsynced.get_or_insert_with(|| Unsynced {
            file: file.clone(),
            since: written,
            count: 0,
        });
        unsynced.count += 1;
    }
}

impl<P: Payload> Writer<P> {
    /// Syncs what was written and is not synced.
    pub fn step_sync(&mut self) {
        let Some(unsynced) = self.unsynced.take() else {
            return;
        };
        // After a failure elsewhere nothing is promised any more.
        if self.shared.state().latched.is_some() {
            return;
        }
        let started = Instant::now();
        match unsynced.file.file.sync_data() {
            Ok(()) => {
                let mut state = self.shared.state();
                state.count_sync(started.elapsed());
                state.unsynced.clear();
            }
            Err(cause) => self.shared.latch(cause),
        }
    }

    /// The same, when it is time.
    pub(super) fn sync_if_due(&mut self) {
        if self.time_to_sync() == Some(Duration::ZERO) {
            self.step_sync();
        }
    }

    /// How long the sync may wait; `None` when there is nothing to sync.
    pub(super) fn time_to_sync(&self) -> Option<Duration> {
        let unsynced = self.unsynced.as_ref()?;
        let latest = Duration::from_millis(LAZY_SYNC_MS);
        Some(latest.saturating_sub(unsynced.since.elapsed()))
    }

    /// Whether the batch that was planned may be synced later.
    pub(super) fn may_be_lazy(&self) -> bool {
        !self.wants_state && !self.is_closed && self.taken.iter().all(|pending| pending.lazy)
    }

    /// Syncs what the next batch, in the file of `generation`, says to be synced, or leaves behind.
    pub(super) fn sync_before(&mut self, generation: u64, closing: bool) -> io::Result<()> {
        let left_behind = |unsynced: &Unsynced| closing || unsynced.file.generation != generation;
        match &self.unsynced {
            Some(unsynced) if left_behind(unsynced) => unsynced.file.file.sync_data()?,
            _ => return Ok(()),
        }
        self.unsynced = None;
        Ok(())
    }
}
