//! What a synced batch changes in the shared state.

use sampan_protocol::SetId;

use super::extents::Extent;
use super::operation::{Operation, Pending};
use super::state::LogState;
use super::{LogEntry, Payload};

impl<P: Payload> LogState<P> {
    /// Everything in `taken` is synced, its entries in `extents` in the same order.
    pub(super) fn on_flushed(&mut self, taken: &[Pending<P>], extents: &[(SetId, Extent)]) {
        let mut extents = extents.iter();
        for pending in taken {
            self.pending_len -= pending.len;
            match &pending.operation {
                Operation::Append(entries) => {
                    let count = pending.operation.record_count();
                    self.on_appended(pending.set, entries, extents.by_ref().take(count));
                }
                Operation::Vote(vote) => self.flushed_set(pending.set, |set| {
                    set.flushed.vote = Some(*vote);
                }),
                Operation::Truncate(last) => self.flushed_set(pending.set, |set| {
                    set.flushed.last = *last;
                    set.extents.truncate_after(last.map(|last| last.index));
                }),
                Operation::Purge(upto) => {
                    let mut dropped_len = 0;
                    self.flushed_set(pending.set, |set| {
                        set.flushed.on_purge(*upto);
                        set.extents.purge(upto.index);
                        dropped_len = set.cache.purge(upto.index, pending.arrival);
                    });
                    self.cached_len -= dropped_len;
                }
                Operation::Reset(at) => self.flushed_set(pending.set, |set| {
                    set.flushed.on_reset(*at);
                    set.extents.truncate_after(None);
                }),
            }
        }
        // A purge that was written ahead of others leaves these where they are.
        self.flushed_arrival = match self.pending.front() {
            Some(next) => self.flushed_arrival.max(next.arrival - 1),
            None => self.accepted_arrival,
        };
        self.retire_files();
        self.trim_cache();
    }

    /// Gives up the oldest files that no set needs.
    pub(super) fn retire_files(&mut self) {
        let oldest_needed = self
            .sets
            .values()
            .filter_map(|set| set.extents.oldest_generation())
            .min();
        self.files.retire_before(oldest_needed.unwrap_or(u64::MAX));
    }

    fn on_appended<'a>(
        &mut self,
        set: SetId,
        entries: &[LogEntry<P>],
        extents: impl Iterator<Item = &'a (SetId, Extent)>,
    ) {
        let Some(last) = entries.last() else { return };
        self.appended_len += extents_len(entries);
        self.flushed_set(set, |set_log| {
            set_log.flushed.last = Some(last.id);
            for (of, extent) in extents {
                assert!(*of == set, "extents come in the order of what was taken");
                set_log.extents.push(*extent);
            }
        });
    }

    fn flushed_set(&mut self, set: SetId, change: impl FnOnce(&mut super::set_log::SetLog<P>)) {
        change(
            self.sets
                .get_mut(&set)
                .expect("a set is made when its first call is accepted"),
        );
    }
}

fn extents_len<P: Payload>(entries: &[LogEntry<P>]) -> u64 {
    entries
        .iter()
        .map(|entry| entry.payload.encoded_len() as u64)
        .sum()
}
