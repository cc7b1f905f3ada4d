//! What a batch that was written changes in the shared state.

use sampan_protocol::SetId;

use super::extents::Extent;
use super::operation::{Operation, Pending};
use super::state::LogState;
use super::{LogEntry, Payload};

impl<P: Payload> LogState<P> {
    /// Everything in `taken` is written, its entries in `extents` in the same order; and synced,
    /// with all before it, unless the batch was lazy.
    pub(super) fn on_written(
        &mut self,
        taken: &[Pending<P>],
        extents: &[(SetId, Extent)],
        lazy: bool,
    ) {
        match lazy {
            true => self.note_unsynced(taken),
            false => self.unsynced.clear(),
        }
        let mut extents = extents.iter();
        for pending in taken {
            self.pending_len -= pending.len;
            match &pending.operation {
                Operation::Append(entries) => {
                    let count = pending.operation.record_count();
                    self.on_appended(pending.set, entries, extents.by_ref().take(count));
                }
                Operation::Vote(vote) => self.written_set(pending.set, |set| {
                    set.written.vote = Some(*vote);
                }),
                Operation::Truncate(last) => self.written_set(pending.set, |set| {
                    set.written.last = *last;
                    set.extents.truncate_after(last.map(|last| last.index));
                }),
                Operation::Purge(upto) => {
                    let mut dropped_len = 0;
                    self.written_set(pending.set, |set| {
                        set.written.on_purge(*upto);
                        set.extents.purge(upto.index);
                        dropped_len = set.cache.purge(upto.index, pending.arrival);
                    });
                    self.cached_len -= dropped_len;
                }
                Operation::Reset(at) => self.written_set(pending.set, |set| {
                    set.written.on_reset(*at);
                    set.extents.truncate_after(None);
                }),
            }
        }
        // A purge that was written ahead of others leaves these where they are.
        self.written_arrival = match self.pending.front() {
            Some(next) => self.written_arrival.max(next.arrival - 1),
            None => self.accepted_arrival,
        };
        self.retire_files();
        self.trim_cache();
    }

    fn note_unsynced(&mut self, taken: &[Pending<P>]) {
        for pending in taken {
            if let Operation::Append(entries) = &pending.operation
                && let Some(first) = entries.first()
            {
                self.unsynced.entry(pending.set).or_insert(first.id.index);
            }
        }
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
        self.written_set(set, |set_log| {
            set_log.written.last = Some(last.id);
            for (of, extent) in extents {
                assert!(*of == set, "extents come in the order of what was taken");
                set_log.extents.push(*extent);
            }
        });
    }

    fn written_set(&mut self, set: SetId, change: impl FnOnce(&mut super::set_log::SetLog<P>)) {
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
