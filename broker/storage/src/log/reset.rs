//! Giving up all entries of a set, so that it begins again wherever its store does.
//!
//! A store that was lost is filled anew from a peer, and begins before what its log has purged. A
//! purge only goes forward, and a cut may not reach behind a purge, so neither can say that. The
//! vote stays: it was given, whatever became of the entries.
//!
//! What was accepted before a reset may be written after it was accepted, and concerns entries that
//! are gone by then. So a purge drops from memory only what was there before the purge, and none is
//! written ahead of a reset.
//!
//! Invariant: after a reset, nothing that came before it is read, nor holds a file back once the
//! reset is synced. Spec: spec/storage.md, "The log".

use sampan_protocol::SetId;

use super::operation::Operation;
use super::record::RECORD_LEN;
use super::set_log::SetLogState;
use super::state::LogState;
use super::{Done, LogError, LogId, Payload};

impl SetLogState {
    /// Begins again behind `at`; `None`: as if nothing was ever written.
    pub(super) fn on_reset(&mut self, at: Option<LogId>) {
        (self.purged, self.last) = (at, at);
    }
}

impl<P: Payload> LogState<P> {
    /// Gives up all entries; the next one follows `at`, which may be anywhere.
    pub(super) fn accept_reset(
        &mut self,
        set: SetId,
        at: Option<LogId>,
        done: Done,
    ) -> Result<(), (Done, LogError)> {
        if let Err(error) = self.check_call(set, RECORD_LEN) {
            return Err((done, error));
        }
        let set_log = self.set(set);
        set_log.accepted.on_reset(at);
        set_log.terms.truncate_after(None);
        let dropped_len = set_log.cache.truncate_after(None);
        self.cached_len -= dropped_len;
        self.push(set, Operation::Reset(at), RECORD_LEN, Some(done));
        Ok(())
    }
}
