//! Carries out what the catalog decides: creating, changing and deleting queues.
//!
//! The catalog in set 0 writes down what is to be done, the owning set does it, and the catalog
//! writes down that it is done. Every step can be repeated, so a crash between two steps leaves a
//! record that says what is missing, and the coordinator finishes it when it starts.
//!
//! One change at a time: changes are rare, and an order makes them easy to reason about.
//! Spec: spec/semantics.md, "Queues".

use std::sync::Arc;
use std::time::Duration;

use sampan_core::{CatalogCommand, CatalogRecord, Command, QueueState, Reply};
use sampan_protocol::{AttributeChanges, ErrorCode, Name, QueueAttributes, SetId};
use tokio::sync::{mpsc, oneshot, watch};

use super::directory::Directory;
use crate::set::{Refused, SetHandle, SetRequest};

/// Changes that may wait for their turn; more are refused.
const CHANGES_WAITING_MAX: usize = 256;
/// Pause before an interrupted change is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);
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

type Waiting = (CatalogRequest, oneshot::Sender<Result<(), Refused>>);

/// The way to the coordinator, from any core.
#[derive(Clone, Debug)]
pub struct Catalog {
    sender: mpsc::Sender<Waiting>,
}

impl Catalog {
    /// Carries a change out; returns when the owning set has taken it over.
    ///
    /// # Errors
    ///
    /// What the catalog or the set refused.
    pub async fn request(&self, request: CatalogRequest) -> Result<(), Refused> {
        let (done, answer) = oneshot::channel();
        self.sender
            .try_send((request, done))
            .map_err(|_| Refused::retry_after(ErrorCode::QueueBusy, 100))?;
        answer
            .await
            .map_err(|_| Refused::new(ErrorCode::ShuttingDown))?
    }
}

/// The task itself. Runs on the core of set 0.
pub(crate) struct Coordinator {
    requests: mpsc::Receiver<Waiting>,
    sets: Vec<SetHandle>,
    directory: watch::Receiver<Arc<Directory>>,
    secrets: fn() -> u64,
}

impl Coordinator {
    /// `sets` are all sets by number; `secrets` draws the secret of a new queue's receipt handles.
    pub(crate) fn new(
        sets: Vec<SetHandle>,
        directory: watch::Receiver<Arc<Directory>>,
        secrets: fn() -> u64,
    ) -> (Catalog, Coordinator) {
        let (sender, requests) = mpsc::channel(CHANGES_WAITING_MAX);
        (
            Catalog { sender },
            Coordinator {
                requests,
                sets,
                directory,
                secrets,
            },
        )
    }

    /// Finishes what a crash left, then carries out what is asked.
    pub(crate) async fn run(mut self) {
        while let Err(refused) = self.finish_all().await {
            if refused.code == ErrorCode::ShuttingDown {
                return;
            }
            tracing::warn!(error = %refused, "unfinished queues are tried again");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        while let Some((request, done)) = self.requests.recv().await {
            let result = self.carry_out(request).await;
            // Whoever asked may be gone; the change stands all the same.
            drop(done.send(result));
        }
    }

    async fn finish_all(&self) -> Result<(), Refused> {
        let (done, answer) = oneshot::channel();
        self.catalog_set()
            .request(SetRequest::Unfinished(done))
            .await?;
        let records = answer
            .await
            .map_err(|_| Refused::new(ErrorCode::ShuttingDown))??;
        for record in records {
            tracing::info!(queue = %record.name, state = ?record.state, "finishing a queue");
            self.finish(record).await?;
        }
        Ok(())
    }

    async fn carry_out(&self, request: CatalogRequest) -> Result<(), Refused> {
        let account = ACCOUNT;
        let command = match request {
            CatalogRequest::Create { name, changes } => {
                let attributes = changes.applied_to(QueueAttributes::default())?;
                CatalogCommand::Create {
                    account,
                    name,
                    attributes,
                    set: self.emptiest_set(),
                }
            }
            CatalogRequest::Set { name, changes } => CatalogCommand::Set {
                account,
                name,
                changes,
            },
            CatalogRequest::Delete { name } => CatalogCommand::Delete { account, name },
        };
        let record = self.decide(command).await?;
        self.finish(record).await
    }

    /// Carries a record's state over to the owning set, and confirms it.
    async fn finish(&self, record: CatalogRecord) -> Result<(), Refused> {
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
        let owner = self.sets.get(record.set.0 as usize);
        let owner = owner.ok_or_else(|| Refused::new(ErrorCode::Internal))?;
        refuse(owner.propose(command).await?)?;
        refuse(
            self.catalog_set()
                .propose(Command::Catalog(confirmation))
                .await?,
        )?;
        Ok(())
    }

    async fn decide(&self, command: CatalogCommand) -> Result<CatalogRecord, Refused> {
        match refuse(
            self.catalog_set()
                .propose(Command::Catalog(command))
                .await?,
        )? {
            Reply::Catalog(record) => Ok(record),
            _ => Err(Refused::new(ErrorCode::Internal)),
        }
    }

    fn catalog_set(&self) -> &SetHandle {
        &self.sets[0]
    }

    /// The set with the fewest queues, the lowest number among equals.
    fn emptiest_set(&self) -> SetId {
        let counts = self.directory.borrow().count_by_set(self.sets.len());
        let fewest = counts.iter().enumerate().min_by_key(|(_, count)| **count);
        SetId(fewest.map_or(0, |(set, _)| u32::try_from(set).unwrap_or(0)))
    }
}

fn refuse(reply: Reply) -> Result<Reply, Refused> {
    match reply {
        Reply::Refused(refusal) => Err(refusal.into()),
        reply => Ok(reply),
    }
}
