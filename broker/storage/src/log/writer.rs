//! The writer: takes all that waits, writes it as one batch, syncs once, tells everybody.
//!
//! [`Writer::step`] does one batch without waiting for anything but the disk, so a simulator can
//! run it; the thread around it ([`Writer::run`]) only sleeps and wakes. There is no timer that
//! holds a batch back to make it larger: while one is synced, the next one gathers.
//!
//! A batch of nothing but lazy appends is told of once it is written, and synced a little later
//! (`lazy.rs`). A page is never written again: overwriting it could tear what was promised.
//!
//! Invariants: one batch is on its way at a time. After a failed write or sync the log is latched,
//! for nobody knows what the disk holds; neither is tried again. `tail` is past all batches of the
//! current file, and only in that one a batch is not synced.
//! Spec: spec/storage.md, "The log".

use std::io;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use sampan_protocol::SetId;

use super::batch::{BatchBuffer, Link};
use super::extents::Extent;
use super::files::LogFile;
use super::lazy::Unsynced;
use super::limits::PAGE_LEN;
use super::operation::{Operation, Pending, runs_of};
use super::record::{Record, RecordKind};
use super::set_log::SetLogState;
use super::shared::{Shared, fail};
use super::state::LogState;
use super::stats::Took;
use super::{LogEntry, LogError, Payload};

/// How long nothing may come before the end of the log is marked as synced.
const IDLE_BEFORE_CLOSING: Duration = Duration::from_millis(100);

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A batch was written, and synced unless it was lazy.
    Wrote,
    /// Nothing waits.
    Idle,
    /// Something waits for a file to be made ready.
    Waiting,
}

/// Why a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Its callers wait until it is synced.
    Ordinary,
    /// Its callers wait until it is written.
    Lazy,
    /// What it follows is synced.
    Closing,
}

/// Where the writer goes on.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    pub(super) file: LogFile,
    /// Offset of the next batch.
    pub(super) offset: usize,
    pub(super) link: Link,
    /// The machine's boot, and how often the log was opened.
    pub(super) opened: RecordKind,
}

/// Writes the batches of a log.
pub struct Writer<P> {
    pub(super) shared: Arc<Shared<P>>,
    tail: Tail,
    /// The next batch repeats the state of all sets.
    pub(super) wants_state: bool,
    /// The last batch is a closing one.
    pub(super) is_closed: bool,
    /// Batches that were written and not synced.
    pub(super) unsynced: Option<Unsynced>,
    /// Number of the last call that was there when it last looked.
    seen_arrival: u64,
    // The rest is used again for every batch.
    buffer: BatchBuffer,
    pub(super) taken: Vec<Pending<P>>,
    extents: Vec<(SetId, Extent)>,
    states: Vec<(SetId, SetLogState)>,
}

impl<P: Payload> Writer<P> {
    pub(super) fn new(shared: Arc<Shared<P>>, tail: Tail) -> Self {
        Writer {
            shared,
            tail,
            wants_state: true,
            is_closed: false,
            unsynced: None,
            seen_arrival: 0,
            buffer: BatchBuffer::default(),
            taken: Vec::new(),
            extents: Vec::new(),
            states: Vec::new(),
        }
    }

    /// Writes what waits, as far as one batch goes, and syncs it unless all of it is lazy.
    pub fn step(&mut self) -> Step {
        let planned = self.plan();
        if planned != Step::Wrote {
            return planned;
        }
        let kind = match self.may_be_lazy() {
            true => Kind::Lazy,
            false => Kind::Ordinary,
        };
        self.write_and_tell(kind);
        Step::Wrote
    }

    /// Syncs the log and marks its end as synced, unless it is or there is no room to say so.
    pub fn step_idle(&mut self) {
        self.step_sync();
        if self.is_closed || !self.plan_closing() {
            return;
        }
        self.write_and_tell(Kind::Closing);
    }

    /// Says that the log was opened, and overwrites the start of whatever was cut off.
    pub(super) fn open(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        if self.rest() < state.state_len().next_multiple_of(PAGE_LEN) && !self.roll(&mut state) {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.wants_state = true;
        self.copy_states(&state);
        drop(state);
        let took = self.write(Kind::Ordinary)?;
        let mut state = shared.state();
        state.count(took);
        state.retire_files();
        Ok(())
    }

    /// Runs until the log is closed.
    pub(super) fn run(mut self) {
        let _guard = LatchOnPanic(Arc::clone(&self.shared));
        loop {
            self.sync_if_due();
            let step = self.step();
            if step != Step::Wrote && !self.wait(step) {
                return;
            }
        }
    }

    /// Takes what fits; says whether there is a batch to write.
    fn plan(&mut self) -> Step {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        self.seen_arrival = state.accepted_arrival;
        if state.latched.is_some() || state.pending.is_empty() {
            return Step::Idle;
        }
        let room = self.room(&state);
        state.take(room, &mut self.taken);
        if self.taken.is_empty() {
            if self.roll(&mut state) {
                let room = self.room(&state);
                state.take(room, &mut self.taken);
                assert!(
                    !self.taken.is_empty(),
                    "an empty file has room for any call"
                );
            } else {
                state.take_purges(self.rest(), &mut self.taken);
            }
        }
        if self.taken.is_empty() {
            return Step::Waiting;
        }
        self.copy_states(&state);
        Step::Wrote
    }

    fn plan_closing(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.state();
        if state.latched.is_some() {
            return false;
        }
        let opening_len = state.state_len().next_multiple_of(PAGE_LEN);
        let fits = self.room(&state) >= PAGE_LEN
            || self.roll(&mut state)
            || self.rest() >= PAGE_LEN + opening_len;
        if fits {
            self.copy_states(&state);
        }
        fits
    }

    /// Goes on in the next file, if one is ready.
    fn roll(&mut self, state: &mut LogState<P>) -> bool {
        let Some(next) = state.files.ready.pop_front() else {
            self.shared.prepare.notify_one();
            return false;
        };
        state.files.used.push_back(next.clone());
        self.shared.prepare.notify_one();
        (self.tail.file, self.tail.offset) = (next, PAGE_LEN);
        self.wants_state = true;
        true
    }

    fn copy_states(&mut self, state: &LogState<P>) {
        self.states.clear();
        if self.wants_state {
            let states = state
                .sets
                .iter()
                .map(|(set, set_log)| (*set, set_log.written));
            self.states
                .extend(states.filter(|(_, state)| *state != SetLogState::default()));
        }
    }

    /// Bytes left in the current file.
    fn rest(&self) -> usize {
        let len = usize::try_from(self.tail.file.len).unwrap_or(usize::MAX);
        len.saturating_sub(self.tail.offset)
    }

    /// Bytes left for ordinary calls.
    fn room(&self, state: &LogState<P>) -> usize {
        let state_len = if self.wants_state {
            state.state_len()
        } else {
            0
        };
        self.rest().saturating_sub(state.reserve_len() + state_len)
    }

    fn write_and_tell(&mut self, kind: Kind) {
        let result = self.write(kind);
        let mut taken = std::mem::take(&mut self.taken);
        let took = match result {
            Ok(took) => took,
            Err(cause) => return self.shared.latch_with(cause, taken),
        };
        let mut state = self.shared.state();
        state.count(took);
        state.on_written(&taken, &self.extents, kind == Kind::Lazy);
        let has_retired = !state.files.retired.is_empty();
        drop(state);
        if has_retired {
            self.shared.prepare.notify_one();
        }
        for done in taken.drain(..).filter_map(|pending| pending.done) {
            done(Ok(()));
        }
        // Its memory is used again.
        self.taken = taken;
    }

    /// Lays out and puts down one batch of `states` and `taken`.
    fn write(&mut self, kind: Kind) -> io::Result<Took> {
        let state_count = self.state_records().count();
        let record_count: usize = self
            .taken
            .iter()
            .map(|pending| pending.operation.record_count())
            .sum();
        self.buffer.start(state_count + record_count);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut extents = std::mem::take(&mut self.extents);
        extents.clear();
        for record in self.state_records() {
            buffer.push(record);
        }
        for pending in &self.taken {
            match &pending.operation {
                Operation::Append(entries) => {
                    for run in runs_of(entries) {
                        let extent = self.lay_out(&mut buffer, pending.set, run);
                        extents.push((pending.set, extent));
                    }
                }
                Operation::Vote(vote) => {
                    buffer.push(Record::new(pending.set, RecordKind::Vote(*vote)));
                }
                Operation::Truncate(last) => {
                    buffer.push(Record::new(pending.set, RecordKind::Truncate(*last)));
                }
                Operation::Purge(upto) => {
                    buffer.push(Record::new(pending.set, RecordKind::Purge(*upto)));
                }
                Operation::Reset(at) => {
                    buffer.push(Record::new(pending.set, RecordKind::Reset(*at)));
                }
            }
        }
        (self.buffer, self.extents) = (buffer, extents);
        self.put_down(state_count, kind)
    }

    /// Writes the batch, and syncs it with all before it unless it is lazy.
    fn put_down(&mut self, state_count: usize, kind: Kind) -> io::Result<Took> {
        let closing = kind == Kind::Closing;
        self.sync_before(self.tail.file.generation, closing)?;
        let unsynced = self.unsynced.as_ref().map_or(0, |unsynced| unsynced.count);
        let tail = &mut self.tail;
        let (generation, seed) = (tail.file.generation, tail.file.seed);
        let (crc, bytes) =
            self.buffer
                .seal(generation, seed, tail.link, unsynced, state_count, closing);
        assert!(
            tail.offset + bytes.len() <= tail.file.len as usize,
            "a batch fits its file"
        );
        let started = Instant::now();
        tail.file.file.write_all_at(bytes, tail.offset as u64)?;
        let written = Instant::now();
        let sync = match kind {
            Kind::Lazy => {
                Unsynced::add(&mut self.unsynced, &tail.file, written);
                None
            }
            Kind::Ordinary | Kind::Closing => {
                tail.file.file.sync_data()?;
                self.unsynced = None;
                Some(written.elapsed())
            }
        };
        tail.offset += bytes.len();
        tail.link = Link {
            sequence: tail.link.sequence + 1,
            previous_crc: crc,
        };
        self.wants_state = false;
        self.is_closed = closing;
        Ok(Took {
            write: written - started,
            sync,
        })
    }

    fn lay_out(&self, buffer: &mut BatchBuffer, set: SetId, run: &[LogEntry<P>]) -> Extent {
        let start = buffer.payload().len();
        for entry in run {
            let out = buffer.payload();
            let prefix_at = out.len();
            out.extend_from_slice(&[0; 4]);
            entry.payload.encode(out);
            let len = u32::try_from(out.len() - prefix_at - 4).expect("entries are below 4 GiB");
            out[prefix_at..prefix_at + 4].copy_from_slice(&len.to_le_bytes());
        }
        let count = u32::try_from(run.len()).expect("calls are cut into parts");
        let kind = RecordKind::Entries {
            first: run[0].id,
            count,
        };
        let record = buffer.finish_record(Record::new(set, kind), start);
        Extent {
            first: run[0].id.index,
            count,
            stored_count: count,
            generation: self.tail.file.generation,
            offset: u32::try_from(self.tail.offset + start).expect("files are below 4 GiB"),
            len: record.payload_len,
            crc: record.payload_crc,
        }
    }

    /// The records that repeat the state, if the next batch does.
    fn state_records(&self) -> impl Iterator<Item = Record> + '_ {
        let opened = self
            .wants_state
            .then(|| Record::new(SetId(0), self.tail.opened));
        let of_set = |(set, state): &(SetId, SetLogState)| {
            let vote = state.vote.map(RecordKind::Vote);
            let purged = state.purged.map(RecordKind::Purge);
            let kinds = [Some(RecordKind::Last(state.last)), vote, purged];
            let set = *set;
            kinds
                .into_iter()
                .flatten()
                .map(move |kind| Record::new(set, kind))
        };
        opened
            .into_iter()
            .chain(self.states.iter().flat_map(of_set))
    }

    /// Sleeps until there is something to do; `false` when the log is closed.
    fn wait(&mut self, step: Step) -> bool {
        let shared = Arc::clone(&self.shared);
        let state = shared.state();
        if state.closing {
            return self.on_closing(state, step);
        }
        if step == Step::Waiting && self.unsynced.is_some() {
            drop(state);
            self.step_sync();
            return true;
        }
        if step == Step::Waiting {
            if !state.files.ready.is_empty() || state.accepted_arrival != self.seen_arrival {
                return true;
            }
            drop(
                shared
                    .work
                    .wait(state)
                    .expect("whoever panics here stops the node"),
            );
            return true;
        }
        if !state.pending.is_empty() {
            return true;
        }
        if self.is_closed || state.latched.is_some() {
            drop(
                shared
                    .work
                    .wait(state)
                    .expect("whoever panics here stops the node"),
            );
            return true;
        }
        let pause = self.time_to_sync().unwrap_or(IDLE_BEFORE_CLOSING);
        let waited = shared.work.wait_timeout(state, pause);
        let (state, timeout) = waited.expect("whoever panics here stops the node");
        let is_idle = timeout.timed_out() && state.pending.is_empty() && !state.closing;
        drop(state);
        match is_idle && self.unsynced.is_none() {
            true => self.step_idle(),
            false => self.sync_if_due(),
        }
        true
    }

    /// Finishes what is left; `false` once all is done.
    fn on_closing(&mut self, mut state: MutexGuard<'_, LogState<P>>, step: Step) -> bool {
        if step == Step::Waiting {
            // No file will come any more.
            let waiting: Vec<_> = state.pending.drain(..).collect();
            state.pending_len = 0;
            drop(state);
            fail(waiting, &LogError::Full);
            return true;
        }
        if !state.pending.is_empty() {
            return true;
        }
        drop(state);
        self.step_idle();
        false
    }
}

/// Latches the log when its thread panics, so that nobody waits for it.
struct LatchOnPanic<P: Payload>(Arc<Shared<P>>);

impl<P: Payload> Drop for LatchOnPanic<P> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.latch(io::Error::other("the log's thread panicked"));
        }
    }
}
