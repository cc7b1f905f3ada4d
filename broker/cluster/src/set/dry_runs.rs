//! Counts what a redrive would move, and moves nothing.
//!
//! A dry run looks at every message as the job would, page by page, so it may take minutes with
//! millions of them. It runs at the leader, beside the driver; a set has one under way, and
//! [`DRY_RUNS_WAITING_MAX`] may wait. The read that it is was confirmed before it came here.
//!
//! Invariant: memory for one look, however long the queue. Spec: spec/semantics.md, "Redrive".

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use sampan_core::RedriveOrder;
use sampan_protocol::{ErrorCode, MessageId, QueueId};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::relay::Relay;
use super::request::{Answer, Origin, Outcome, Refused};

/// Dry runs of a set that wait for their turn.
const DRY_RUNS_WAITING_MAX: usize = 16;
/// The longest a dry run may take.
const DRY_RUN_MAX: Duration = Duration::from_secs(600);

/// One dry run that was asked for.
pub(crate) struct DryRun {
    pub(super) origin: Origin,
    pub(super) queue: QueueId,
    pub(super) order: RedriveOrder,
}

/// The dry runs of a set that wait.
#[derive(Default)]
pub(super) struct DryRuns {
    waiting: VecDeque<DryRun>,
    wake: Rc<Notify>,
}

impl DryRuns {
    /// Lets one wait; returns it when too many do.
    pub(super) fn push(&mut self, dry_run: DryRun) -> Result<(), Origin> {
        if self.waiting.len() >= DRY_RUNS_WAITING_MAX {
            return Err(dry_run.origin);
        }
        self.waiting.push_back(dry_run);
        self.wake.notify_one();
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<DryRun> {
        self.waiting.pop_front()
    }

    fn wake(&self) -> Rc<Notify> {
        self.wake.clone()
    }
}

/// Carries out the dry runs of a set until the node stops.
pub(crate) async fn dry_runs(relay: Relay) {
    let wake = relay.state.borrow().dry_runs.wake();
    loop {
        let next = relay.state.borrow_mut().dry_runs.pop();
        let Some(dry_run) = next else {
            wake.notified().await;
            continue;
        };
        let outcome = match relay.count(dry_run.queue, &dry_run.order).await {
            Ok(count) => Outcome::RedriveCounted(count),
            Err(refused) => Outcome::Refused(refused),
        };
        let Origin {
            client,
            request_id,
            len,
        } = dry_run.origin;
        let answer = Answer {
            request_id,
            len,
            outcome,
        };
        // Only receives come back.
        drop(client.answer(relay.set, vec![answer]));
    }
}

impl Relay {
    async fn count(&self, queue: QueueId, order: &RedriveOrder) -> Result<u64, Refused> {
        let (ends, ready_count) = {
            let broker = &self.state.borrow().broker;
            (broker.ends(queue), broker.redrivable_count(queue))
        };
        let not_found = || Refused::new(ErrorCode::QueueNotFound);
        let ends = ends.ok_or_else(not_found)?;
        if order.target.is_some() && order.filter.is_empty() {
            return Ok(ready_count);
        }
        let begun = Instant::now();
        let (mut cursor, mut count) = (MessageId(0), 0);
        loop {
            let found = self.look(queue, cursor, ends).await?;
            if found.is_empty() {
                return Ok(count);
            }
            let sorted = self.sort(queue, order, &found, usize::MAX).await?;
            cursor = sorted.cursor;
            count += sorted.picks.len() as u64;
            if !self.reach.leads(self.set) {
                return Err(Refused::new(ErrorCode::LeaderChanged));
            }
            if begun.elapsed() > DRY_RUN_MAX {
                let text = "there are more messages than can be counted in time".to_owned();
                let refused = Refused::new(ErrorCode::TooManyRequests);
                return Err(Refused { text, ..refused });
            }
            // What is in memory is looked at without a wait: others have their turn in between.
            tokio::task::yield_now().await;
        }
    }
}
