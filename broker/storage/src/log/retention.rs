//! How much of the log is kept though every checkpoint has passed it.
//!
//! A replica that paused for some seconds catches up from the entries that are still here; a
//! snapshot would cost it, and the leader, a copy of everything. Whole files are the unit: a file
//! is given up as a whole, so keeping half of one keeps all of it.
//!
//! Spec: spec/storage.md, "Kept log".

use sampan_protocol::SetId;

use super::Payload;
use super::state::LogState;

impl<P: Payload> LogState<P> {
    /// Up to which index `set` may be purged so that the newest `kept_len` bytes stay.
    pub(super) fn purge_floor(&self, set: SetId, kept_len: u64) -> Option<u64> {
        let set_log = self.sets.get(&set)?;
        // What is cut off already is not purged besides, though the cut may still wait.
        let last = self.synced_index(set)?;
        if kept_len == 0 {
            return Some(last);
        }
        let oldest_kept = self.oldest_kept(kept_len)?;
        let before = set_log.extents.last_index_in(oldest_kept.checked_sub(1)?)?;
        Some(before.min(last))
    }

    /// Generation of the oldest file that stays; `None` without a file.
    fn oldest_kept(&self, kept_len: u64) -> Option<u64> {
        let mut newest_first = self.files.used.iter().rev();
        // Nobody knows here how much of the newest one is written.
        let mut oldest = newest_first.next()?.generation;
        let mut len = 0;
        for file in newest_first {
            if len >= kept_len {
                break;
            }
            len += file.len;
            oldest = file.generation;
        }
        Some(oldest)
    }
}
