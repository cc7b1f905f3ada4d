//! The log as its users see it: cheap to clone, never blocking on the disk but in `read`.

use std::io;
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use sampan_protocol::SetId;

use super::limits::READY_COUNT;
use super::open::{Opened, open};
use super::shared::Shared;
use super::{
    Done, LogEntry, LogError, LogId, LogIdentity, LogOptions, LogStats, Payload, Preparer,
    Recovery, SetLogState, Vote, Writer, reader,
};
use crate::io::Folder;

/// The log of a node. Clones are the same log; when the last one goes, it is closed.
pub struct Log<P: Payload> {
    handle: Arc<Handle<P>>,
}

impl<P: Payload> Clone for Log<P> {
    fn clone(&self) -> Self {
        Log {
            handle: Arc::clone(&self.handle),
        }
    }
}

impl<P: Payload> std::fmt::Debug for Log<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// A log whose threads are left to the caller.
pub struct SteppedLog<P: Payload> {
    /// The log.
    pub log: Log<P>,
    /// What opening found.
    pub recovery: Recovery,
    /// Runs in place of the writing thread.
    pub writer: Writer<P>,
    /// Runs in place of the preparing thread.
    pub preparer: Preparer<P>,
}

impl<P: Payload> Log<P> {
    /// Opens the log in `folder`, and makes one when there is none. Starts its two threads.
    ///
    /// # Errors
    ///
    /// When the log is somebody else's, in use, newer than this release or damaged, nothing is
    /// changed. [`LogError::Full`] if there is no room for the next file.
    pub fn open(
        folder: Arc<dyn Folder>,
        identity: LogIdentity,
        options: LogOptions,
    ) -> Result<(Log<P>, Recovery), LogError> {
        Log::open_noting(folder, identity, options, |_| Ok(()))
    }

    /// The same; `before_repair` is told what was found before the first write. Opening makes a
    /// cut-off end look like any other, so this is the last moment to note it durably.
    ///
    /// # Errors
    ///
    /// See [`Log::open`]. When `before_repair` fails, nothing is changed either.
    pub fn open_noting(
        folder: Arc<dyn Folder>,
        identity: LogIdentity,
        options: LogOptions,
        before_repair: impl FnOnce(&Recovery) -> io::Result<()>,
    ) -> Result<(Log<P>, Recovery), LogError> {
        let Opened {
            shared,
            recovery,
            writer,
            preparer,
        } = open(folder, identity, options, before_repair)?;
        let log = Log::new(shared);
        let starting = |error| LogError::io("starting a thread of the log", error);
        let writer = Builder::new()
            .name("log writer".to_owned())
            .spawn(|| writer.run());
        log.handle.keep(writer.map_err(starting)?);
        let preparer = Builder::new()
            .name("log preparer".to_owned())
            .spawn(|| preparer.run());
        log.handle.keep(preparer.map_err(starting)?);
        Ok((log, recovery))
    }

    /// Opens the log without threads: the caller runs [`Writer::step`] and [`Preparer::step`]. For
    /// simulators; dropping the machines without [`Log::close`] is a crash.
    ///
    /// # Errors
    ///
    /// See [`Log::open`].
    pub fn open_stepped(
        folder: Arc<dyn Folder>,
        identity: LogIdentity,
        options: LogOptions,
    ) -> Result<SteppedLog<P>, LogError> {
        Log::open_stepped_noting(folder, identity, options, |_| Ok(()))
    }

    /// The same with the hook of [`Log::open_noting`].
    ///
    /// # Errors
    ///
    /// See [`Log::open_noting`].
    pub fn open_stepped_noting(
        folder: Arc<dyn Folder>,
        identity: LogIdentity,
        options: LogOptions,
        before_repair: impl FnOnce(&Recovery) -> io::Result<()>,
    ) -> Result<SteppedLog<P>, LogError> {
        let Opened {
            shared,
            recovery,
            writer,
            preparer,
        } = open(folder, identity, options, before_repair)?;
        Ok(SteppedLog {
            log: Log::new(shared),
            recovery,
            writer,
            preparer,
        })
    }

    fn new(shared: Arc<Shared<P>>) -> Self {
        Log {
            handle: Arc::new(Handle {
                shared,
                threads: Mutex::default(),
            }),
        }
    }

    /// Appends `entries` to `set`. Each must follow the one before; a set's first may have any
    /// index. They can be read at once; `done` runs when they are synced.
    pub fn append(&self, set: SetId, entries: Vec<LogEntry<P>>, done: Done) {
        self.accept(|shared| shared.state().accept_append(set, entries, false, done));
    }

    /// The same; `done` runs when they are written: a process that is killed loses nothing then, a
    /// power cut may take them back. They are synced soon after, and before anything else that
    /// came behind them is done.
    pub fn append_lazily(&self, set: SetId, entries: Vec<LogEntry<P>>, done: Done) {
        let lazy = !entries.is_empty();
        self.accept(|shared| shared.state().accept_append(set, entries, lazy, done));
    }

    /// `done` runs when everything that `set` was given before is synced.
    pub fn sync(&self, set: SetId, done: Done) {
        self.append(set, Vec::new(), done);
    }

    /// Saves the vote of `set`.
    pub fn save_vote(&self, set: SetId, vote: Vote, done: Done) {
        self.accept(|shared| shared.state().accept_vote(set, vote, done));
    }

    /// Cuts off the entries of `set` after `index`; `None`: all of them.
    pub fn truncate_after(&self, set: SetId, index: Option<u64>, done: Done) {
        self.accept(|shared| shared.state().accept_truncate(set, index, done));
    }

    /// Gives up the entries of `set` up to and with `upto`. If that is beyond the last entry, the
    /// next entry follows `upto`.
    pub fn purge(&self, set: SetId, upto: LogId, done: Done) {
        self.accept(|shared| shared.state().accept_purge(set, upto, done));
    }

    /// Gives up all entries of `set`, as if it was purged up to `at`, which may be before what it
    /// has purged; `None`: as if nothing was ever written. Its vote stays.
    pub fn reset(&self, set: SetId, at: Option<LogId>, done: Done) {
        self.accept(|shared| shared.state().accept_reset(set, at, done));
    }

    /// The entries of `set` from `from` until before `until`, as many as have `len_max` bytes, but
    /// at least one if there is one. What is not in memory is read from disk before this returns.
    ///
    /// # Errors
    ///
    /// [`LogError::NoEntry`] when `from` is purged; [`LogError::Damaged`].
    pub fn read(
        &self,
        set: SetId,
        from: u64,
        until: u64,
        len_max: usize,
    ) -> Result<Vec<LogEntry<P>>, LogError> {
        reader::read(&self.handle.shared, set, from, until, len_max)
    }

    /// What [`Log::read`] would give, when that needs no file. Never waits for the disk.
    pub fn read_cached(
        &self,
        set: SetId,
        from: u64,
        until: u64,
        len_max: usize,
    ) -> Option<Vec<LogEntry<P>>> {
        reader::read_cached(&self.handle.shared, set, from, until, len_max)
    }

    /// The vote and the log ids of `set`, with everything that was accepted.
    pub fn state(&self, set: SetId) -> SetLogState {
        self.handle
            .shared
            .state()
            .sets
            .get(&set)
            .map(|set| set.accepted)
            .unwrap_or_default()
    }

    /// The sets that the log knows.
    pub fn sets(&self) -> Vec<SetId> {
        self.handle.shared.state().sets.keys().copied().collect()
    }

    /// The id of the entry of `set` at `index`, without reading it; also that of the purged one.
    pub fn log_id(&self, set: SetId, index: u64) -> Option<LogId> {
        self.handle.shared.state().sets.get(&set)?.id_of(index)
    }

    /// Up to where the entries of `set` are synced.
    pub fn synced(&self, set: SetId) -> Option<u64> {
        self.handle.shared.state().synced_index(set)
    }

    /// The set that needs the oldest file, and up to where it must be purged to give it up. `None`
    /// while there is only one file.
    pub fn oldest_holder(&self) -> Option<(SetId, u64)> {
        self.handle.shared.state().oldest_holder()
    }

    /// Up to which index `set` may be purged so that all of it that lies in the newest `kept_len`
    /// bytes of log files stays: what a replica that paused is served from. `None` when nothing of
    /// it may be purged.
    ///
    /// Whole files count, and the one that is written counts for nothing, so up to two files more
    /// are kept. With 0, everything that is synced may go. Takes time by the file, reads nothing.
    pub fn purge_floor(&self, set: SetId, kept_len: u64) -> Option<u64> {
        self.handle.shared.state().purge_floor(set, kept_len)
    }

    /// Fails with [`LogError::Full`] while the disk has no room for the usual number of files
    /// ahead.
    ///
    /// What makes the backlog longer should be refused then; what is left is for calls that make
    /// room. Appends past that point are not refused but wait for a file.
    ///
    /// # Errors
    ///
    /// Also what any call would be refused with.
    pub fn check_room(&self) -> Result<(), LogError> {
        let state = self.handle.shared.state();
        state.check_open()?;
        if state.full && state.files.ready.len() < READY_COUNT {
            return Err(LogError::Full);
        }
        Ok(())
    }

    /// Figures about the log.
    pub fn stats(&self) -> LogStats {
        self.handle.shared.state().stats()
    }

    /// Why the log is shut, once it is: the failed write or sync.
    pub fn latched(&self) -> Option<Arc<io::Error>> {
        self.handle.shared.state().latched.clone()
    }

    /// Writes what waits, marks the end as synced and stops the threads. Later calls are refused.
    ///
    /// # Errors
    ///
    /// [`LogError::Latched`] if the log was shut before.
    pub fn close(self) -> Result<(), LogError> {
        self.handle.close();
        match &self.handle.shared.state().latched {
            Some(cause) => Err(LogError::Latched(Arc::clone(cause))),
            None => Ok(()),
        }
    }

    /// Runs `call`, wakes the writer, and tells at once if it was refused.
    fn accept(&self, call: impl FnOnce(&Shared<P>) -> Result<(), (Done, LogError)>) {
        match call(&self.handle.shared) {
            Ok(()) => self.handle.shared.work.notify_one(),
            Err((done, error)) => done(Err(error)),
        }
    }
}

/// Closes the log when it is dropped.
struct Handle<P: Payload> {
    shared: Arc<Shared<P>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl<P: Payload> Handle<P> {
    fn keep(&self, thread: JoinHandle<()>) {
        self.threads
            .lock()
            .expect("nothing panics while it holds the threads")
            .push(thread);
    }

    fn close(&self) {
        self.shared.state().closing = true;
        self.shared.work.notify_all();
        self.shared.prepare.notify_all();
        let Ok(mut threads) = self.threads.lock() else {
            return;
        };
        for thread in threads.drain(..) {
            // The last handle may go on the log's own thread, in a callback.
            if thread.thread().id() != std::thread::current().id() {
                // A panic in there has latched the log already.
                drop(thread.join());
            }
        }
        self.shared.unlock_folder();
    }
}

impl<P: Payload> Drop for Handle<P> {
    fn drop(&mut self) {
        self.close();
    }
}
