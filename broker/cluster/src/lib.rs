//! Consensus adapters, set drivers and the catalog of a node.
//!
//! A [`Node`] opens a data folder and spreads its sets over cores; a [`SetHandle`] asks one set;
//! a [`Client`] is where answers go; the [`Directory`] says which set holds a queue and
//! [`Catalog`] changes that. Only this crate names openraft, and it knows neither HTTP nor what a
//! client's bytes look like.

mod backup;
mod board;
mod bodies;
mod calls;
mod catalog;
mod clock;
mod data_folder;
mod grid;
mod identity;
mod members;
mod node;
mod pace;
mod peer;
mod raft;
mod reach;
mod repair;
mod set;
mod status;
mod suspicion;
mod view;

pub use backup::{RestoreError, Restored, restore};
pub use catalog::{Catalog, CatalogRequest, Directory, Route};
pub use clock::{Reading, SystemTime, TimeSource};
pub use data_folder::OpenError;
pub use identity::IdentityError;
pub use node::{
    CorePart, Founding, LOG_KEPT_LEN_DEFAULT, Node, NodeOptions, PeerOptions,
    SNAPSHOT_RATE_DEFAULT, StartError,
};
pub use peer::{PeerIo, PeerStream, PlainTransport, Transport};
pub use repair::Bodies;
pub use set::{
    Answer, BodyRun, Client, ClientId, CountsOfSet, OpenStateError, Origin, Outcome, PeekRequest,
    PeekedMessages, Receive, Received, RedriveAsk, RedriveShown, Refused, SetHandle, SetRequest,
    Shown,
};
pub use status::{
    BackupSummary, CanStop, ClusterReply, ClusterRequest, ClusterStatus, Health, LeaderMove,
    LogMetrics, NodeMetrics, NodeStatus, QueueMetrics, ReplicaStatus, SetMetrics, SetStatus,
};
