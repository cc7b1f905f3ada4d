//! What a node needs to know before it starts.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sampan_storage::io::Folder;

use crate::clock::TimeSource;
use crate::peer::Transport;

/// Bytes of the newest log files that are kept for peers that paused: 2 GiB.
pub const LOG_KEPT_LEN_DEFAULT: u64 = 2 * 1024 * 1024 * 1024;
/// Bytes per second at which a node sends snapshots, all together: 32 MiB.
pub const SNAPSHOT_RATE_DEFAULT: u64 = 32 * 1024 * 1024;

/// What a node needs to know.
#[derive(Clone)]
pub struct NodeOptions {
    /// Its number in its cluster, from 1. A folder that has an identity must have the same.
    pub node: u64,
    /// The data folder.
    pub folder: Arc<dyn Folder>,
    /// How many sets a new cluster gets when its operator names no number; `None` for the default.
    /// A folder that has sets keeps its number.
    pub set_count: Option<u32>,
    /// How many cores share them.
    pub core_count: usize,
    /// Where time comes from.
    pub time: Arc<dyn TimeSource>,
    /// Draws the secret of a new queue's receipt handles, and ids.
    pub random: fn() -> u64,
    /// Set by whoever watches the disk: sends are refused while it is.
    pub storage_full: Arc<AtomicBool>,
    /// Bytes of messages in memory; `None` for the default.
    pub overlay_len: Option<u64>,
    /// Bytes of the newest log files that are kept for peers that paused.
    pub log_kept_len: u64,
    /// Bytes per second at which snapshots are sent, all together.
    pub snapshot_rate: u64,
    /// Where clients reach this node, for other nodes to tell them.
    pub client_address: String,
    /// Where its HTTP endpoint is; may be empty.
    pub http_address: String,
    /// Its failure zone; may be empty.
    pub zone: String,
    /// The release it runs, for people.
    pub release: String,
    /// The operator says that the log has everything, whatever it looks like.
    pub trust_log: bool,
    /// Tells the boot of the machine; `None`: as the machine does.
    pub boot_id: Option<fn() -> u128>,
    /// How it reaches its peers; `None` for a cluster of one.
    pub peers: Option<PeerOptions>,
    /// Whether an empty folder becomes a cluster of its own, or the cluster it has just been let
    /// into.
    pub founding: Option<Founding>,
}

/// How a node reaches its peers.
#[derive(Clone)]
pub struct PeerOptions {
    /// Makes and secures connections.
    pub transport: Arc<dyn Transport>,
    /// Where peers connect to.
    pub listener: Arc<TcpListener>,
    /// Where others are told that is.
    pub address: String,
    /// Peer addresses to ask to be let in.
    pub join: Vec<String>,
}

/// What an empty folder is to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Founding {
    /// A new cluster, of this node alone.
    New {
        /// How many sets; `None`: as the node's options say.
        set_count: Option<u32>,
    },
    /// A node of a cluster that has let it in.
    Joined {
        /// The cluster.
        cluster: u128,
        /// The data folder's own number, which the cluster knows by now.
        incarnation: u128,
        /// How many sets the cluster has.
        set_count: u32,
        /// The id had another folder before.
        is_replacement: bool,
    },
}
