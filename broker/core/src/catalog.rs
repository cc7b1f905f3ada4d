//! The catalog of set 0: which queues there are, what they are called, and which set holds each.
//!
//! The catalog decides, the owning set follows: a change is written here first, the record then is
//! unfinished until the owning set has carried it out and somebody confirms it. Every step may be
//! repeated, so whoever leads the catalog finishes what a crash left, from [`Catalog::unfinished`].
//!
//! Names are unique per account without regard to ASCII case; queue ids are never given twice.
//!
//! Invariants: `names` has exactly one element per record; `unfinished` has exactly the records
//! that are not ready. Spec: spec/semantics.md, "The catalog".

mod command;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sampan_protocol::{ErrorCode, QueueId, Timestamp, check_queue_name};

pub use command::CatalogCommand;
pub use record::{CatalogRecord, QueueState};

use crate::fields::{FieldError, Fields};
use crate::frozen::FrozenRow;
use crate::reply::{Refusal, Reply};
use crate::row_changes::RowChanges;
use crate::row_key::RowKey;

const VERSION: u8 = 1;

/// A name as it is compared: per account, in lower case.
type NameKey = (u32, String);

/// The records of all queues of a cluster. Empty in every set but 0.
#[derive(Debug)]
pub struct Catalog {
    records: BTreeMap<QueueId, Arc<CatalogRecord>>,
    names: BTreeMap<NameKey, QueueId>,
    unfinished: BTreeSet<QueueId>,
    /// The id that the next queue gets; from 1.
    next_queue: u64,
    next_changed: bool,
    changes: RowChanges,
}

/// What of the catalog is not a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CatalogRow {
    next_queue: u64,
}

impl CatalogRow {
    pub(crate) fn encode(self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.extend_from_slice(&self.next_queue.to_le_bytes());
    }
}

fn name_key(account: u32, name: &str) -> NameKey {
    (account, name.to_ascii_lowercase())
}

impl Catalog {
    pub(crate) fn new() -> Self {
        Catalog {
            records: BTreeMap::new(),
            names: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            next_queue: 1,
            next_changed: false,
            changes: RowChanges::default(),
        }
    }

    /// How many queues there are, finished or not.
    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// The record of a queue id.
    pub fn record(&self, queue: QueueId) -> Option<&CatalogRecord> {
        self.records.get(&queue).map(Arc::as_ref)
    }

    /// The record of a name, letter case aside.
    pub fn find(&self, account: u32, name: &str) -> Option<&CatalogRecord> {
        let queue = self.names.get(&name_key(account, name))?;
        self.record(*queue)
    }

    /// The records of an account whose names begin with `prefix` and come behind `after`, in the
    /// order of their names; letter case aside.
    pub fn list<'a>(
        &'a self,
        account: u32,
        prefix: &str,
        after: &str,
    ) -> impl Iterator<Item = &'a CatalogRecord> + 'a {
        let (_, prefix) = name_key(account, prefix);
        let after = name_key(account, after);
        let from = after.clone().max((account, prefix.clone()));
        self.names
            .range(from..)
            .take_while(move |((owner, name), _)| *owner == account && name.starts_with(&prefix))
            .filter(move |(key, _)| after.1.is_empty() || **key > after)
            .filter_map(|(_, queue)| self.record(*queue))
    }

    /// Every record, in the order of the queue ids.
    pub fn records(&self) -> impl Iterator<Item = &CatalogRecord> + '_ {
        self.records.values().map(Arc::as_ref)
    }

    /// The records whose last change the owning set may not have carried out yet.
    pub fn unfinished(&self) -> impl Iterator<Item = &CatalogRecord> + '_ {
        self.unfinished
            .iter()
            .filter_map(|queue| self.record(*queue))
    }

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
        };
        match result {
            Ok(record) => Reply::Catalog(record),
            Err(refusal) => Reply::Refused(refusal),
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
            QueueState::Ready | QueueState::Changing => Ok(self.keep(CatalogRecord {
                state: QueueState::Deleting,
                ..record
            })),
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

    pub(crate) fn freeze(&mut self, rows: &mut Vec<(RowKey, FrozenRow)>) {
        if std::mem::take(&mut self.next_changed) {
            let key = RowKey {
                queue: QueueId(0),
                kind: RowKey::CATALOG,
                number: 0,
            };
            rows.push((
                key,
                FrozenRow::Catalog(CatalogRow {
                    next_queue: self.next_queue,
                }),
            ));
        }
        let key = |queue| RowKey {
            queue: QueueId(queue),
            kind: RowKey::RECORD,
            number: 0,
        };
        let (changed, gone) = self.changes.take();
        rows.extend(gone.into_iter().map(|queue| (key(queue), FrozenRow::Gone)));
        for queue in changed {
            let record = self.records.get(&QueueId(queue));
            let record = record.expect("what is listed as changed exists");
            rows.push((key(queue), FrozenRow::Record(Arc::clone(record))));
        }
    }

    pub(crate) fn restore(&mut self, row: &[u8]) -> Result<(), FieldError> {
        let mut fields = Fields::new(row);
        fields.version(VERSION)?;
        self.next_queue = fields.u64()?;
        fields.end()
    }

    pub(crate) fn restore_record(&mut self, queue: QueueId, row: &[u8]) -> Result<(), FieldError> {
        let record = CatalogRecord::decode(queue, row)?;
        let key = name_key(record.account, &record.name);
        if queue.0 >= self.next_queue || self.names.insert(key, queue).is_some() {
            return Err(FieldError::Range);
        }
        if record.state != QueueState::Ready {
            self.unfinished.insert(queue);
        }
        self.records.insert(queue, Arc::new(record));
        Ok(())
    }
}
