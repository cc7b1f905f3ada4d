//! How a node's options become those of its data folder: its identity when it is new, and its log.

use sampan_storage::log::LogOptions;

use super::options::{Founding, NodeOptions};
use crate::data_folder::OpenOptions;
use crate::identity::Identity;

/// Bytes of the newest entries that the log keeps in memory. One voter reads each of them once,
/// soon after it was appended; peers read them soon after.
const LOG_CACHE_LEN: usize = 16 * 1024 * 1024;
const LOG_CACHE_LEN_WITH_PEERS: usize = 64 * 1024 * 1024;
/// Sets of a new cluster for which neither its operator nor the configuration named a number.
const SET_COUNT_DEFAULT: u32 = 6;

/// What a new folder becomes.
pub(super) fn fresh_identity(options: &NodeOptions) -> Identity {
    match options.founding {
        Some(Founding::Joined {
            cluster,
            incarnation,
            set_count,
            ..
        }) => Identity {
            node: options.node,
            cluster,
            incarnation,
            set_count,
        },
        Some(Founding::New { set_count }) => new_identity(options, set_count),
        None => new_identity(options, None),
    }
}

fn new_identity(options: &NodeOptions, asked: Option<u32>) -> Identity {
    let set_count = asked.or(options.set_count).unwrap_or(SET_COUNT_DEFAULT);
    Identity::new(options.node, options.random, set_count)
}

/// How the folder is opened; `fresh` is what it becomes when it is new.
pub(super) fn open_options(options: &NodeOptions, fresh: Identity) -> OpenOptions {
    let is_replacement = matches!(
        options.founding,
        Some(Founding::Joined {
            is_replacement: true,
            ..
        })
    );
    let has_peers = options.peers.is_some();
    OpenOptions {
        fresh,
        log: LogOptions {
            cache_len_max: match has_peers {
                true => LOG_CACHE_LEN_WITH_PEERS,
                false => LOG_CACHE_LEN,
            },
            boot_id: options.boot_id.unwrap_or(LogOptions::default().boot_id),
            ..LogOptions::default()
        },
        has_peers,
        is_replacement,
        trust_log: options.trust_log,
    }
}
