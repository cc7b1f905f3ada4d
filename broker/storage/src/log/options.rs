//! What can be chosen about a log.

use super::limits::{
    CACHE_LEN_MAX_DEFAULT, FILE_LEN_DEFAULT, FILE_LEN_MAX, FILE_LEN_MIN, PAGE_LEN,
    PENDING_LEN_MAX_DEFAULT,
};
use crate::io::machine_boot_id;

/// Options of a log. Files made under other options are read all the same.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// Length of each file, brought into the limits and down to whole pages.
    pub file_len: u64,
    /// Bytes of the newest synced entries kept in memory.
    pub cache_len_max: usize,
    /// Bytes of entries that may wait to be written; more is refused.
    pub pending_len_max: usize,
    /// Bytes that stay free on the device when a file is made beyond the first one.
    pub free_len_min: u64,
    /// Tells the boot of the machine.
    pub boot_id: fn() -> u128,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            file_len: FILE_LEN_DEFAULT,
            cache_len_max: CACHE_LEN_MAX_DEFAULT,
            pending_len_max: PENDING_LEN_MAX_DEFAULT,
            free_len_min: 0,
            boot_id: machine_boot_id,
        }
    }
}

impl LogOptions {
    /// The options with every value inside its limits.
    pub(super) fn checked(mut self) -> Self {
        self.file_len = self.file_len.clamp(FILE_LEN_MIN, FILE_LEN_MAX);
        self.file_len -= self.file_len % PAGE_LEN as u64;
        self
    }
}
