//! What the tests of the log share: a log without threads, and calls that remember their end.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use sampan_protocol::SetId;
use sampan_storage::io::{Folder, SimulatedDisk};
use sampan_storage::log::{
    Done, Log, LogEntry, LogError, LogId, LogIdentity, LogOptions, Preparer, Recovery, Step,
    SteppedLog, Vote, Writer,
};

pub(crate) const IDENTITY: LogIdentity = LogIdentity {
    node: 1,
    cluster: 0x5A,
};
pub(crate) const A: SetId = SetId(0);
pub(crate) const B: SetId = SetId(7);

/// Small files, and so small a cache that most reads come from them.
pub(crate) fn small() -> LogOptions {
    LogOptions {
        file_len: 64 * 1024,
        cache_len_max: 2048,
        boot_id: || 0xB007,
        ..LogOptions::default()
    }
}

/// A log whose two machines run when the test says so.
pub(crate) struct Stepped {
    pub(crate) log: Log<Bytes>,
    pub(crate) recovery: Recovery,
    pub(crate) writer: Writer<Bytes>,
    pub(crate) preparer: Preparer<Bytes>,
}

impl Stepped {
    pub(crate) fn open(folder: Arc<dyn Folder>) -> Result<Stepped, LogError> {
        Stepped::open_with(folder, small())
    }

    pub(crate) fn open_with(
        folder: Arc<dyn Folder>,
        options: LogOptions,
    ) -> Result<Stepped, LogError> {
        let SteppedLog {
            log,
            recovery,
            writer,
            preparer,
        } = Log::open_stepped(folder, IDENTITY, options)?;
        Ok(Stepped {
            log,
            recovery,
            writer,
            preparer,
        })
    }

    pub(crate) fn on(disk: &SimulatedDisk) -> Result<Stepped, LogError> {
        Stepped::open(disk.root())
    }

    /// Runs both machines until neither has anything to do.
    pub(crate) fn settle(&mut self) {
        loop {
            while self.preparer.step() {}
            match self.writer.step() {
                Step::Wrote => {}
                Step::Idle => return,
                Step::Waiting => {
                    if !self.preparer.step() {
                        return;
                    }
                }
            }
        }
    }

    pub(crate) fn append(&self, set: SetId, term: u64, first: u64, payloads: &[Bytes]) -> Outcome {
        let outcome = Outcome::default();
        let entries = entries(term, first, payloads);
        self.log.append(set, entries, outcome.done());
        outcome
    }

    pub(crate) fn append_lazily(
        &self,
        set: SetId,
        term: u64,
        first: u64,
        payloads: &[Bytes],
    ) -> Outcome {
        let outcome = Outcome::default();
        let entries = entries(term, first, payloads);
        self.log.append_lazily(set, entries, outcome.done());
        outcome
    }

    pub(crate) fn vote(&self, set: SetId, vote: Vote) -> Outcome {
        let outcome = Outcome::default();
        self.log.save_vote(set, vote, outcome.done());
        outcome
    }

    pub(crate) fn truncate(&self, set: SetId, index: Option<u64>) -> Outcome {
        let outcome = Outcome::default();
        self.log.truncate_after(set, index, outcome.done());
        outcome
    }

    pub(crate) fn purge(&self, set: SetId, upto: LogId) -> Outcome {
        let outcome = Outcome::default();
        self.log.purge(set, upto, outcome.done());
        outcome
    }

    pub(crate) fn reset(&self, set: SetId, at: Option<LogId>) -> Outcome {
        let outcome = Outcome::default();
        self.log.reset(set, at, outcome.done());
        outcome
    }

    /// Everything that the log has of `set`.
    pub(crate) fn entries(&self, set: SetId) -> Vec<LogEntry<Bytes>> {
        let state = self.log.state(set);
        let mut from = state.purged.map_or(0, |purged| purged.index + 1);
        if state.purged.is_none() {
            // A set's first entry may have any index; the tests start at 0 or 1.
            from = u64::from(self.log.log_id(set, 0).is_none());
        }
        let mut entries: Vec<LogEntry<Bytes>> = Vec::new();
        loop {
            let part = self.log.read(set, from, u64::MAX, 1000).unwrap();
            let Some(last) = part.last() else {
                return entries;
            };
            from = last.id.index + 1;
            entries.extend(part);
        }
    }
}

fn entries(term: u64, first: u64, payloads: &[Bytes]) -> Vec<LogEntry<Bytes>> {
    let of = |(payload, index)| entry(term, index, payload);
    payloads.iter().zip(first..).map(of).collect()
}

pub(crate) fn entry(term: u64, index: u64, payload: &Bytes) -> LogEntry<Bytes> {
    LogEntry {
        id: id(term, index),
        payload: payload.clone(),
    }
}

pub(crate) fn id(term: u64, index: u64) -> LogId {
    LogId {
        term,
        node: term % 3 + 1,
        index,
    }
}

pub(crate) fn vote(term: u64) -> Vote {
    Vote {
        term,
        node: term % 3 + 1,
        committed: term.is_multiple_of(2),
    }
}

/// Bytes that differ by `seed`, `len` of them.
pub(crate) fn bytes(seed: u64, len: usize) -> Bytes {
    let mut state = seed;
    let bytes = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    bytes.take(len).collect()
}

/// How a call ended, if it did.
#[derive(Clone, Default)]
pub(crate) struct Outcome {
    state: Arc<AtomicU8>,
    error: Arc<Mutex<Option<LogError>>>,
}

impl Outcome {
    pub(crate) fn done(&self) -> Done {
        let outcome = self.clone();
        Box::new(move |result| {
            let state = if result.is_ok() { 1 } else { 2 };
            *outcome.error.lock().unwrap() = result.err();
            assert_eq!(
                outcome.state.swap(state, Ordering::SeqCst),
                0,
                "called once"
            );
        })
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state.load(Ordering::SeqCst) == 1
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.state.load(Ordering::SeqCst) != 0
    }

    pub(crate) fn error(&self) -> LogError {
        self.error.lock().unwrap().clone().expect("it failed")
    }
}

/// Everything in the folder, to see that nothing changed.
pub(crate) fn image(folder: &dyn Folder) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let file = folder.open(&name).unwrap();
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    folder.list().unwrap().into_iter().map(read).collect()
}

/// Puts `files` onto a fresh disk.
pub(crate) fn disk_of(files: &[(String, Vec<u8>)]) -> SimulatedDisk {
    let disk = SimulatedDisk::new();
    for (name, bytes) in files {
        let file = disk.root().create(name).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.sync_data().unwrap();
    }
    disk.root().sync().unwrap();
    disk
}
