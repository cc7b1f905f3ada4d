//! Reads the chain of batches back, and tells a torn tail from damage.
//!
//! Each batch says up to which one all were synced when it was written. So where the chain breaks,
//! one look ahead decides: if a whole batch follows that says that the missing one was synced, the
//! break is damage; if none does, it is what a crash left of batches that were not synced, and
//! nobody was told that they are. Those that lie whole behind it go with it.
//!
//! This is arithmetic on bytes: files come in one after the other, nothing is changed.
//!
//! Invariants: batches are applied in one unbroken chain. Every index of a set that is neither
//! purged nor cut off was seen, in order.
//! Spec: spec/storage.md, "The log".

use std::collections::BTreeMap;

use sampan_protocol::SetId;

use super::batch::{Batch, BatchHeader, Link};
use super::extents::{Extent, Extents};
use super::limits::PAGE_LEN;
use super::record::{Record, RecordKind, entries_in};
use super::set_log::SetLogState;
use super::terms::Terms;
use super::{LogError, LogId};

/// A set as far as the walk came.
#[derive(Debug, Default)]
pub(super) struct WalkedSet {
    pub(super) state: SetLogState,
    pub(super) terms: Terms,
    pub(super) extents: Extents,
    /// Entries up to here were written in files that are gone; they must be purged.
    unseen_upto: Option<u64>,
}

/// One log file in memory.
pub(super) struct FileImage<'a> {
    pub(super) name: &'a str,
    pub(super) generation: u64,
    pub(super) seed: u32,
    pub(super) bytes: &'a [u8],
}

/// The walk over all files, oldest first.
#[derive(Debug, Default)]
pub(super) struct Walker {
    pub(super) sets: BTreeMap<SetId, WalkedSet>,
    /// The file that the writer goes on in, and where; `None` before the first batch.
    pub(super) tail: Option<(u64, usize)>,
    /// What the next batch must say.
    pub(super) link: Option<Link>,
    /// Boot of the machine and count of openings, as of the last opening.
    pub(super) opened: Option<(u128, u64)>,
    /// The last batch is a closing one.
    pub(super) closed: bool,
    /// The start of a batch was found that is not whole.
    pub(super) cut_off: bool,
    /// Files without a batch, and whether something of ours was begun at their start.
    pub(super) empty: Vec<(u64, bool)>,
    /// Generation and offset of pages behind the end that may begin a batch.
    pub(super) leftovers: Vec<(u64, u64)>,
    /// Name of the last file, and where its batches end.
    end: Option<(String, usize)>,
}

impl Walker {
    /// Walks one more file.
    pub(super) fn walk(&mut self, file: &FileImage<'_>) -> Result<(), LogError> {
        let mut at = PAGE_LEN;
        while let Some(batch) = self.next_batch(file, at) {
            self.apply(file, at, &batch)?;
            self.follow(&batch.header);
            at += batch.padded_len();
            self.tail = Some((file.generation, at));
        }
        let has_lost = self.look_ahead(file, at)?;
        let link = self.next_link();
        let begun = has_lost
            || BatchHeader::looks_begun(
                file.bytes.get(at..).unwrap_or_default(),
                file.generation,
                link,
            );
        self.cut_off |= begun;
        if at == PAGE_LEN {
            self.empty.push((file.generation, begun));
        } else {
            self.cut_off = begun;
            self.end = Some((file.name.to_owned(), at));
        }
        Ok(())
    }

    /// Checks what only shows at the end: that no entry is missing.
    pub(super) fn finish(&self, folder: &str) -> Result<(), LogError> {
        for (set, walked) in &self.sets {
            let Some(last) = walked.unseen_upto else {
                continue;
            };
            let purged = walked.state.purged_index();
            if purged.is_none_or(|purged| purged < last) {
                let first = purged.map_or(0, |purged| purged + 1);
                let folder = folder.to_owned();
                return Err(LogError::EntriesMissing {
                    folder,
                    set: *set,
                    first,
                    last,
                });
            }
        }
        Ok(())
    }

    /// The batch at `at`, if it continues the chain.
    fn next_batch<'a>(&self, file: &FileImage<'a>, at: usize) -> Option<Batch<'a>> {
        if at == PAGE_LEN && !self.empty.is_empty() {
            // A file before this one has nothing, so nothing can follow here.
            return None;
        }
        let batch = Batch::decode(file.bytes.get(at..)?, file.generation, file.seed)?;
        let is_next = self.link.is_none_or(|link| link == batch.header.link);
        let is_first = at == PAGE_LEN;
        (is_next && (!is_first || batch.header.state_count > 0)).then_some(batch)
    }

    /// How the next batch must follow.
    pub(super) fn next_link(&self) -> Link {
        self.link.unwrap_or(Link {
            sequence: 1,
            previous_crc: 0,
        })
    }

    fn follow(&mut self, header: &BatchHeader) {
        let sequence = header.link.sequence.saturating_add(1);
        self.link = Some(Link {
            sequence,
            previous_crc: header.crc,
        });
        self.closed = header.closing;
    }

    /// A batch after the break that says that the missing one was synced makes it damage. Returns
    /// whether other whole ones lie there, which a crash has cut off from the chain.
    fn look_ahead(&mut self, file: &FileImage<'_>, end: usize) -> Result<bool, LogError> {
        let missing = self.next_link().sequence;
        let mut has_lost = false;
        for at in (end..file.bytes.len()).step_by(PAGE_LEN) {
            let bytes = &file.bytes[at..];
            if !BatchHeader::may_be_of(bytes, file.generation) {
                continue;
            }
            self.leftovers.push((file.generation, at as u64));
            if let Some(batch) = Batch::decode(bytes, file.generation, file.seed) {
                if batch.header.synced_sequence() >= missing {
                    return Err(self.broken(file, end));
                }
                has_lost = true;
            }
        }
        Ok(has_lost)
    }

    fn broken(&self, file: &FileImage<'_>, end: usize) -> LogError {
        let what = "the chain of batches is broken, and a later batch says that it was synced";
        match &self.end {
            // The batch that is missing may be the last one of the file before.
            Some((name, at)) if end == PAGE_LEN => LogError::damaged(name, *at, what),
            _ => LogError::damaged(file.name, end, what),
        }
    }

    fn apply(
        &mut self,
        file: &FileImage<'_>,
        at: usize,
        batch: &Batch<'_>,
    ) -> Result<(), LogError> {
        let damaged = |what: String| LogError::damaged(file.name, at, what);
        let state_count = usize::from(batch.header.state_count);
        if state_count > 0 {
            let records = batch.records().take(state_count).map(|(record, _)| record);
            self.apply_state(records).map_err(damaged)?;
        }
        for (record, place) in batch.records().skip(state_count) {
            let offset = at + place.start;
            let payload = batch.payload(place);
            self.apply_record(file.generation, offset, &record, payload)
                .map_err(|what| damaged(format!("set {}: {what}", record.set)))?;
        }
        Ok(())
    }

    /// Takes over, or compares, the state that a batch repeats.
    fn apply_state(&mut self, records: impl Iterator<Item = Record>) -> Result<(), String> {
        let mut states: BTreeMap<SetId, SetLogState> = BTreeMap::new();
        for record in records {
            match (record.kind, states.get_mut(&record.set)) {
                (
                    Some(RecordKind::Opened {
                        boot_id,
                        open_count,
                    }),
                    _,
                ) => {
                    self.opened = Some((boot_id, open_count));
                }
                (Some(RecordKind::Last(last)), None) => {
                    states.insert(
                        record.set,
                        SetLogState {
                            last,
                            ..SetLogState::default()
                        },
                    );
                }
                (Some(RecordKind::Vote(vote)), Some(state)) => state.vote = Some(vote),
                (Some(RecordKind::Purge(purged)), Some(state)) => state.purged = Some(purged),
                _ => return Err("state that makes no sense".to_owned()),
            }
        }
        if self.link.is_none() {
            self.sets = states
                .into_iter()
                .map(|(set, state)| (set, from_state(state)))
                .collect();
            return Ok(());
        }
        let known = self.sets.iter().map(|(set, walked)| (*set, walked.state));
        let known = known.filter(|(_, state)| *state != SetLogState::default());
        if known.eq(states) {
            Ok(())
        } else {
            Err("its state differs from what the batches before it say".to_owned())
        }
    }

    fn apply_record(
        &mut self,
        generation: u64,
        offset: usize,
        record: &Record,
        payload: &[u8],
    ) -> Result<(), String> {
        let set = self.sets.entry(record.set).or_default();
        match record.kind {
            Some(RecordKind::Entries { first, count }) => {
                if entries_in(payload, count).is_none() || count == 0 {
                    return Err("entries do not fill their record".to_owned());
                }
                let offset = u32::try_from(offset).map_err(|_| "file too long".to_owned())?;
                set.append(first, count)?;
                set.extents.push(Extent {
                    first: first.index,
                    count,
                    stored_count: count,
                    generation,
                    offset,
                    len: record.payload_len,
                    crc: record.payload_crc,
                });
            }
            Some(RecordKind::Vote(vote)) => set.state.vote = Some(vote),
            Some(RecordKind::Truncate(last)) => set.truncate(last)?,
            Some(RecordKind::Purge(upto)) => set.purge(upto),
            Some(RecordKind::Reset(at)) => set.reset(at),
            Some(RecordKind::Last(_) | RecordKind::Opened { .. }) | None => {
                return Err("a record of an unknown kind".to_owned());
            }
        }
        Ok(())
    }
}

fn from_state(state: SetLogState) -> WalkedSet {
    let unseen_upto = state.last.map(|last| last.index);
    WalkedSet {
        state,
        unseen_upto,
        ..WalkedSet::default()
    }
}

impl WalkedSet {
    fn append(&mut self, first: LogId, count: u32) -> Result<(), String> {
        if let Some(next) = self.state.next_index().filter(|next| *next != first.index) {
            return Err(format!("entry {} where {next} is next", first.index));
        }
        let last = first
            .index
            .checked_add(u64::from(count))
            .ok_or("an index beyond all bounds")?;
        self.terms.push(first);
        self.state.last = Some(LogId {
            index: last - 1,
            ..first
        });
        Ok(())
    }

    fn truncate(&mut self, last: Option<LogId>) -> Result<(), String> {
        let index = last.map(|last| last.index);
        if index > self.state.last.map(|last| last.index) || index < self.state.purged_index() {
            return Err("cut off outside of its entries".to_owned());
        }
        self.state.last = last;
        self.terms.truncate_after(index);
        self.extents.truncate_after(index);
        self.unseen_upto = self.unseen_upto.min(index);
        Ok(())
    }

    fn purge(&mut self, upto: LogId) {
        let is_beyond = self.state.last.is_none_or(|last| last.index < upto.index);
        self.state.on_purge(upto);
        self.terms.purge(upto.index);
        if is_beyond {
            self.terms.truncate_after(None);
        }
        self.extents.purge(upto.index);
    }

    fn reset(&mut self, at: Option<LogId>) {
        self.state.on_reset(at);
        self.terms = Terms::default();
        self.extents = Extents::default();
        self.unseen_upto = None;
    }
}
