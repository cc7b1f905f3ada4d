//! What each command does to the catalog: the life of a queue, step by step, and which part of the
//! catalog decides on nodes and sets.
//!
//! A step that was carried out already is answered as if it were carried out now, so that whoever
//! does not know the outcome may repeat it. Spec: spec/semantics.md, "The catalog".

use std::sync::Arc;

use sampan_protocol::{ErrorCode, QueueId, Timestamp, check_queue_name};

use super::{Catalog, CatalogCommand, CatalogRecord, ClusterRecord, QueueState, name_key};
use crate::reply::{Refusal, Reply};

impl Catalog {
    pub(crate) fn carry_out(&mut self, command: &CatalogCommand, now: Timestamp) -> Reply {
        let result = match command {
            CatalogCommand::Create { .. } => self.create(command, now),
            CatalogCommand::Confirm { queue } => self.confirm(*queue),
            CatalogCommand::Set {
                account,
                name,
                changes,
            } => self.set(*account, name.as_str(), changes),
            CatalogCommand::Delete { account, name } => self.delete(*account, name.as_str()),
            CatalogCommand::Removed { queue } => return self.removed(*queue),
            other => {
                return self
                    .carry_out_of_cluster(other, now)
                    .unwrap_or_else(Reply::Refused);
            }
        };
        match result {
            Ok(record) => Reply::Catalog(record),
            Err(refusal) => Reply::Refused(refusal),
        }
    }

    /// The commands that are about nodes and sets.
    fn carry_out_of_cluster(
        &mut self,
        command: &CatalogCommand,
        now: Timestamp,
    ) -> Result<Reply, Refusal> {
        let format_version = self.layout.format_version();
        match command {
            CatalogCommand::NodeJoin(join) => {
                self.nodes.join(join, format_version, now).map(Reply::Node)
            }
            CatalogCommand::NodeDrain { node, is_draining } => {
                self.nodes.drain(*node, *is_draining).map(Reply::Node)
            }
            CatalogCommand::NodeLeave { node, incarnation } => {
                self.nodes.leave(*node, *incarnation).map(Reply::Node)
            }
            CatalogCommand::NodeReplaced { node, incarnation } => {
                self.layout.check_replacement(*node, &self.nodes)?;
                self.nodes.replaced(*node, *incarnation).map(Reply::Node)
            }
            CatalogCommand::NodeRemoved { node, incarnation } => {
                let record = self.nodes.record(*node);
                if record.is_some_and(|record| record.incarnation == *incarnation) {
                    self.layout.check_removal(*node)?;
                }
                self.nodes.removed(*node, *incarnation).map(|_| Reply::Done)
            }
            CatalogCommand::ClusterFound {
                cluster,
                set_count,
                replica_count,
                format_version,
            } => {
                let record = ClusterRecord {
                    cluster: *cluster,
                    set_count: *set_count,
                    replica_count: *replica_count,
                    format_version: *format_version,
                    founded_at: now,
                };
                self.layout.found(record).map(|()| Reply::Done)
            }
            CatalogCommand::ClusterFormat { format_version } => {
                let raised = self.layout.raise(*format_version, &self.nodes);
                raised.map(|()| Reply::Done)
            }
            CatalogCommand::SetPlace(record) => {
                self.layout.place(record, &self.nodes).map(|()| Reply::Done)
            }
            _ => Err(ErrorCode::Internal.into()),
        }
    }

    fn create(
        &mut self,
        command: &CatalogCommand,
        now: Timestamp,
    ) -> Result<CatalogRecord, Refusal> {
        let CatalogCommand::Create {
            account,
            name,
            attributes,
            set,
        } = command
        else {
            return Err(ErrorCode::Internal.into());
        };
        check_queue_name(name.as_str())?;
        if let Some(record) = self.find(*account, name.as_str()) {
            let is_settled = matches!(record.state, QueueState::Ready | QueueState::Changing);
            let code = if is_settled {
                ErrorCode::QueueAlreadyExists
            } else {
                ErrorCode::QueueBusy
            };
            return Err(code.into());
        }
        if self.records.len() >= sampan_protocol::limits::QUEUE_COUNT_MAX {
            return Err(ErrorCode::TooManyQueues.into());
        }
        self.check_dead_letter_queue(*account, None, attributes.dead_letter_queue)?;
        let queue = QueueId(self.next_queue);
        self.next_queue += 1;
        self.next_changed = true;
        let record = CatalogRecord {
            queue,
            name: name.as_str().to_owned(),
            account: *account,
            set: *set,
            attributes: *attributes,
            created_at: now,
            state: QueueState::Creating,
        };
        self.names.insert(name_key(*account, &record.name), queue);
        Ok(self.keep(record))
    }

    /// Stores the record as it is now and gives a copy of it.
    fn keep(&mut self, record: CatalogRecord) -> CatalogRecord {
        if record.state == QueueState::Ready {
            self.unfinished.remove(&record.queue);
        } else {
            self.unfinished.insert(record.queue);
        }
        self.changes.on_change(record.queue.0);
        self.records.insert(record.queue, Arc::new(record.clone()));
        record
    }

    /// The owning set has carried out a creation or a change.
    fn confirm(&mut self, queue: QueueId) -> Result<CatalogRecord, Refusal> {
        let record = self.record(queue).ok_or(ErrorCode::QueueNotFound)?.clone();
        match record.state {
            QueueState::Ready | QueueState::Deleting => Ok(record),
            QueueState::Creating | QueueState::Changing => Ok(self.keep(CatalogRecord {
                state: QueueState::Ready,
                ..record
            })),
        }
    }

    fn set(
        &mut self,
        account: u32,
        name: &str,
        changes: &sampan_protocol::AttributeChanges,
    ) -> Result<CatalogRecord, Refusal> {
        let record = self
            .find(account, name)
            .ok_or(ErrorCode::QueueNotFound)?
            .clone();
        let attributes = changes
            .applied_to(record.attributes)
            .map_err(|refused| Refusal::with_text(refused.code, refused.text))?;
        self.check_dead_letter_queue(account, Some(record.queue), attributes.dead_letter_queue)?;
        match record.state {
            QueueState::Ready => Ok(self.keep(CatalogRecord {
                attributes,
                state: QueueState::Changing,
                ..record
            })),
            QueueState::Changing if attributes == record.attributes => Ok(record),
            _ => Err(ErrorCode::QueueBusy.into()),
        }
    }

    fn delete(&mut self, account: u32, name: &str) -> Result<CatalogRecord, Refusal> {
        let record = self
            .find(account, name)
            .ok_or(ErrorCode::QueueNotFound)?
            .clone();
        match record.state {
            QueueState::Deleting => Ok(record),
            QueueState::Ready | QueueState::Changing => {
                if let Some(source) = self.sources_of(record.queue).next() {
                    let text = format!("it is the dead-letter queue of `{}`", source.name);
                    return Err(Refusal::with_text(ErrorCode::QueueIsBound, text));
                }
                Ok(self.keep(CatalogRecord {
                    state: QueueState::Deleting,
                    ..record
                }))
            }
            QueueState::Creating => Err(ErrorCode::QueueBusy.into()),
        }
    }

    /// The owning set has removed the queue, so its name is free again.
    fn removed(&mut self, queue: QueueId) -> Reply {
        let Some(record) = self.records.get(&queue) else {
            return Reply::Done;
        };
        if record.state != QueueState::Deleting {
            return Reply::Refused(ErrorCode::QueueBusy.into());
        }
        self.names.remove(&name_key(record.account, &record.name));
        self.unfinished.remove(&queue);
        self.records.remove(&queue);
        self.changes.on_removal(queue.0, true);
        Reply::Done
    }

    /// The queues that name `queue` as their dead-letter queue, and are not being deleted.
    fn sources_of(&self, queue: QueueId) -> impl Iterator<Item = &CatalogRecord> {
        let names_it =
            move |record: &&CatalogRecord| record.attributes.dead_letter_queue == queue.0;
        let records = self.records().filter(names_it);
        records.filter(|record| record.state != QueueState::Deleting)
    }

    /// Passes when a queue may have this dead-letter queue: one that is there, of the same account,
    /// not itself, and neither of them in the middle of a chain.
    fn check_dead_letter_queue(
        &self,
        account: u32,
        queue: Option<QueueId>,
        wanted: u64,
    ) -> Result<(), Refusal> {
        if wanted == 0 {
            return Ok(());
        }
        let refuse = |text: String| {
            let code = ErrorCode::InvalidDeadLetterQueue;
            Err(Refusal::with_text(code, text))
        };
        if queue == Some(QueueId(wanted)) {
            return refuse("a queue cannot be its own dead-letter queue".to_owned());
        }
        let target = self.record(QueueId(wanted));
        let is_usable = |state| matches!(state, QueueState::Ready | QueueState::Changing);
        let target = target.filter(|it| it.account == account && is_usable(it.state));
        let Some(target) = target else {
            return refuse(format!("there is no queue with the id {wanted}"));
        };
        if target.attributes.dead_letter_queue != 0 {
            let name = &target.name;
            return refuse(format!("`{name}` has a dead-letter queue itself"));
        }
        match queue.and_then(|queue| self.sources_of(queue).next()) {
            None => Ok(()),
            Some(source) => refuse(format!("it is the dead-letter queue of `{}`", source.name)),
        }
    }
}
