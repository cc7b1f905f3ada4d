//! The shares of the cores: each set with its store, its channels and what all sets share.
//!
//! Set `n` goes to core `n` modulo the number of cores, so neighbouring sets are on different
//! cores. The bounds that hold for all sets together are divided by their number here.
//!
//! Invariant: only set 0 gets the directory's publisher.

use std::sync::Arc;
use std::time::Duration;

use sampan_storage::log::Log;
use sampan_storage::store::{Recovered, Store};
use tokio::sync::mpsc;

use super::core_part::{CorePart, FirstCore};
use super::founding_mark;
use super::options::NodeOptions;
use super::set_part::{IntakePart, SetPart};
use crate::catalog::DirectoryPublisher;
use crate::clock::ClusterTime;
use crate::data_folder::{OpenError, folder_of_set, store_identity};
use crate::identity::Identity;
use crate::pace::Pace;
use crate::raft::payload::LogPayload;
use crate::reach::Reach;
use crate::repair::Repairer;
use crate::set::{CheckpointPolicy, Checkpointer, SetRequest, ToReplica};
use crate::suspicion::Suspicion;
use crate::view::View;

/// Old entries may be sent so much faster than snapshots: they cost the peer less, and while they
/// are on their way the log is kept.
const CATCH_UP_FACTOR: u64 = 2;

/// Bytes of messages in memory that all sets together may reach before they are written down.
const OVERLAY_LEN_DEFAULT: u64 = 128 * 1024 * 1024;
/// Bytes of log between two checkpoints, for all sets together.
const LOG_LEN_DEFAULT: u64 = 512 * 1024 * 1024;
/// Longest time between two checkpoints of a set that changes.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);

/// What each set receives: requests of this node, and messages of its peers. By number of the set.
pub(super) type SetReceivers = Vec<(mpsc::Receiver<SetRequest>, mpsc::Receiver<ToReplica>)>;

/// What all sets of a node share.
pub(super) struct SharedParts {
    pub(super) options: NodeOptions,
    pub(super) identity: Identity,
    pub(super) log: Log<LogPayload>,
    pub(super) time: Arc<ClusterTime>,
    pub(super) checkpointer: Checkpointer,
    pub(super) reach: Reach,
    pub(super) repairer: Repairer,
    pub(super) view: View,
    pub(super) suspicion: Suspicion,
    pub(super) publisher: Option<DirectoryPublisher>,
}

impl SharedParts {
    /// Spreads the sets over the cores; `first` goes to the first of them.
    pub(super) fn into_parts(
        mut self,
        stores: Vec<(Store, Recovered)>,
        channels: SetReceivers,
        first: FirstCore,
    ) -> Result<Vec<CorePart>, OpenError> {
        let is_founder = founding_mark::is_set(&*self.options.folder)
            .map_err(|error| OpenError::Io(self.options.folder.path(), error))?;
        let rate = self.options.snapshot_rate;
        let pace = Arc::new(Pace::new(rate));
        let catch_up_pace = Arc::new(Pace::new(rate.saturating_mul(CATCH_UP_FACTOR)));
        let core_count = self.options.core_count.max(1);
        let mut parts: Vec<_> = (0..core_count).map(|_| CorePart::default()).collect();
        parts[0].first = Some(first);
        let sets = self.identity.sets().zip(stores).zip(channels);
        for ((set, (store, recovered)), (requests, messages)) in sets {
            let folder = folder_of_set(&self.options.folder, set)
                .map_err(|error| OpenError::Io(self.options.folder.path(), error))?;
            parts[set.0 as usize % core_count].sets.push(SetPart {
                set,
                node: self.identity.node,
                incarnation: self.identity.incarnation,
                store,
                recovered,
                log: self.log.clone(),
                requests,
                messages,
                directory: self.publisher.take(),
                time: self.time.clone(),
                checkpointer: self.checkpointer.clone(),
                checkpoint_policy: policy(&self.options, u64::from(self.identity.set_count)),
                storage_full: self.options.storage_full.clone(),
                reach: self.reach.clone(),
                view: self.view.clone(),
                suspicion: self.suspicion.clone(),
                intake: IntakePart {
                    folder,
                    identity: store_identity(&self.identity, set),
                },
                pace: pace.clone(),
                catch_up_pace: catch_up_pace.clone(),
                repairer: self.repairer.clone(),
                is_founder,
            });
        }
        Ok(parts)
    }
}

fn policy(options: &NodeOptions, set_count: u64) -> CheckpointPolicy {
    CheckpointPolicy {
        overlay_len: options.overlay_len.unwrap_or(OVERLAY_LEN_DEFAULT) / set_count,
        log_len: LOG_LEN_DEFAULT / set_count,
        interval: CHECKPOINT_INTERVAL,
        log_kept_len: options.log_kept_len,
    }
}
