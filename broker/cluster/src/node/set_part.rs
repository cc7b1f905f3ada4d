//! One set on its core: its state, its consensus, its driver, and the task that serves its peers.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use openraft::Config;
use openraft::SnapshotPolicy;
use sampan_protocol::SetId;
use sampan_storage::log::Log;
use sampan_storage::store::{Recovered, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::StartError;
use crate::catalog::DirectoryPublisher;
use crate::clock::ClusterTime;
use crate::pace::Pace;
use crate::raft::log_store::LogStore;
use crate::raft::machine::StateMachine;
use crate::raft::network;
use crate::raft::payload::LogPayload;
use crate::raft::timing;
use crate::raft::types::SetRaft;
use crate::reach::Reach;
use crate::repair::Repairer;
use crate::set::{
    CheckpointPolicy, Checkpointer, Driver, DriverParts, Intake, LogGuard, Relay, Replica, Sender,
    SetRequest, SetState, ToReplica, dry_runs, redrive, relay, serve,
};
use crate::suspicion::{Suspicion, Voters};
use crate::view::View;

/// Pause between two looks at a set that is about to lead.
const LEAD_PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

/// What a set is started from, on its core's thread.
pub(super) struct SetPart {
    pub(super) set: SetId,
    pub(super) node: u64,
    pub(super) incarnation: u128,
    pub(super) store: Store,
    pub(super) recovered: Recovered,
    pub(super) log: Log<LogPayload>,
    pub(super) requests: mpsc::Receiver<SetRequest>,
    pub(super) messages: mpsc::Receiver<ToReplica>,
    pub(super) directory: Option<DirectoryPublisher>,
    pub(super) time: Arc<ClusterTime>,
    pub(super) checkpointer: Checkpointer,
    pub(super) checkpoint_policy: CheckpointPolicy,
    pub(super) storage_full: Arc<AtomicBool>,
    pub(super) reach: Reach,
    pub(super) view: View,
    pub(super) suspicion: Suspicion,
    pub(super) intake: IntakePart,
    /// For snapshots that this node sends.
    pub(super) pace: Arc<Pace>,
    /// For old entries that it sends.
    pub(super) catch_up_pace: Arc<Pace>,
    pub(super) repairer: Repairer,
    /// The node makes a new cluster.
    pub(super) is_founder: bool,
}

/// Where a set's incoming snapshots go.
pub(super) struct IntakePart {
    pub(super) folder: Arc<dyn sampan_storage::io::Folder>,
    pub(super) identity: sampan_storage::store::StoreIdentity,
}

impl SetPart {
    /// Starts the set. A set with a single voter leads and has replayed its log when this returns;
    /// others wait for their peers.
    pub(super) async fn start(self) -> Result<JoinHandle<()>, StartError> {
        let set = self.set;
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
        let config = raft_config(set, self.reach.peers().is_some()).validate();
        let config = Arc::new(config.map_err(|error| failed(&error))?);
        let machine = StateMachine::new(state.clone());
        let hard_state = self.suspicion.hard_state().clone();
        let log_store = LogStore::new(self.log.clone(), set, hard_state);
        let guard = LogGuard::new(self.reach.clone());
        let raft = match self.reach.peers().cloned() {
            None => SetRaft::new(self.node, config, network::Peers, log_store, machine).await,
            Some(peers) => {
                let sender = Sender {
                    set,
                    incarnation: self.incarnation,
                    store: state.borrow().reader(),
                    repairer: self.repairer.clone(),
                    transfers: state.borrow().transfers(),
                    pace: self.pace,
                };
                let network = network::PeerNetwork {
                    peers,
                    set,
                    guard: Rc::new(guard.clone()),
                    snapshots: Rc::new(Rc::new(sender)),
                    catch_up_pace: self.catch_up_pace,
                };
                SetRaft::new(self.node, config, network, log_store, machine).await
            }
        };
        let raft = raft.map_err(|error| failed(&error))?;
        guard.bind(raft.clone());
        let found = found(&raft, self.node, self.is_founder, &self.suspicion, set);
        let is_alone = found.await.map_err(|error| failed(&error))?;
        let replica = Replica {
            node: self.node,
            set,
            raft: raft.clone(),
            state: state.clone(),
            log: self.log,
            handle: self.reach.set(set).map_err(|error| failed(&error))?.clone(),
            reach: self.reach.clone(),
            view: self.view,
            suspicion: self.suspicion.clone(),
            time: self.time.clone(),
            intake: Intake::new(self.intake.folder, self.intake.identity),
        };
        tokio::task::spawn_local(serve(replica, self.messages));
        let relay_parts = Relay {
            set,
            state: state.clone(),
            reach: self.reach.clone(),
            repairer: self.repairer,
        };
        tokio::task::spawn_local(redrive(relay_parts.clone()));
        tokio::task::spawn_local(dry_runs(relay_parts.clone()));
        tokio::task::spawn_local(relay(relay_parts));
        #[cfg(feature = "next-version")]
        tokio::task::spawn_local(crate::set::write_notes(self.reach.clone(), set));
        let driver = Driver::new(DriverParts {
            node: self.node,
            set,
            state,
            raft,
            requests: self.requests,
            time: self.time,
            checkpointer: self.checkpointer,
            checkpoint_policy: self.checkpoint_policy,
            storage_full: self.storage_full,
            board: self.reach.board.clone(),
            suspicion: self.suspicion,
        });
        let driver = tokio::task::spawn_local(driver.run());
        while is_alone && !self.reach.leads(set) && !driver.is_finished() {
            tokio::time::sleep(LEAD_PAUSE).await;
        }
        Ok(driver)
    }
}

/// Makes the set one of this node alone when a cluster is founded. The only voter elects itself at
/// once instead of waiting for an election timeout, and replays. Returns whether it is the only
/// one.
async fn found(
    raft: &SetRaft,
    node: u64,
    is_founder: bool,
    suspicion: &Suspicion,
    set: SetId,
) -> Result<bool, Box<dyn std::error::Error>> {
    let is_new = is_founder && !raft.is_initialized().await?;
    if is_new {
        let members = std::collections::BTreeMap::from([(node, openraft::BasicNode::new(""))]);
        raft.initialize(members).await?;
    }
    let voters = Voters::effective(raft).await?;
    let is_alone = voters.are_only(node);
    let suspicion = suspicion.clone();
    let compared = tokio::task::spawn_blocking(move || {
        let is_known = compare_voters(&suspicion, set, &voters)?;
        if is_alone && is_known {
            // All voters are here, and this one's log is the longest.
            suspicion.absolve(set)?;
        }
        std::io::Result::Ok(is_known)
    });
    let is_known = compared.await??;
    if !is_alone || !is_known {
        return Ok(false);
    }
    if !is_new {
        raft.trigger().elect(false).await?;
    }
    raft.wait(None)
        .current_leader(node, "the only voter leads")
        .await?;
    let read = raft
        .get_read_linearizer(openraft::ReadPolicy::ReadIndex)
        .await?;
    read.await_ready(raft).await?;
    Ok(true)
}

/// Whether the log knows the newest voters that this node heard of. One that does not may have lost
/// its end, whatever else was found out about it or said by an operator.
fn compare_voters(suspicion: &Suspicion, set: SetId, voters: &Voters) -> std::io::Result<bool> {
    let hard_state = suspicion.hard_state();
    let Some(newer) = hard_state.newer_than(set, voters) else {
        if !voters.nodes().is_empty() {
            hard_state.note_voters(set, voters)?;
        }
        return Ok(true);
    };
    tracing::error!(%set, here = ?voters, known = ?newer, "the log lacks a change of voters");
    suspicion.raise([set])?;
    Ok(false)
}

fn raft_config(set: SetId, has_peers: bool) -> Config {
    let config = Config {
        cluster_name: format!("set-{set}"),
        snapshot_policy: SnapshotPolicy::Never,
        // The log is purged by what peers need of it, never by openraft itself.
        max_in_snapshot_log_to_keep: u64::MAX,
        purge_batch_size: 1,
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        // Not before it is known whether the replica is suspect.
        enable_elect: false,
        ..Config::default()
    };
    match has_peers {
        true => Config {
            heartbeat_interval: timing::HEARTBEAT_INTERVAL_MS,
            election_timeout_min: timing::ELECTION_TIMEOUT_MIN_MS,
            election_timeout_max: timing::ELECTION_TIMEOUT_MAX_MS,
            ..config
        },
        // openraft wakes several times per heartbeat. The only voter has nobody to send one to and
        // elects itself when it starts, so these only cost.
        false => Config {
            heartbeat_interval: 1_000,
            election_timeout_min: 5_000,
            election_timeout_max: 8_000,
            ..config
        },
    }
}
