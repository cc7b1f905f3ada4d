//! Figures about a log, with the time that its syncs take.
//!
//! Every acknowledged message waits for a sync, so their times are kept as a histogram with fixed
//! bounds: cheap to count, and sums of it over nodes and hours mean something. The mean alone would
//! hide the one sync in a thousand that everybody notices.

use std::time::Duration;

use super::Payload;
use super::state::LogState;

/// Upper bounds of the classes of [`SyncTimes`], in microseconds; one class more is above all.
pub const SYNC_BOUNDS_MICROS: [u64; 12] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000,
];

/// How long the syncs of a log took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncTimes {
    /// Syncs by class: up to the bound of the same place in [`SYNC_BOUNDS_MICROS`] and above the
    /// one before; the last class has no bound.
    pub counts: [u64; SYNC_BOUNDS_MICROS.len() + 1],
    /// All of them together, in microseconds.
    pub total_micros: u64,
}

impl SyncTimes {
    /// Counts one sync.
    pub(super) fn add(&mut self, took: Duration) {
        let micros = micros(took);
        let class = SYNC_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        self.counts[class] += 1;
        self.total_micros = self.total_micros.saturating_add(micros);
    }

    /// How many syncs were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// How long one batch took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Took {
    pub(super) write: Duration,
    /// None for a batch that is synced later.
    pub(super) sync: Option<Duration>,
}

/// A duration as whole microseconds.
fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Figures about a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Bytes of entries that were appended and written since it was opened.
    pub appended_len: u64,
    /// Syncs since it was opened.
    pub sync_count: u64,
    /// Time spent in writing batches, in microseconds.
    pub write_micros: u64,
    /// Time spent in syncing them.
    pub sync_times: SyncTimes,
    /// Files in use.
    pub file_count: usize,
    /// Bytes of the files in use.
    pub used_len: u64,
    /// Files that wait to be used.
    pub ready_count: usize,
    /// Bytes that wait to be written.
    pub pending_len: usize,
    /// Bytes of entries in memory.
    pub cached_len: usize,
}

impl<P: Payload> LogState<P> {
    /// A batch was written, and synced or not.
    pub(super) fn count(&mut self, took: Took) {
        self.write_micros = self.write_micros.saturating_add(micros(took.write));
        if let Some(sync) = took.sync {
            self.count_sync(sync);
        }
    }

    /// The log was synced.
    pub(super) fn count_sync(&mut self, took: Duration) {
        self.sync_count += 1;
        self.sync_times.add(took);
    }

    /// The figures as of now.
    pub(super) fn stats(&self) -> LogStats {
        LogStats {
            appended_len: self.appended_len,
            sync_count: self.sync_count,
            write_micros: self.write_micros,
            sync_times: self.sync_times,
            file_count: self.files.used.len(),
            used_len: self.files.used_len(),
            ready_count: self.files.ready.len(),
            pending_len: self.pending_len,
            cached_len: self.cached_len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_is_counted_in_the_first_class_whose_bound_it_does_not_exceed() {
        let mut times = SyncTimes::default();
        for micros in [0, 100, 101, 10_000_000, 10_000_001] {
            times.add(Duration::from_micros(micros));
        }
        assert_eq!(times.counts, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((times.count(), times.total_micros), (5, 20_000_202));
    }
}
