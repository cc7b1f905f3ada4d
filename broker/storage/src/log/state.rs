//! What the callers, the writer and the preparer of a log share: a plain struct behind one lock.
//!
//! Nothing in here does I/O. A call is checked and accepted here, the writer takes what was
//! accepted, writes and syncs it without the lock, and reports back what is written and synced.
//!
//! Invariants: accepted ≥ submitted ≥ written ≥ synced, each in order of arrival; one exception: a
//! purge, which may be written ahead of others when the disk is full, for it is what makes room.
//! Once latched, nothing is accepted, taken or read.
//! Spec: spec/storage.md, "The log".

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;

use sampan_protocol::SetId;

use super::batch::table_end;
use super::files::Files;
use super::limits::{
    BATCH_LEN_MAX, BATCH_RECORD_COUNT_MAX, ENTRY_LEN_MAX, PAGE_LEN, PENDING_COUNT_MAX,
    SET_COUNT_MAX,
};
use super::operation::{Operation, Pending, entry_len};
use super::record::RECORD_LEN;
use super::set_log::SetLog;
use super::stats::SyncTimes;
use super::{Done, LogEntry, LogError, LogId, LogOptions, Payload, Vote};

/// Most state records of one set: last entry, vote, purged id.
const STATE_RECORD_COUNT: usize = 3;
/// Most entries that are written together or not at all, so that their records fit into a batch.
const PART_COUNT_MAX: usize = BATCH_RECORD_COUNT_MAX / 4;

/// The state of a log.
pub(super) struct LogState<P> {
    pub(super) options: LogOptions,
    pub(super) sets: BTreeMap<SetId, SetLog<P>>,
    pub(super) files: Files,
    pub(super) pending: VecDeque<Pending<P>>,
    pub(super) pending_len: usize,
    pub(super) cached_len: usize,
    /// Number of the last call that was accepted.
    pub(super) accepted_arrival: u64,
    /// Everything up to this number is written, and synced but for what `unsynced` says.
    pub(super) written_arrival: u64,
    /// The first entry of each set that is written and not synced.
    pub(super) unsynced: BTreeMap<SetId, u64>,
    pub(super) latched: Option<Arc<io::Error>>,
    pub(super) closing: bool,
    /// The last attempt to make a file found no room.
    pub(super) full: bool,
    pub(super) appended_len: u64,
    pub(super) sync_count: u64,
    pub(super) write_micros: u64,
    pub(super) sync_times: SyncTimes,
}

impl<P: Payload> LogState<P> {
    pub(super) fn new(options: LogOptions, sets: BTreeMap<SetId, SetLog<P>>, files: Files) -> Self {
        LogState {
            options,
            sets,
            files,
            pending: VecDeque::new(),
            pending_len: 0,
            cached_len: 0,
            accepted_arrival: 0,
            written_arrival: 0,
            unsynced: BTreeMap::new(),
            latched: None,
            closing: false,
            full: false,
            appended_len: 0,
            sync_count: 0,
            write_micros: 0,
            sync_times: SyncTimes::default(),
        }
    }

    /// Fails once the log is of no use any more.
    pub(super) fn check_open(&self) -> Result<(), LogError> {
        match &self.latched {
            Some(cause) => Err(LogError::Latched(Arc::clone(cause))),
            None if self.closing => Err(LogError::Closed),
            None => Ok(()),
        }
    }

    /// Takes in `entries`, or refuses all of them and gives `done` back. Lazy ones are done once
    /// they are written.
    pub(super) fn accept_append(
        &mut self,
        set: SetId,
        entries: Vec<LogEntry<P>>,
        lazy: bool,
        done: Done,
    ) -> Result<(), (Done, LogError)> {
        let lens: Vec<usize> = entries
            .iter()
            .map(|entry| entry.payload.encoded_len())
            .collect();
        if let Err(error) = self.check_append(set, &entries, &lens) {
            return Err((done, error));
        }
        let len_max = self.batch_len_max();
        let mut done = Some(done);
        let mut part = Vec::with_capacity(entries.len());
        let mut part_len = 0;
        let count = entries.len();
        for (place, (entry, payload_len)) in entries.into_iter().zip(lens).enumerate() {
            let len = entry_len(payload_len);
            if part.len() == PART_COUNT_MAX || (!part.is_empty() && part_len + len > len_max) {
                let part = std::mem::take(&mut part);
                let len = std::mem::take(&mut part_len);
                self.push(set, Operation::Append(part), len, None).lazy = lazy;
            }
            self.remember(set, &entry, payload_len);
            part.push(entry);
            part_len += len;
            if place + 1 == count {
                let part = std::mem::take(&mut part);
                let done = done.take();
                self.push(set, Operation::Append(part), part_len, done).lazy = lazy;
            }
        }
        if let Some(done) = done {
            // Nothing to append: it waits until what came before is synced.
            self.push(set, Operation::Append(Vec::new()), 0, Some(done));
        }
        Ok(())
    }

    /// Takes in a vote.
    pub(super) fn accept_vote(
        &mut self,
        set: SetId,
        vote: Vote,
        done: Done,
    ) -> Result<(), (Done, LogError)> {
        if let Err(error) = self.check_call(set, RECORD_LEN) {
            return Err((done, error));
        }
        self.set(set).accepted.vote = Some(vote);
        self.push(set, Operation::Vote(vote), RECORD_LEN, Some(done));
        Ok(())
    }

    /// Cuts off what is after `index`.
    pub(super) fn accept_truncate(
        &mut self,
        set: SetId,
        index: Option<u64>,
        done: Done,
    ) -> Result<(), (Done, LogError)> {
        let last = match self.check_truncate(set, index) {
            Ok(last) => last,
            Err(error) => return Err((done, error)),
        };
        let set_log = self.set(set);
        set_log.accepted.last = last;
        set_log.terms.truncate_after(index);
        let dropped_len = set_log.cache.truncate_after(index);
        self.cached_len -= dropped_len;
        self.push(set, Operation::Truncate(last), RECORD_LEN, Some(done));
        Ok(())
    }

    /// Gives up what is up to and with `upto`; beyond the last entry, the set continues there.
    pub(super) fn accept_purge(
        &mut self,
        set: SetId,
        upto: LogId,
        done: Done,
    ) -> Result<(), (Done, LogError)> {
        if let Err(error) = self.check_call(set, RECORD_LEN) {
            return Err((done, error));
        }
        let set_log = self.set(set);
        let is_beyond = set_log
            .accepted
            .last
            .is_none_or(|last| last.index < upto.index);
        set_log.accepted.on_purge(upto);
        set_log.terms.purge(upto.index);
        if is_beyond {
            // The next entry does not follow what is in memory.
            set_log.terms.truncate_after(None);
            let dropped_len = set_log.cache.truncate_after(None);
            self.cached_len -= dropped_len;
        }
        self.push(set, Operation::Purge(upto), RECORD_LEN, Some(done));
        Ok(())
    }

    /// Most bytes of one batch beside the state of the sets.
    pub(super) fn batch_len_max(&self) -> usize {
        let half = usize::try_from(self.options.file_len / 2).unwrap_or(usize::MAX);
        BATCH_LEN_MAX.min(half) - table_end(0)
    }

    /// Bytes of the longest possible state at the start of a batch.
    pub(super) fn state_len(&self) -> usize {
        table_end(1 + STATE_RECORD_COUNT * self.sets.len())
    }

    /// Bytes at the end of a file that only purges, closing and opening may use: without them a
    /// full disk could not be told that anything is purged.
    pub(super) fn reserve_len(&self) -> usize {
        self.state_len().next_multiple_of(PAGE_LEN) + 2 * PAGE_LEN
    }

    /// Moves what fits into `room` bytes from the waiting calls to `taken`, in order.
    pub(super) fn take(&mut self, room: usize, taken: &mut Vec<Pending<P>>) {
        // Even a call without content needs a batch to wait for.
        let Some(room) = room.checked_sub(table_end(0)) else {
            return;
        };
        let room = room.min(self.batch_len_max());
        let (mut len, mut record_count) = (0, 0);
        while let Some(next) = self.pending.front() {
            record_count += next.operation.record_count();
            len += next.len;
            if len > room || record_count > BATCH_RECORD_COUNT_MAX / 2 {
                return;
            }
            taken.extend(self.pending.pop_front());
        }
    }

    /// Moves waiting purges to `taken` if they are what it needs to give up the oldest file.
    pub(super) fn take_purges(&mut self, room: usize, taken: &mut Vec<Pending<P>>) {
        let mut cut = BTreeSet::new();
        let mut upto = BTreeMap::new();
        for pending in &self.pending {
            match pending.operation {
                Operation::Truncate(_) | Operation::Reset(_) => {
                    cut.insert(pending.set);
                }
                Operation::Purge(id) if self.may_hoist(pending.set, id) => {
                    upto.insert(pending.set, id.index);
                }
                _ => {}
            }
        }
        upto.retain(|set, _| !cut.contains(set));
        if table_end(upto.len()) > room || !self.would_free_a_file(&upto) {
            return;
        }
        for pending in std::mem::take(&mut self.pending) {
            match pending.operation {
                // The furthest purge of each set says it all, so one record of each is enough;
                // earlier ones stay and are found done.
                Operation::Purge(id) if upto.get(&pending.set) == Some(&id.index) => {
                    upto.remove(&pending.set);
                    taken.push(pending);
                }
                _ => self.pending.push_back(pending),
            }
        }
    }

    /// Shuts the log for good and returns everybody who waits.
    pub(super) fn latch(&mut self, cause: Arc<io::Error>) -> Vec<Pending<P>> {
        self.latched.get_or_insert(cause);
        self.pending_len = 0;
        self.pending.drain(..).collect()
    }

    /// Up to where the entries of `set` are synced, those that replaced others included.
    pub(super) fn synced_index(&self, set: SetId) -> Option<u64> {
        let set_log = self.sets.get(&set)?;
        let [written, accepted] = [set_log.written, set_log.accepted].map(|state| state.last);
        let last = written?.index.min(accepted?.index);
        // What follows a cut that waits has the indexes of what was written before the cut.
        let waiting = set_log.cache.first_after(self.written_arrival);
        let unsynced = self.unsynced.get(&set).copied();
        match waiting.into_iter().chain(unsynced).min() {
            Some(first) => Some(last.min(first.checked_sub(1)?)),
            None => Some(last),
        }
    }

    /// The oldest file's last needed entry: the first set that still needs one, and the index up
    /// to which it must be purged for the file to be given up.
    pub(super) fn oldest_holder(&self) -> Option<(SetId, u64)> {
        let oldest = self.files.used.front()?.generation;
        if self.files.used.len() < 2 {
            return None;
        }
        self.sets.iter().find_map(|(set, set_log)| {
            let index = set_log.extents.last_index_in(oldest)?;
            Some((*set, index))
        })
    }

    /// Drops the oldest written entries from memory until they are within their budget.
    pub(super) fn trim_cache(&mut self) {
        while self.cached_len > self.options.cache_len_max {
            let written = self.written_arrival;
            let oldest = self
                .sets
                .values_mut()
                .filter_map(|set| Some((set.cache.oldest_arrival()?, set)))
                .min_by_key(|(arrival, _)| *arrival)
                .filter(|(arrival, _)| *arrival <= written);
            let Some((_, set)) = oldest else { return };
            self.cached_len -= set.cache.pop_oldest();
        }
    }

    fn check_append(
        &self,
        set: SetId,
        entries: &[LogEntry<P>],
        lens: &[usize],
    ) -> Result<(), LogError> {
        self.check_call(set, lens.iter().map(|len| entry_len(*len)).sum())?;
        let mut next = self
            .sets
            .get(&set)
            .and_then(|set| set.accepted.next_index());
        for (entry, len) in entries.iter().zip(lens) {
            let found = entry.id.index;
            if let Some(needed) = next.filter(|needed| *needed != found) {
                return Err(LogError::OutOfOrder { set, needed, found });
            }
            next = Some(found.saturating_add(1));
            let len_max = ENTRY_LEN_MAX.min(self.batch_len_max() - entry_len(0));
            if *len > len_max {
                return Err(LogError::EntryTooLarge { len: *len, len_max });
            }
        }
        Ok(())
    }

    /// What every call is checked for.
    pub(super) fn check_call(&self, set: SetId, len: usize) -> Result<(), LogError> {
        self.check_open()?;
        let set_count_max =
            SET_COUNT_MAX.min(self.batch_len_max() / (4 * STATE_RECORD_COUNT * RECORD_LEN));
        if !self.sets.contains_key(&set) && self.sets.len() >= set_count_max {
            return Err(LogError::TooManySets {
                count: self.sets.len(),
            });
        }
        let is_over = self.pending_len.saturating_add(len) > self.options.pending_len_max;
        if (is_over && !self.pending.is_empty()) || self.pending.len() >= PENDING_COUNT_MAX {
            return Err(match self.full && self.files.ready.is_empty() {
                true => LogError::Full,
                false => LogError::Overloaded {
                    pending_len: self.pending_len,
                },
            });
        }
        Ok(())
    }

    /// The id of what is the last entry after cutting off.
    fn check_truncate(&self, set: SetId, index: Option<u64>) -> Result<Option<LogId>, LogError> {
        self.check_call(set, RECORD_LEN)?;
        let Some(set_log) = self.sets.get(&set) else {
            return match index {
                Some(index) => Err(LogError::NoEntry { set, index }),
                None => Ok(None),
            };
        };
        match (index, set_log.accepted.purged) {
            (None, None) => Ok(None),
            (Some(index), purged) if purged.is_none_or(|purged| purged.index <= index) => set_log
                .id_of(index)
                .map(Some)
                .ok_or(LogError::NoEntry { set, index }),
            (_, Some(purged)) => Err(LogError::Purged {
                set,
                index: index.unwrap_or(0),
                purged,
            }),
            (Some(_), None) => unreachable!("the arm before takes every index without a purge"),
        }
    }

    fn remember(&mut self, set: SetId, entry: &LogEntry<P>, payload_len: usize) {
        // The number of the part that this entry will be in.
        let arrival = self.accepted_arrival + 1;
        let set_log = self.set(set);
        set_log.accepted.last = Some(entry.id);
        set_log.terms.push(entry.id);
        set_log.cache.push(entry.clone(), arrival, payload_len);
        self.cached_len += payload_len;
    }

    pub(super) fn push(
        &mut self,
        set: SetId,
        operation: Operation<P>,
        len: usize,
        done: Option<Done>,
    ) -> &mut Pending<P> {
        self.accepted_arrival += 1;
        self.pending_len += len;
        let arrival = self.accepted_arrival;
        self.pending.push_back(Pending {
            set,
            operation,
            done,
            lazy: false,
            len,
            arrival,
        });
        self.pending.back_mut().expect("it was pushed just now")
    }

    pub(super) fn set(&mut self, set: SetId) -> &mut SetLog<P> {
        self.sets.entry(set).or_insert_with(|| {
            SetLog::new(Default::default(), Default::default(), Default::default())
        })
    }

    /// Whether a purge may overtake what waits: it concerns written entries only, and is synced
    /// with them.
    fn may_hoist(&self, set: SetId, upto: LogId) -> bool {
        self.sets.get(&set).is_some_and(|set| {
            set.written
                .last
                .is_some_and(|last| last.index >= upto.index)
        })
    }

    fn would_free_a_file(&self, upto: &BTreeMap<SetId, u64>) -> bool {
        if self.files.used.len() < 2 {
            return false;
        }
        let oldest = self.files.used[0].generation;
        self.sets.iter().all(
            |(set, set_log)| match set_log.extents.last_index_in(oldest) {
                Some(index) => upto.get(set).is_some_and(|upto| *upto >= index),
                None => true,
            },
        )
    }
}
