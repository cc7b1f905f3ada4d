//! The arguments of `sampan cluster`.

use clap::Subcommand;

use super::super::host_port;
use super::SET_COUNT_MAX;

/// What to do with a cluster.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ClusterVerb {
    /// Make a cluster of the node that is asked; others join it.
    Init {
        /// How many sets of queues it gets; default: as the node is configured, or else 6.
        #[arg(long, value_name = "N",
            value_parser = clap::value_parser!(u32).range(1..=SET_COUNT_MAX))]
        sets: Option<u32>,
    },
    /// Describe nodes and sets.
    Status,
    /// Bring in a node that belongs to no cluster yet.
    AddNode {
        /// Its address for other nodes.
        #[arg(value_name = "HOST:PORT", value_parser = host_port::parse)]
        address: String,
    },
    /// Take a node out for good.
    RemoveNode {
        /// The node.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
    },
    /// Let a fresh data folder in for a node that lost its own, or another node in its place.
    ReplaceNode {
        /// The node that lost its folder.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
        /// The node that takes its place; default: the same with a fresh folder.
        #[arg(long, value_name = "M", value_parser = clap::value_parser!(u64).range(1..))]
        with: Option<u64>,
    },
    /// Move leaders away from a node, as before maintenance.
    Drain {
        /// The node.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
        /// Let it lead again.
        #[arg(long)]
        undo: bool,
    },
    /// Tell by the exit code whether every set keeps its majority without a node.
    CanStop {
        /// The node.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
    },
    /// Hand the leadership of a set over.
    TransferLeader {
        /// The set.
        set: u32,
        /// The node that is to lead it.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        node: u64,
    },
    /// Put the newest format that every node reads into use. No node goes back after that.
    FinishUpgrade,
    /// Spread leaders over the nodes.
    Rebalance {
        /// Only print what would be moved.
        #[arg(long)]
        dry_run: bool,
    },
}
