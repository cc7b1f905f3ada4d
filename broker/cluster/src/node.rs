//! A node: its log, its sets spread over its cores, its catalog.
//!
//! [`Node::open`] takes the data folder up on the calling thread: it may read for a while. Each
//! core thread then takes its share ([`Node::take_core`]) and runs it in its own runtime. From then
//! on a set is touched by its core's thread only; everybody else asks it through its
//! [`SetHandle`](crate::SetHandle).
//!
//! The data folder: `node` (identity), `log/`, `set-NNNN/`. Spec: spec/storage.md.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use openraft::{BasicNode, Config, SnapshotPolicy};
use sampan_protocol::SetId;
use sampan_storage::io::{Folder, FolderLock};
use sampan_storage::log::{Log, LogError, LogOptions};
use sampan_storage::store::{Reader, Recovered, Store};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::catalog::{Catalog, Coordinator, Directory, DirectoryPublisher};
use crate::clock::TimeSource;
use crate::data_folder::{DataFolder, OpenError};
use crate::identity::Identity;
use crate::raft::log_store::LogStore;
use crate::raft::machine::StateMachine;
use crate::raft::network::Peers;
use crate::raft::payload::LogPayload;
use crate::raft::types::SetRaft;
use crate::set::{
    CheckpointPolicy, Checkpointer, Driver, DriverParts, OpenStateError, SetHandle, SetRequest,
    SetState,
};

/// The one node of a cluster of one.
const NODE_ID: u64 = 1;
/// Bytes of messages in memory that all sets together may reach before they are written down.
const OVERLAY_LEN_DEFAULT: u64 = 128 * 1024 * 1024;
/// Bytes of the newest entries that the log keeps in memory. One voter reads each of them once,
/// soon after it was appended.
const LOG_CACHE_LEN: usize = 16 * 1024 * 1024;
/// Bytes of log between two checkpoints, for all sets together.
const LOG_LEN_DEFAULT: u64 = 512 * 1024 * 1024;
/// Longest time between two checkpoints of a set that changes.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);

/// What a node needs to know.
pub struct NodeOptions {
    /// The data folder.
    pub folder: Arc<dyn Folder>,
    /// How many sets, when the folder is new. A folder that has sets keeps its number.
    pub set_count: u32,
    /// How many cores share them.
    pub core_count: usize,
    /// Where time comes from.
    pub time: Arc<dyn TimeSource>,
    /// Draws the secret of a new queue's receipt handles, and a new cluster's id.
    pub random: fn() -> u64,
    /// Set by whoever watches the disk: sends are refused while it is.
    pub storage_full: Arc<AtomicBool>,
    /// Bytes of messages in memory; `None` for the default.
    pub overlay_len: Option<u64>,
}

/// Why a core could not start its sets.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state in the store does not fit together.
    #[error("state of set {0}")]
    State(SetId, #[source] OpenStateError),
    /// openraft did not start.
    #[error("consensus of set {0}: {1}")]
    Raft(SetId, String),
}

/// A node that is open. Shared by all threads.
pub struct Node {
    identity: Identity,
    /// Held for as long as the node is open.
    lock: FolderLock,
    log: Log<LogPayload>,
    sets: Vec<SetHandle>,
    readers: Vec<Reader>,
    directory: watch::Receiver<Arc<Directory>>,
    catalog: Catalog,
}

/// The share of one core: started on the core's own thread.
pub struct CorePart {
    sets: Vec<SetPart>,
    coordinator: Option<Coordinator>,
}

struct SetPart {
    set: SetId,
    node: u64,
    store: Store,
    recovered: Recovered,
    log: Log<LogPayload>,
    requests: mpsc::Receiver<SetRequest>,
    directory: Option<DirectoryPublisher>,
    time: Arc<dyn TimeSource>,
    checkpointer: Checkpointer,
    checkpoint_policy: CheckpointPolicy,
    storage_full: Arc<AtomicBool>,
}

impl Node {
    /// Opens the data folder, or makes a new one. Returns the node and each core's share.
    ///
    /// # Errors
    ///
    /// What is wrong with which file; the folder is left as it was.
    pub fn open(options: NodeOptions) -> Result<(Node, Vec<CorePart>), OpenError> {
        let fresh = Identity::new(NODE_ID, options.random, options.set_count);
        let log_options = LogOptions {
            cache_len_max: LOG_CACHE_LEN,
            ..LogOptions::default()
        };
        let DataFolder {
            identity,
            lock,
            log,
            stores,
        } = DataFolder::open(&options.folder, fresh, log_options)?;
        let io = |error| OpenError::Io(options.folder.path(), error);
        let set_count = identity.set_count as usize;
        let checkpointer = Checkpointer::start(set_count).map_err(io)?;
        let (publisher, directory) = watch::channel(Arc::new(Directory::default()));
        let mut publisher = Some(DirectoryPublisher::new(publisher));
        let (mut sets, mut readers) = (Vec::new(), Vec::new());
        let mut parts: Vec<_> = (0..options.core_count)
            .map(|_| CorePart {
                sets: Vec::new(),
                coordinator: None,
            })
            .collect();
        for (set, (store, recovered)) in identity.sets().zip(stores) {
            let (handle, requests) = SetHandle::new(set);
            sets.push(handle);
            readers.push(store.reader());
            parts[set.0 as usize % options.core_count]
                .sets
                .push(SetPart {
                    set,
                    node: identity.node,
                    store,
                    recovered,
                    log: log.clone(),
                    requests,
                    directory: publisher.take(),
                    time: options.time.clone(),
                    checkpointer: checkpointer.clone(),
                    checkpoint_policy: policy(&options, u64::from(identity.set_count)),
                    storage_full: options.storage_full.clone(),
                });
        }
        let (catalog, coordinator) =
            Coordinator::new(sets.clone(), directory.clone(), options.random);
        parts[0].coordinator = Some(coordinator);
        Ok((
            Node {
                identity,
                lock,
                log,
                sets,
                readers,
                directory,
                catalog,
            },
            parts,
        ))
    }

    /// This node's number in its cluster.
    pub fn id(&self) -> u64 {
        self.identity.node
    }

    /// All sets by number.
    pub fn sets(&self) -> &[SetHandle] {
        &self.sets
    }

    /// Reads bodies of a set from its segment files, blocking.
    pub fn reader(&self, set: SetId) -> Option<&Reader> {
        self.readers.get(set.0 as usize)
    }

    /// The queues by name; a new one arrives with each change.
    pub fn directory(&self) -> watch::Receiver<Arc<Directory>> {
        self.directory.clone()
    }

    /// Creates, changes and deletes queues.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Answers what waits, finishes what is in hand, and stops every set.
    pub async fn drain(&self) {
        let mut waiting = Vec::new();
        for set in &self.sets {
            let (done, drained) = oneshot::channel();
            if set.request(SetRequest::Drain(done)).await.is_ok() {
                waiting.push(drained);
            }
        }
        for drained in waiting {
            // A set whose driver is gone has nothing left to finish.
            drop(drained.await);
        }
    }

    /// Closes the log. Blocks for one sync. Call it when every set has stopped.
    ///
    /// # Errors
    ///
    /// The log's last sync failed; everything acknowledged was synced before.
    pub fn close(self) -> Result<(), LogError> {
        let closed = self.log.close();
        drop(self.lock);
        closed
    }
}

fn policy(options: &NodeOptions, set_count: u64) -> CheckpointPolicy {
    CheckpointPolicy {
        overlay_len: options.overlay_len.unwrap_or(OVERLAY_LEN_DEFAULT) / set_count,
        log_len: LOG_LEN_DEFAULT / set_count,
        interval: CHECKPOINT_INTERVAL,
    }
}

impl CorePart {
    /// Starts the core's sets. Call it inside the core's `LocalSet`.
    ///
    /// Returns when every set leads and has replayed the log.
    ///
    /// # Errors
    ///
    /// Which set did not start, and why.
    pub async fn start(self) -> Result<Vec<JoinHandle<()>>, StartError> {
        let mut drivers = Vec::new();
        for part in self.sets {
            drivers.push(part.start().await?);
        }
        if let Some(coordinator) = self.coordinator {
            tokio::task::spawn_local(coordinator.run());
        }
        Ok(drivers)
    }
}

impl SetPart {
    async fn start(self) -> Result<JoinHandle<()>, StartError> {
        let (set, node) = (self.set, self.node);
        let state = SetState::open(
            set,
            self.log.clone(),
            self.store,
            self.recovered,
            self.directory,
        )
        .map_err(|error| StartError::State(set, error))?;
        let state = Rc::new(RefCell::new(state));
        let failed = |error: &dyn std::fmt::Display| StartError::Raft(set, error.to_string());
        let config = raft_config(set)
            .validate()
            .map_err(|error| failed(&error))?;
        let machine = StateMachine::new(state.clone());
        let log_store = LogStore::new(self.log, set);
        let raft = SetRaft::new(node, Arc::new(config), Peers, log_store, machine)
            .await
            .map_err(|error| failed(&error))?;
        take_lead(&raft, node)
            .await
            .map_err(|error| failed(&error))?;
        let driver = Driver::new(DriverParts {
            set,
            state,
            raft,
            requests: self.requests,
            time: self.time,
            checkpointer: self.checkpointer,
            checkpoint_policy: self.checkpoint_policy,
            storage_full: self.storage_full,
        });
        Ok(tokio::task::spawn_local(driver.run()))
    }
}

/// The only voter elects itself at once instead of waiting for an election timeout, and replays.
async fn take_lead(raft: &SetRaft, node: u64) -> Result<(), Box<dyn std::error::Error>> {
    if !raft.is_initialized().await? {
        raft.initialize(BTreeMap::from([(node, BasicNode::new(""))]))
            .await?;
    } else {
        raft.trigger().elect(false).await?;
    }
    raft.wait(None)
        .current_leader(node, "the only voter leads")
        .await?;
    let read = raft
        .get_read_linearizer(openraft::ReadPolicy::ReadIndex)
        .await?;
    read.await_ready(raft).await?;
    Ok(())
}

fn raft_config(set: SetId) -> Config {
    Config {
        cluster_name: format!("set-{set}"),
        // openraft wakes ten times per heartbeat. The only voter has nobody to send one to and
        // elects itself when it starts, so these only cost.
        heartbeat_interval: 1_000,
        election_timeout_min: 5_000,
        election_timeout_max: 8_000,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        purge_batch_size: 1,
        enable_pre_vote: Some(true),
        ..Config::default()
    }
}
