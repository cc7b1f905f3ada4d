//! Makes the restored stores those of one cluster again: of a new one, of one node.
//!
//! The snapshots were taken one after the other, so a queue may have been created, changed or
//! deleted in between. The catalog decides, as it always does: what it does not know goes; what it
//! has as ready, and the set does not have or has otherwise, is made so, empty if it is lost. What
//! was under way when the catalog was saved its leader finishes after the start.
//!
//! What set 0 knows of nodes, placement and the cluster itself is dropped: the restored node founds
//! a new cluster, as on an empty folder, and no node of the old one belongs to it.
//!
//! Invariant: messages of queues that catalog and set agree on are not touched.
//! Spec: spec/storage.md, "Backup".

use std::collections::{BTreeMap, BTreeSet};

use openraft::BasicNode;
use sampan_core::{Broker, CatalogRecord, Command, Effect, Entry, QueueState, Reply, RowKey};
use sampan_protocol::{QueueId, SetId};
use sampan_storage::log::LogId;
use sampan_storage::store::{Recovered, Store};

use super::error::RestoreError;
use crate::raft::types::{Membership, StoredMembership, from_stored};
use crate::set::encode_stored_membership;

/// Most commands in one entry of a set that is brought to what the catalog says.
const SETTLE_COMMAND_COUNT_MAX: usize = 256;

/// What all sets of a restored folder are brought to.
pub(super) struct Settlement {
    pub(super) node: u64,
    /// The queues of the catalog, by id.
    pub(super) records: BTreeMap<QueueId, CatalogRecord>,
    /// Draws the secrets of queues that are made again.
    pub(super) random: fn() -> u64,
}

impl Settlement {
    /// Brings the store of `set` to what the catalog says, in one checkpoint.
    pub(super) fn settle(
        &self,
        set: SetId,
        store: &mut Store,
        recovered: Recovered,
        applied: LogId,
    ) -> Result<(), RestoreError> {
        let failed = |error| RestoreError::Store(set, error);
        let (gone, rows): (Vec<_>, Vec<_>) = recovered
            .rows
            .into_iter()
            .partition(|(key, _)| is_of_old_cluster(*key));
        let broker = Broker::restore(rows);
        let mut broker = broker.map_err(|error| RestoreError::Rows(set, error))?;
        let commands = self.commands(set, &broker);
        for commands in commands.chunks(SETTLE_COMMAND_COUNT_MAX) {
            self.carry_out(set, store, &mut broker, commands.to_vec())?;
        }
        let rows = broker.freeze().into_rows();
        let rows = rows.chain(gone.into_iter().map(|(key, _)| (key, None)));
        let job = store.begin_checkpoint(applied, self.membership(applied), rows);
        let outcome = job.map_err(failed)?.run();
        store.finish_checkpoint(outcome).map_err(failed).map(drop)
    }

    /// What the set has to do to be as the catalog says.
    fn commands(&self, set: SetId, broker: &Broker) -> Vec<Command> {
        let here: BTreeSet<QueueId> = broker.queues().collect();
        let unknown = here.iter().filter(|queue| {
            self.records
                .get(queue)
                .is_none_or(|record| record.set != set)
        });
        let mut commands: Vec<Command> = unknown
            .map(|queue| Command::QueueDelete { queue: *queue })
            .collect();
        // The backup held them itself.
        let held = broker.settlements_held_by();
        commands.extend(held.map(|token| Command::HoldSettlements { token, for_ms: 0 }));
        let own = self.records.values().filter(|record| record.set == set);
        for record in own {
            let queue = record.queue;
            let attributes = record.attributes;
            match (record.state, broker.attributes(queue)) {
                (QueueState::Ready | QueueState::Changing, None) => {
                    commands.push(Command::QueueCreate {
                        queue,
                        name: record.name.clone(),
                        attributes,
                        secret: (self.random)(),
                    });
                }
                (QueueState::Ready, Some(found)) if *found != attributes => {
                    commands.push(Command::QueueSet { queue, attributes });
                }
                _ => {}
            }
        }
        commands
    }

    fn carry_out(
        &self,
        set: SetId,
        store: &mut Store,
        broker: &mut Broker,
        commands: Vec<Command>,
    ) -> Result<(), RestoreError> {
        let (mut effects, mut replies) = (Vec::new(), Vec::new());
        let entry = Entry {
            stamp: broker.now(),
            commands,
            ..Entry::default()
        };
        while let Err(need) = broker.apply(&entry, &mut effects, &mut replies) {
            let rows = store.reader().read_rows(&need.0);
            for (key, row) in rows.map_err(|error| RestoreError::Store(set, error))? {
                let row = row.unwrap_or_default();
                let supplied = broker.supply(key, &row);
                supplied.map_err(|error| RestoreError::Rows(set, error))?;
            }
        }
        for reply in replies {
            if let Reply::Refused(refusal) = reply {
                let text = refusal.text;
                let text = text.unwrap_or_else(|| refusal.code.text().to_owned());
                return Err(RestoreError::Refused(set, text));
            }
        }
        for effect in effects {
            match effect {
                Effect::Removed {
                    queue,
                    first,
                    count,
                } => store.remove(queue, first, count),
                Effect::QueueRemoved { queue } => store.remove_queue(queue),
                // None of these commands stores a message, and nobody waits for any.
                Effect::Stored { .. }
                | Effect::Ready { .. }
                | Effect::Letters { .. }
                | Effect::Redrive { .. }
                | Effect::CatalogChanged => {}
            }
        }
        Ok(())
    }

    /// This node alone votes, from the entry that was applied last.
    fn membership(&self, applied: LogId) -> Vec<u8> {
        let nodes = BTreeMap::from([(self.node, BasicNode::new(""))]);
        let membership = Membership::new(vec![BTreeSet::from([self.node])], nodes)
            .expect("its only voter is among its nodes");
        let stored = StoredMembership::new(Some(from_stored(applied)), membership);
        encode_stored_membership(&stored)
    }
}

fn is_of_old_cluster(key: RowKey) -> bool {
    matches!(
        key.kind,
        RowKey::CLUSTER | RowKey::NODE | RowKey::RETIRED | RowKey::PLACEMENT
    )
}

#[cfg(test)]
mod tests;
