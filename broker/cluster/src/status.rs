//! What a node can say of its cluster and itself: for operators, health checks and metrics.
//!
//! Plain data, gathered from what the node's sets publish and from what its peers tell it several
//! times a second. None of it decides anything.

use sampan_protocol::{QueueCounts, SetId, Timestamp};

/// What an operator asks of the cluster. Any node takes any of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterRequest {
    /// Make a cluster of this node alone; others join it.
    Init {
        /// How many sets, 1 to 256; `None`: as the node is configured, or the default.
        set_count: Option<u32>,
    },
    /// Describe nodes and sets.
    Status,
    /// Bring a node in that listens at a peer address and belongs to no cluster yet.
    AddNode {
        /// Its peer address.
        address: String,
    },
    /// Take a node out for good. Refused when that would lose a majority.
    RemoveNode {
        /// The node.
        node: u64,
    },
    /// A node's data folder is lost: let a fresh one in under the same id, or another node in its
    /// place.
    ReplaceNode {
        /// The node that is lost.
        node: u64,
        /// The node that takes its place; `None` for the same id with a fresh folder.
        with: Option<u64>,
    },
    /// Move leaders away from a node, or stop doing so.
    Drain {
        /// The node.
        node: u64,
        /// Whether it is to lead again.
        undo: bool,
    },
    /// Whether every set keeps its majority without a node.
    CanStop {
        /// The node.
        node: u64,
    },
    /// Hand a set's leadership over.
    TransferLeader {
        /// The set.
        set: SetId,
        /// The node that is to lead.
        to: u64,
    },
    /// Let leaders write the newest format that all nodes read. No node goes back after that.
    FinishUpgrade,
    /// Write a backup of the whole cluster, on the node that is asked.
    Backup {
        /// The whole path of a folder that is new or empty.
        folder: String,
    },
    /// Spread leaders over the nodes again.
    Rebalance {
        /// Only say what would be done.
        dry_run: bool,
    },
}

/// What came of a [`ClusterRequest`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterReply {
    /// It is done, or decided and on its way.
    Done,
    /// Nodes and sets.
    Status(ClusterStatus),
    /// Whether a node can be stopped.
    CanStop(CanStop),
    /// What was moved, or would be.
    Moves(Vec<LeaderMove>),
    /// The backup that was written.
    Backup(BackupSummary),
}

/// A backup that is complete and synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupSummary {
    /// Where it is, on the node that was asked.
    pub folder: String,
    /// The entry of the catalog that it goes up to.
    pub catalog_index: u64,
    /// How many sets it has.
    pub set_count: usize,
    /// Bytes of messages in it, about.
    pub len: u64,
}

/// Whether a node can be stopped without a set losing its majority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanStop {
    /// Whether it can.
    pub can_stop: bool,
    /// Why not; empty when it can.
    pub reason: String,
}

/// One leader that goes elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderMove {
    /// The set.
    pub set: SetId,
    /// Who leads it now.
    pub from: u64,
    /// Who is to lead it.
    pub to: u64,
}

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterStatus {
    /// The cluster's id; `None` for a node that belongs to none yet.
    pub cluster: Option<u128>,
    /// The format version that leaders may write; `None` while unknown.
    pub format_version: Option<u16>,
    /// The node that says so.
    pub this_node: u64,
    /// All nodes, by id.
    pub nodes: Vec<NodeStatus>,
    /// All sets, by number.
    pub sets: Vec<SetStatus>,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its id.
    pub node: u64,
    /// Where its peers reach it.
    pub peer_address: String,
    /// Where clients reach it.
    pub client_address: String,
    /// Its failure zone; may be empty.
    pub zone: String,
    /// Whether leaders are moved away from it.
    pub is_draining: bool,
    /// Whether this node is connected to it (true for itself).
    pub is_connected: bool,
    /// The release it runs; empty while unknown.
    pub version: String,
    /// The highest format version that it reads; 0 while unknown.
    pub format_version_max: u16,
    /// How far its wall clock is ahead of this node's, in milliseconds.
    pub clock_offset_ms: i64,
}

/// One set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetStatus {
    /// Its number.
    pub set: SetId,
    /// Who leads it, as far as this node knows.
    pub leader: Option<u64>,
    /// The term of that.
    pub term: u64,
    /// Who votes.
    pub voters: Vec<u64>,
    /// Who follows without a vote.
    pub learners: Vec<u64>,
    /// The last entry that the leader has applied.
    pub applied_index: u64,
    /// Replicas by node: how many entries each is behind the leader's log.
    pub replicas: Vec<ReplicaStatus>,
}

/// One replica of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// The node.
    pub node: u64,
    /// Entries of the leader's log that its own does not have yet; `None` while nothing is known.
    pub lag: Option<u64>,
    /// Whether it may have lost entries that it once confirmed, and so does not vote.
    pub is_suspect: bool,
}

/// Whether a node can do its work, with the reason when it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Yes,
    /// It cannot, and why.
    No(String),
}

/// Figures of one node, for a monitoring system.
#[derive(Clone, Debug, Default)]
pub struct NodeMetrics {
    /// Every set that the node holds a replica of.
    pub sets: Vec<SetMetrics>,
    /// Every queue whose set this node leads, and its counts.
    pub queues: Vec<QueueMetrics>,
    /// The log's figures.
    pub log: LogMetrics,
    /// Replicas whose state hash differed from the leader's at the same index, since the start.
    pub state_hash_mismatch_count: u64,
    /// How far the wall clock is from the median of the cluster's, in milliseconds.
    pub clock_offset_ms: i64,
    /// Messages that were found damaged in a file here, since the start.
    pub damaged_body_count: u64,
    /// Of these, messages that another replica gave.
    pub repaired_body_count: u64,
}

/// Figures of one set on one node.
#[derive(Clone, Debug, Default)]
pub struct SetMetrics {
    /// The set.
    pub set: SetId,
    /// `leader`, `candidate`, `follower`, `learner` or `stopped`.
    pub role: &'static str,
    /// Its term.
    pub term: u64,
    /// The last entry applied here.
    pub applied_index: u64,
    /// Entries known to exist that are not applied here.
    pub lag: u64,
    /// Whether this replica does not vote because it may have lost entries.
    pub is_suspect: bool,
    /// Bytes of messages in memory.
    pub overlay_len: u64,
    /// When its latest checkpoint began, in milliseconds since the Unix epoch; 0 before the first.
    pub checkpoint_begun_ms: u64,
    /// When one last ended, well or not, likewise. One is running while this is the earlier.
    pub checkpoint_ended_ms: u64,
}

/// Counts of one queue.
#[derive(Clone, Debug)]
pub struct QueueMetrics {
    /// Its name.
    pub name: String,
    /// The set that holds it.
    pub set: SetId,
    /// How many messages are in which state.
    pub counts: QueueCounts,
    /// The set's time, by which ages are counted.
    pub now: Timestamp,
}

/// Figures of a node's log since it was opened.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogMetrics {
    /// Bytes of entries appended and written.
    pub appended_len: u64,
    /// Syncs.
    pub sync_count: u64,
    /// Time spent writing and syncing, in microseconds.
    pub sync_micros: u64,
    /// Bytes of files in use.
    pub used_len: u64,
}
