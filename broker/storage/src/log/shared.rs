//! The shared state of a log with its lock and the two ways to wake its threads.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::operation::Pending;
use super::state::LogState;
use super::{LogError, Payload};
use crate::io::FolderLock;

/// What all handles and threads of one log hold.
pub(super) struct Shared<P> {
    state: Mutex<LogState<P>>,
    /// The writer waits here for calls and for ready files.
    pub(super) work: Condvar,
    /// The preparer waits here for files that are given up, taken, or asked for.
    pub(super) prepare: Condvar,
    /// Given up when the log is closed, not before its threads are done.
    folder_lock: Mutex<Option<FolderLock>>,
}

impl<P: Payload> Shared<P> {
    pub(super) fn new(state: LogState<P>, folder_lock: FolderLock) -> Arc<Self> {
        Arc::new(Shared {
            state: Mutex::new(state),
            work: Condvar::new(),
            prepare: Condvar::new(),
            folder_lock: Mutex::new(Some(folder_lock)),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, LogState<P>> {
        self.state
            .lock()
            .expect("whoever panics while it holds the log stops the node")
    }

    /// Shuts the log for good and tells everybody who waits.
    pub(super) fn latch(&self, cause: io::Error) {
        self.latch_with(cause, Vec::new());
    }

    /// The same; `taken` was being written.
    pub(super) fn latch_with(&self, cause: io::Error, taken: Vec<Pending<P>>) {
        let cause = Arc::new(cause);
        let waiting = self.state().latch(Arc::clone(&cause));
        self.work.notify_all();
        self.prepare.notify_all();
        fail(taken.into_iter().chain(waiting), &LogError::Latched(cause));
    }

    /// Lets somebody else open the folder.
    pub(super) fn unlock_folder(&self) {
        if let Ok(mut lock) = self.folder_lock.lock() {
            lock.take();
        }
    }
}

/// Tells everybody in `pending` why it did not happen.
pub(super) fn fail<P>(pending: impl IntoIterator<Item = Pending<P>>, error: &LogError) {
    for done in pending.into_iter().filter_map(|pending| pending.done) {
        done(Err(error.clone()));
    }
}
