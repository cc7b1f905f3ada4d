//! Carries out what the catalog decides: creating, changing and deleting queues.
//!
//! The catalog in set 0 writes down what is to be done, the owning set does it, and the catalog
//! writes down that it is done. Every step can be repeated, so a crash between two steps leaves a
//! record that says what is missing, and the coordinator of the next leader finishes it.
//!
//! Every node has a coordinator; the one at the leader of set 0 works. Other nodes pass what their
//! clients ask on to it. One change at a time: changes are rare, and an order makes them easy to
//! reason about.
//! Spec: spec/semantics.md, "Queues".

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sampan_core::{CatalogCommand, CatalogRecord, Command, QueueState, Reply};
use sampan_protocol::{Applied, AttributeChanges, ErrorCode, Name, QueueAttributes, SetId};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::calls::{self, Method};
use crate::reach::Reach;
use crate::set::{Refused, SetRequest};

/// Changes that may wait for their turn; more are refused.
const CHANGES_WAITING_MAX: usize = 256;
/// Pause before an interrupted step is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A step that cannot be done for this long is left for later.
const STEP_MAX: Duration = Duration::from_secs(4);
/// How often the coordinator looks for what others left unfinished.
const UNFINISHED_INTERVAL: Duration = Duration::from_millis(500);
const CATALOG: SetId = SetId(0);
/// The only account for now; names are unique within it.
const ACCOUNT: u32 = 0;

/// A change of the catalog that a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogRequest {
    /// Create a queue.
    Create {
        /// Its name.
        name: Name,
        /// Attributes that differ from the defaults.
        changes: AttributeChanges,
    },
    /// Change attributes of a queue.
    Set {
        /// Its name.
        name: Name,
        /// The attributes to change.
        changes: AttributeChanges,
    },
    /// Delete a queue and its messages.
    Delete {
        /// Its name.
        name: Name,
    },
}

type Waiting = (CatalogCommand, oneshot::Sender<Result<(), Refused>>);

/// The way to the coordinator, from any core.
#[derive(Clone)]
pub struct Catalog {
    sender: mpsc::Sender<Waiting>,
    reach: Arc<OnceLock<Reach>>,
}

impl Catalog {
    /// Carries a change out, here or at the leader of set 0; returns when the owning set has taken
    /// it over and this node knows of it.
    ///
    /// # Errors
    ///
    /// What the catalog or the set refused.
    pub async fn request(&self, request: CatalogRequest) -> Result<(), Refused> {
        let no_leader = || Refused::retry_after(ErrorCode::NoLeader, 100);
        let reach = self.reach.get().ok_or_else(no_leader)?;
        let command = request.into_command()?;
        if reach.leads(CATALOG) {
            return self.request_here(command).await;
        }
        let leader = reach.board.leader(CATALOG).ok_or_else(no_leader)?;
        let payload = calls::encode_command(Command::Catalog(command));
        reach.call(leader, None, Method::Catalog, payload).await?;
        // The change stands; a client that is faster than this node's replica asks again.
        drop(reach.confirm(CATALOG).await);
        Ok(())
    }

    /// Carries a change out at this node, which leads set 0.
    pub(crate) async fn request_here(&self, command: CatalogCommand) -> Result<(), Refused> {
        let (done, answer) = oneshot::channel();
        self.sender
            .try_send((command, done))
            .map_err(|_| Refused::retry_after(ErrorCode::QueueBusy, 100))?;
        answer
            .await
            .map_err(|_| Refused::new(ErrorCode::ShuttingDown))?
    }
}

impl CatalogRequest {
    /// What the catalog is to decide. The leader of set 0 chooses the set of a new queue.
    fn into_command(self) -> Result<CatalogCommand, Refused> {
        let account = ACCOUNT;
        Ok(match self {
            CatalogRequest::Create { name, changes } => CatalogCommand::Create {
                account,
                name,
                attributes: changes.applied_to(QueueAttributes::default())?,
                set: CATALOG,
            },
            CatalogRequest::Set { name, changes } => CatalogCommand::Set {
                account,
                name,
                changes,
            },
            CatalogRequest::Delete { name } => CatalogCommand::Delete { account, name },
        })
    }
}

/// The task itself. Runs on the core of set 0.
pub(crate) struct Coordinator {
    requests: mpsc::Receiver<Waiting>,
    reach: Arc<OnceLock<Reach>>,
    secrets: fn() -> u64,
}

impl Coordinator {
    /// `secrets` draws the secret of a new queue's receipt handles.
    pub(crate) fn new(reach: Arc<OnceLock<Reach>>, secrets: fn() -> u64) -> (Catalog, Coordinator) {
        let (sender, requests) = mpsc::channel(CHANGES_WAITING_MAX);
        let catalog = Catalog {
            sender,
            reach: reach.clone(),
        };
        let coordinator = Coordinator {
            requests,
            reach,
            secrets,
        };
        (catalog, coordinator)
    }

    /// Carries out what is asked, and finishes what others left.
    pub(crate) async fn run(mut self) {
        let Some(reach) = self.reach.get().cloned() else {
            return;
        };
        let mut ticks = tokio::time::interval(UNFINISHED_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = self.requests.recv() => {
                    let Some((command, done)) = command else { return };
                    let result = self.carry_out(&reach, command).await;
                    // Whoever asked may be gone; the change stands all the same.
                    drop(done.send(result));
                }
                _ = ticks.tick() => {
                    let is_needed = reach.leads(CATALOG) && reach.directory().map().has_unfinished;
                    if !is_needed {
                        continue;
                    }
                    if let Err(refused) = self.finish_all(&reach).await {
                        tracing::warn!(error = %refused, "unfinished queues are tried again");
                    }
                }
            }
        }
    }

    async fn finish_all(&self, reach: &Reach) -> Result<(), Refused> {
        let mandate = Mandate::new(reach)?;
        let (done, answer) = oneshot::channel();
        let catalog = reach.set(CATALOG)?;
        catalog.request(SetRequest::Unfinished(done)).await?;
        let records = answer
            .await
            .map_err(|_| Refused::new(ErrorCode::ShuttingDown))??;
        finish_each(records, async |record: CatalogRecord| {
            tracing::info!(queue = %record.name, state = ?record.state, "finishing a queue");
            self.finish(reach, mandate, record).await
        })
        .await
    }

    async fn carry_out(&self, reach: &Reach, mut command: CatalogCommand) -> Result<(), Refused> {
        if let CatalogCommand::Create { set, .. } = &mut command {
            *set = emptiest_set(reach);
        }
        let mandate = Mandate::new(reach)?;
        let record = decide(reach, command).await?;
        let finished = self.finish(reach, mandate, record).await;
        finished.map_err(once_decided)
    }

    /// Carries a record's state over to the owning set, and confirms it.
    async fn finish(
        &self,
        reach: &Reach,
        mandate: Mandate,
        record: CatalogRecord,
    ) -> Result<(), Refused> {
        let queue = record.queue;
        let (command, confirmation) = match record.state {
            QueueState::Ready => return Ok(()),
            QueueState::Creating => (
                Command::QueueCreate {
                    queue,
                    name: record.name,
                    attributes: record.attributes,
                    secret: (self.secrets)(),
                },
                CatalogCommand::Confirm { queue },
            ),
            QueueState::Changing => (
                Command::QueueSet {
                    queue,
                    attributes: record.attributes,
                },
                CatalogCommand::Confirm { queue },
            ),
            QueueState::Deleting => (
                Command::QueueDelete { queue },
                CatalogCommand::Removed { queue },
            ),
        };
        carry_over(reach, mandate, record.set, command).await?;
        let catalog = reach.set(CATALOG)?;
        refuse(catalog.propose(Command::Catalog(confirmation)).await?)?;
        Ok(())
    }
}

/// Carries out what each record lacks. One that fails does not keep the others waiting, but for
/// those of the same set: a set without a leader would take its time for each of them.
async fn finish_each(
    records: Vec<CatalogRecord>,
    finish: impl AsyncFn(CatalogRecord) -> Result<(), Refused>,
) -> Result<(), Refused> {
    let mut result = Ok(());
    let mut failed = BTreeSet::new();
    for record in records {
        let (queue, set) = (record.queue, record.set);
        if failed.contains(&set) {
            continue;
        }
        if let Err(refused) = finish(record).await {
            tracing::debug!(%queue, %set, error = %refused, "a queue is not finished yet");
            if is_passing(refused.code) {
                failed.insert(set);
            }
            result = Err(refused);
        }
    }
    result
}

/// The term in which this node leads the catalog. A coordinator that was deposed may still hold a
/// record that its successor has changed since, and must not carry that over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mandate {
    term: u64,
}

impl Mandate {
    fn new(reach: &Reach) -> Result<Self, Refused> {
        match reach.board.leader_and_term(CATALOG) {
            (Some(leader), term) if leader == reach.node => Ok(Mandate { term }),
            (Some(_), _) => Err(Refused::retry_after(ErrorCode::NotLeader, 100)),
            (None, _) => Err(Refused::retry_after(ErrorCode::NoLeader, 100)),
        }
    }

    /// Asks a majority whether it still holds. What is sent right afterwards may yet be late.
    async fn confirm(self, reach: &Reach) -> Result<(), Refused> {
        reach.confirm_here(CATALOG).await?;
        match Mandate::new(reach)? == self {
            true => Ok(()),
            false => Err(Refused::retry_after(ErrorCode::LeaderChanged, 100)),
        }
    }
}

/// Carries a step out in the owning set, wherever that is led; it may be between two leaders.
async fn carry_over(
    reach: &Reach,
    mandate: Mandate,
    set: SetId,
    command: Command,
) -> Result<(), Refused> {
    let end = Instant::now() + STEP_MAX;
    loop {
        mandate.confirm(reach).await?;
        let carried_out = reach.propose(set, command.clone()).await;
        match carried_out.and_then(refuse) {
            Ok(_) => return Ok(()),
            Err(refused) if is_passing(refused.code) && Instant::now() < end => {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Err(refused) => return Err(refused),
        }
    }
}

/// Steps may be repeated, so also one whose outcome is not known.
fn is_passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NoLeader
            | ErrorCode::NotLeader
            | ErrorCode::OutcomeUnknown
            | ErrorCode::ShuttingDown
    )
}

/// What is told of a change that is decided and could not be carried out now: it will be, when the
/// unfinished queues are looked at next, so nobody may hear that it was not.
fn once_decided(refused: Refused) -> Refused {
    match refused.code.applied() {
        Applied::No => Refused {
            text: format!("decided, and not carried out yet: {refused}"),
            ..Refused::retry_after(ErrorCode::OutcomeUnknown, 500)
        },
        _ => refused,
    }
}

async fn decide(reach: &Reach, command: CatalogCommand) -> Result<CatalogRecord, Refused> {
    let catalog = reach.set(CATALOG)?;
    match refuse(catalog.propose(Command::Catalog(command)).await?)? {
        Reply::Catalog(record) => Ok(record),
        _ => Err(Refused::new(ErrorCode::Internal)),
    }
}

/// The set with the fewest queues, the lowest number among equals. One without a leader is taken
/// only when all are: it would keep the queue waiting.
fn emptiest_set(reach: &Reach) -> SetId {
    let counts = reach.directory().count_by_set(reach.board.set_count());
    let sets = reach.board.sets().zip(counts);
    let by_rank = sets.map(|(set, count)| (reach.board.leader(set).is_none(), count, set));
    by_rank.min().map_or(SetId(0), |(.., set)| set)
}

fn refuse(reply: Reply) -> Result<Reply, Refused> {
    match reply {
        Reply::Refused(refusal) => Err(refusal.into()),
        reply => Ok(reply),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use sampan_protocol::{QueueId, Timestamp};

    use super::*;

    fn record(queue: u64, set: u32) -> CatalogRecord {
        CatalogRecord {
            queue: QueueId(queue),
            name: format!("queue-{queue}"),
            account: ACCOUNT,
            set: SetId(set),
            attributes: QueueAttributes::default(),
            created_at: Timestamp(1),
            state: QueueState::Creating,
        }
    }

    #[test]
    fn nobody_hears_that_a_decided_change_was_not_made() {
        let told = once_decided(Refused::new(ErrorCode::NoLeader));
        assert_eq!(told.code, ErrorCode::OutcomeUnknown);
        assert!(told.text.contains("no leader"), "{}", told.text);
        let told = once_decided(Refused::new(ErrorCode::OutcomeUnknown));
        assert_eq!(told.code, ErrorCode::OutcomeUnknown);
    }

    #[tokio::test]
    async fn a_queue_that_cannot_be_finished_keeps_none_of_another_set_waiting() {
        let records = vec![record(1, 1), record(2, 1), record(3, 2), record(4, 3)];
        let asked = RefCell::new(Vec::new());
        let finished = finish_each(records, async |record: CatalogRecord| {
            asked.borrow_mut().push(record.queue.0);
            match record.set.0 {
                1 => Err(Refused::new(ErrorCode::NoLeader)),
                2 => Err(Refused::new(ErrorCode::TooManyQueues)),
                _ => Ok(()),
            }
        });
        assert_eq!(finished.await.unwrap_err().code, ErrorCode::TooManyQueues);
        assert_eq!(*asked.borrow(), [1, 3, 4]);
    }
}
