//! Every limit of the log, by name. Lengths in bytes.

/// What one batch starts on: a page that was never written since its last sync.
pub const PAGE_LEN: usize = 4096;
/// Shortest file: header, state, and room for a batch.
pub const FILE_LEN_MIN: u64 = 16 * PAGE_LEN as u64;
/// Longest file. Recovery holds one file in memory.
pub const FILE_LEN_MAX: u64 = 1 << 30;
/// Length of a file unless the options say otherwise.
pub const FILE_LEN_DEFAULT: u64 = 64 * 1024 * 1024;
/// Longest batch, and so the most that one sync covers. Less in files shorter than this.
pub const BATCH_LEN_MAX: usize = 8 * 1024 * 1024;
/// Most records of one batch.
pub const BATCH_RECORD_COUNT_MAX: usize = 64 * 1024;
/// Longest payload of one entry: a frame's 4 MiB and slack.
pub const ENTRY_LEN_MAX: usize = 5 * 1024 * 1024;
/// Most sets of one log. Their state opens every file.
pub const SET_COUNT_MAX: usize = 1024;
/// Files made ready ahead of the one that is written.
pub const READY_COUNT: usize = 2;
/// Purged files kept to become ready files; more are deleted. A checkpoint frees several at once,
/// and filling a file anew costs as much of the disk as using it.
pub const SPARE_COUNT_MAX: usize = 16;
/// Bytes of entries that may wait to be written, unless the options say otherwise.
pub const PENDING_LEN_MAX_DEFAULT: usize = 256 * 1024 * 1024;
/// Bytes of the newest entries kept in memory, unless the options say otherwise.
pub const CACHE_LEN_MAX_DEFAULT: usize = 128 * 1024 * 1024;
/// A batch that nobody waits to have synced is synced at the latest so many milliseconds after it
/// was written.
pub const LAZY_SYNC_MS: u64 = 100;
/// Calls that may wait to be written.
pub const PENDING_COUNT_MAX: usize = 1 << 20;
