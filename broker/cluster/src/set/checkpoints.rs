//! When a set's state is written down, and the thread that does it.
//!
//! One thread for all sets of a node, so that checkpoints never compete with each other for the
//! disk. A set hands its frozen state over and gets the outcome back; meanwhile it goes on. After a
//! durable checkpoint the log up to it may be purged, which is openraft's to do.
//!
//! Invariants: a set has at most one checkpoint under way. A checkpoint at index N begins only after
//! this node's own log has flushed N.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use sampan_protocol::SetId;
use sampan_storage::store::{CheckpointJob, CheckpointOutcome};
use tokio::sync::{Notify, oneshot};

use super::state::SetState;
use crate::raft::types::SetRaft;

/// When a checkpoint is due: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CheckpointPolicy {
    /// Bytes of messages in memory.
    pub(crate) overlay_len: u64,
    /// Bytes of log since the last checkpoint.
    pub(crate) log_len: u64,
    /// Time since the last checkpoint, if anything changed.
    pub(crate) interval: Duration,
}

/// Pause after a checkpoint that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

type Waiting = (CheckpointJob, oneshot::Sender<CheckpointOutcome>);

/// The way to the checkpoint thread.
#[derive(Clone, Debug)]
pub(crate) struct Checkpointer {
    jobs: crossbeam_channel::Sender<Waiting>,
}

impl Checkpointer {
    /// Starts the thread. It ends when the last handle is dropped and its jobs are done.
    pub(crate) fn start(set_count: usize) -> std::io::Result<Self> {
        let (jobs, waiting) = crossbeam_channel::bounded::<Waiting>(set_count);
        let run = move || {
            for (job, done) in waiting {
                // A set that stopped meanwhile replays the log instead.
                drop(done.send(job.run()));
            }
        };
        std::thread::Builder::new().name("checkpointer".to_owned()).spawn(run)?;
        Ok(Checkpointer { jobs })
    }

    /// Hands a job over. Never blocks: there is room for one job of each set.
    fn begin(&self, job: CheckpointJob) -> oneshot::Receiver<CheckpointOutcome> {
        let (done, outcome) = oneshot::channel();
        let taken = self.jobs.try_send((job, done));
        assert!(taken.is_ok(), "a set has at most one checkpoint under way");
        outcome
    }
}

/// The checkpoints of one set.
pub(super) struct Checkpoints {
    checkpointer: Checkpointer,
    policy: CheckpointPolicy,
    outcome: Rc<RefCell<Option<Outcome>>>,
    is_running: bool,
    /// On the monotonic clock.
    not_before_ms: u64,
    interval_ends_ms: u64,
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
            not_before_ms: 0,
            interval_ends_ms: 0,
        }
    }

    /// Takes in the outcome of the one under way, and begins the next when it is due.
    pub(super) fn advance(
        &mut self,
        state: &Rc<RefCell<SetState>>,
        raft: &SetRaft,
        now_ms: u64,
        set: SetId,
    ) {
        let outcome = self.outcome.borrow_mut().take();
        if let Some(outcome) = outcome {
            self.is_running = false;
            let wait = self.take_in(outcome, state, raft, set);
            self.not_before_ms = now_ms + millis(wait);
            self.interval_ends_ms = now_ms + millis(self.policy.interval);
        }
        if self.is_running || now_ms < self.not_before_ms || !self.is_due(&state.borrow(), now_ms) {
            return;
        }
        let wake = state.borrow().driver();
        let Some(job) = state.borrow_mut().begin_checkpoint() else { return };
        self.is_running = true;
        tokio::task::spawn_local(bring_back(
            self.checkpointer.begin(job),
            self.outcome.clone(),
            wake,
        ));
    }

    /// Whether a checkpoint is under way.
    pub(super) fn is_running(&self) -> bool {
        self.is_running
    }

    fn is_due(&self, state: &SetState, now_ms: u64) -> bool {
        let log_len = state.log_len();
        log_len > 0
            && state.is_applied_flushed()
            && (state.store.overlay_len() >= self.policy.overlay_len
                || log_len >= self.policy.log_len
                || now_ms >= self.interval_ends_ms)
    }

    /// Returns how long to wait before the next.
    fn take_in(
        &self,
        outcome: Outcome,
        state: &Rc<RefCell<SetState>>,
        raft: &SetRaft,
        set: SetId,
    ) -> Duration {
        let Some(outcome) = outcome else {
            tracing::error!(%set, "the checkpoint thread has stopped");
            return RETRY_PAUSE;
        };
        if let Err(error) = state.borrow_mut().finish_checkpoint(outcome) {
            let error = &error as &dyn std::error::Error;
            tracing::error!(%set, error, "a checkpoint failed; the log is kept");
            return RETRY_PAUSE;
        }
        let Some((checkpoint, _)) = state.borrow().checkpoint() else { return Duration::ZERO };
        let raft = raft.clone();
        tokio::task::spawn_local(async move {
            let purged = async {
                raft.trigger().snapshot().await?;
                raft.trigger().purge_log(checkpoint.index).await
            };
            if let Err(error) = purged.await {
                tracing::error!(%set, %error, "purging the log failed");
            }
        });
        Duration::ZERO
    }
}

async fn bring_back(
    outcome: oneshot::Receiver<CheckpointOutcome>,
    slot: Rc<RefCell<Option<Outcome>>>,
    wake: Rc<Notify>,
) {
    let outcome = outcome.await.ok();
    *slot.borrow_mut() = Some(outcome);
    wake.notify_one();
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
