//! When a set's state is written down, and the thread that does it.
//!
//! One thread for all sets of a node, so that checkpoints never compete with each other for the
//! disk. A set hands its frozen state over and gets the outcome back; meanwhile it goes on. After a
//! durable checkpoint the log up to it may be purged, which is openraft's to do.
//!
//! Invariants: a set has at most one checkpoint under way. A checkpoint at index N is written only
//! after this node's own log has synced N. Its state is frozen before that, for with lazy entries
//! there may be no moment at which all that is applied is synced.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::RaftMetrics;
use sampan_protocol::{ErrorCode, QueueId, SetId};
use sampan_storage::log::LogError;
use sampan_storage::store::{CheckpointJob, CheckpointOutcome, Reader, Spent, StoreError};
use tokio::sync::oneshot;

use super::request::Refused;
use super::state::SetState;
use crate::board::{CheckpointTimes, Fault};
use crate::clock::Reading;
use crate::raft::types::{Fatal, SetConfig, SetRaft};

/// When a checkpoint is due: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointPolicy {
    /// Bytes of messages in memory.
    pub(crate) overlay_len: u64,
    /// Bytes of log since the last checkpoint.
    pub(crate) log_len: u64,
    /// Time since the last checkpoint, if anything changed.
    pub(crate) interval: Duration,
    /// Bytes of the newest log files that are kept for peers that paused.
    pub(crate) log_kept_len: u64,
}

/// Messages in memory may reach this many times the length at which a checkpoint begins.
const OVERLAY_MAX_FACTOR: u64 = 4;
/// From this many times on, a checkpoint makes no pauses.
const HURRY_FACTOR: u64 = 2;
/// A checkpoint makes pauses when the one before began so long ago.
const CALM_INTERVAL: Duration = Duration::from_secs(2);
/// After each mebibyte of bodies: 128 MiB then take two thirds of a second.
const WRITE_PAUSE: Duration = Duration::from_millis(5);
/// Those who may wait for a checkpoint of one set.
const ASKED_COUNT_MAX: usize = 16;
/// Pause when the log cannot be asked to sync.
const LOG_PAUSE: Duration = Duration::from_millis(100);
/// Pause after a checkpoint that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Taking a checkpoint for a snapshot copies nothing: it takes no longer, unless the set has
/// stopped.
const SNAPSHOT_MAX: Duration = Duration::from_secs(10);

/// What the thread is given to do.
enum Work {
    Checkpoint(CheckpointJob, oneshot::Sender<CheckpointOutcome>),
    /// Freeing the memory of what was written takes a while too.
    Drop(Spent),
}

/// The way to the checkpoint thread.
#[derive(Clone, Debug)]
pub(crate) struct Checkpointer {
    work: crossbeam_channel::Sender<Work>,
}

impl Checkpointer {
    /// Starts the thread. It ends when the last handle is dropped and its jobs are done.
    pub(crate) fn start(set_count: usize) -> std::io::Result<Self> {
        // One checkpoint of each set, and what is left of the one before.
        let (work, waiting) = crossbeam_channel::bounded::<Work>(2 * set_count);
        let run = move || {
            for work in waiting {
                match work {
                    // A set that stopped meanwhile replays the log instead.
                    Work::Checkpoint(job, done) => drop(done.send(job.run())),
                    Work::Drop(spent) => drop(spent),
                }
            }
        };
        std::thread::Builder::new()
            .name("checkpointer".to_owned())
            .spawn(run)?;
        Ok(Checkpointer { work })
    }

    /// Hands a job over. Never blocks: there is room for one job of each set. Without the thread,
    /// the outcome's sender is gone with the job.
    fn begin(&self, job: CheckpointJob) -> oneshot::Receiver<CheckpointOutcome> {
        let (done, outcome) = oneshot::channel();
        let taken = self.work.try_send(Work::Checkpoint(job, done));
        let has_room = !taken.is_err_and(|refused| refused.is_full());
        assert!(has_room, "a set has at most one checkpoint under way");
        outcome
    }

    /// Frees memory on the thread; here, when it has too much to do.
    fn free(&self, spent: Spent) {
        drop(self.work.try_send(Work::Drop(spent)));
    }
}

/// The checkpoints of one set.
pub(super) struct Checkpoints {
    checkpointer: Checkpointer,
    policy: CheckpointPolicy,
    outcome: Rc<RefCell<Option<Outcome>>>,
    is_running: bool,
    /// The checkpoint thread is gone.
    is_abandoned: bool,
    /// On the monotonic clock.
    not_before_ms: u64,
    interval_ends_ms: u64,
    times: CheckpointTimes,
    asked: Vec<Asked>,
    /// When the newest one began, on the monotonic clock.
    begun_ms: Option<u64>,
    /// Memory fills up meanwhile: the one that is running is to make no pauses.
    hurry: Arc<AtomicBool>,
}

/// Somebody waits until everything up to an entry is written down.
struct Asked {
    index: u64,
    done: oneshot::Sender<Result<u64, Refused>>,
}

/// `None`: the checkpoint thread is gone.
type Outcome = Option<CheckpointOutcome>;

impl Checkpoints {
    pub(super) fn new(checkpointer: Checkpointer, policy: CheckpointPolicy) -> Self {
        Checkpoints {
            checkpointer,
            policy,
            outcome: Rc::default(),
            is_running: false,
            is_abandoned: false,
            not_before_ms: 0,
            interval_ends_ms: 0,
            times: CheckpointTimes::default(),
            asked: Vec::new(),
            begun_ms: None,
            hurry: Arc::default(),
        }
    }

    /// Answers once a checkpoint of all that is applied now is durable; one begins as soon as it
    /// can.
    pub(super) fn ask(&mut self, state: &SetState, done: oneshot::Sender<Result<u64, Refused>>) {
        let refusal = match state.applied() {
            None => Refused::new(ErrorCode::NoLeader),
            Some(_) if self.asked.len() >= ASKED_COUNT_MAX => {
                Refused::retry_after(ErrorCode::QueueBusy, 1_000)
            }
            Some(applied) => {
                let index = applied.index;
                self.asked.push(Asked { index, done });
                return;
            }
        };
        // Whoever asked may be gone.
        drop(done.send(Err(refusal)));
    }

    /// Answers those whose entry is written down, and forgets who is gone.
    fn answer(&mut self, state: &SetState) {
        let durable = state.checkpoint_index();
        for asked in std::mem::take(&mut self.asked) {
            match durable {
                // Whoever asked may be gone.
                Some(durable) if durable >= asked.index => drop(asked.done.send(Ok(durable))),
                _ if asked.done.is_closed() => {}
                _ => self.asked.push(asked),
            }
        }
    }

    /// Why no checkpoint can begin before the node is started again, or a snapshot has brought
    /// another store.
    pub(super) fn fault(&self, state: &SetState) -> Option<Fault> {
        if self.is_abandoned {
            return Some(Fault::NoCheckpointer);
        }
        is_latched(&state.reader()).then_some(Fault::StoreLatched)
    }

    /// Those who wait for a checkpoint are told that there will be none.
    pub(super) fn refuse_asked(&mut self, fault: Fault) {
        for asked in self.asked.drain(..) {
            let refused = Refused {
                text: format!("the set {}", fault.text()),
                ..Refused::new(ErrorCode::Internal)
            };
            // Whoever asked may be gone.
            drop(asked.done.send(Err(refused)));
        }
    }

    /// When the latest began and when one last ended.
    pub(super) fn times(&self) -> CheckpointTimes {
        self.times
    }

    /// Takes in the outcome of the one under way, and begins the next when it is due.
    pub(super) fn advance(
        &mut self,
        state: &Rc<RefCell<SetState>>,
        raft: &SetRaft,
        now: Reading,
        set: SetId,
    ) {
        let now_ms = now.monotonic_ms;
        let outcome = self.outcome.borrow_mut().take();
        if let Some(outcome) = outcome {
            self.is_running = false;
            self.times.ended_ms = now.wall_ms;
            let wait = self.take_in(outcome, state, raft, set);
            self.not_before_ms = now_ms + millis(wait);
            self.interval_ends_ms = now_ms + millis(self.policy.interval);
        }
        self.answer(&state.borrow());
        let is_filling = state.borrow().overlay_len() >= HURRY_FACTOR * self.policy.overlay_len;
        self.hurry.store(is_filling, Ordering::Relaxed);
        if self.is_running || now_ms < self.not_before_ms || !self.is_due(&state.borrow(), now_ms) {
            return;
        }
        let wake = state.borrow().driver();
        let begun = state.borrow_mut().begin_checkpoint();
        let mut job = match begun {
            Ok(Some(job)) => job,
            Ok(None) => return,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%set, error, "a checkpoint could not begin; the log is kept");
                self.not_before_ms = now_ms + millis(RETRY_PAUSE);
                return;
            }
        };
        self.is_running = true;
        self.times.begun_ms = now.wall_ms;
        self.pace(&mut job, now_ms);
        let run = run(
            self.checkpointer.clone(),
            job,
            state.clone(),
            self.outcome.clone(),
        );
        tokio::task::spawn_local(async move {
            if run.await {
                wake.notify_one();
            }
        });
    }

    /// Written at one go, a checkpoint keeps the disk from the log's syncs for some tens of
    /// milliseconds. When there was time since the last one, it makes pauses instead.
    fn pace(&mut self, job: &mut CheckpointJob, now_ms: u64) {
        let before = self.begun_ms.replace(now_ms);
        let is_calm = before.is_none_or(|at| now_ms.saturating_sub(at) >= millis(CALM_INTERVAL));
        if is_calm {
            let hurry = self.hurry.clone();
            job.set_pause(move || {
                // On the checkpointer's own thread, which writes and syncs as well.
                if !hurry.load(Ordering::Relaxed) {
                    std::thread::sleep(WRITE_PAUSE);
                }
            });
        }
    }

    /// Whether messages come in so much faster than they can be written down that senders must
    /// wait.
    pub(super) fn is_behind(&self, state: &SetState) -> bool {
        self.is_running && state.overlay_len() >= OVERLAY_MAX_FACTOR * self.policy.overlay_len
    }

    /// Whether there is no room to write down what is in memory, and memory is used up.
    pub(super) fn is_stuck(&self, state: &SetState) -> bool {
        !self.is_running && state.overlay_len() >= OVERLAY_MAX_FACTOR * self.policy.overlay_len
    }

    fn is_due(&self, state: &SetState, now_ms: u64) -> bool {
        let log_len = state.log_len();
        state.owes_checkpoint()
            || !self.asked.is_empty()
            || log_len > 0
                && (state.overlay_len() >= self.policy.overlay_len
                    || log_len >= self.policy.log_len
                    || now_ms >= self.interval_ends_ms)
    }

    /// Returns how long to wait before the next.
    fn take_in(
        &mut self,
        outcome: Outcome,
        state: &Rc<RefCell<SetState>>,
        raft: &SetRaft,
        set: SetId,
    ) -> Duration {
        let Some(outcome) = outcome else {
            tracing::error!(%set, "the checkpoint thread has stopped");
            self.is_abandoned = true;
            return RETRY_PAUSE;
        };
        let finished = state.borrow_mut().finish_checkpoint(outcome);
        match finished {
            Ok(Some(spent)) => self.checkpointer.free(spent),
            Ok(None) => return Duration::ZERO,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(%set, error, "a checkpoint failed; the log is kept");
                return RETRY_PAUSE;
            }
        }
        let upto = state.borrow().purgeable_index(self.policy.log_kept_len);
        let raft = raft.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = purge(&raft, upto).await {
                tracing::error!(%set, %error, "purging the log failed");
            }
        });
        Duration::ZERO
    }
}

/// Has openraft take the checkpoint for its snapshot, and then purge the log up to it: what is in
/// no snapshot it leaves, without a word, and nobody would ask again for a set at rest.
async fn purge(raft: &SetRaft, upto: Option<u64>) -> Result<(), Fatal> {
    raft.trigger().snapshot().await?;
    let Some(upto) = upto else { return Ok(()) };
    let has_snapshot = |metrics: &RaftMetrics<SetConfig>| {
        let taken = metrics.snapshot.as_ref();
        taken.is_some_and(|taken| taken.index >= upto)
    };
    let taken = raft.wait(Some(SNAPSHOT_MAX));
    if let Err(error) = taken.metrics(has_snapshot, "the snapshot is taken").await {
        // The next checkpoint's purge takes it along.
        tracing::debug!(%error, "the log is purged as far as it may be");
    }
    raft.trigger().purge_log(upto).await
}

/// Has a checkpoint written once the log has synced what it holds; `false` when the log has stopped
/// and never will.
async fn run(
    checkpointer: Checkpointer,
    job: CheckpointJob,
    state: Rc<RefCell<SetState>>,
    slot: Rc<RefCell<Option<Outcome>>>,
) -> bool {
    while !state.borrow().is_applied_synced() {
        let (done, synced) = oneshot::channel();
        let done = Box::new(move |result| drop(done.send(result)));
        state.borrow().sync_log(done);
        match synced.await {
            Ok(Ok(())) => break,
            Ok(Err(LogError::Latched(_) | LogError::Closed)) | Err(_) => return false,
            // It has too much to do.
            Ok(Err(_)) => tokio::time::sleep(LOG_PAUSE).await,
        }
    }
    let outcome = checkpointer.begin(job).await.ok();
    *slot.borrow_mut() = Some(outcome);
    true
}

/// Whether a store takes and gives nothing more since a write or sync failed. Reading no message
/// asks the latch and no disk.
fn is_latched(store: &Reader) -> bool {
    matches!(store.read(QueueId(0), &[]), Err(StoreError::Latched))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
