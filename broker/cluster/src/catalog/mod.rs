//! The catalog on this node: which queue lives where.
//!
//! The truth is replicated in set 0 (`sampan_core::Catalog`). [`Directory`] is the copy of it that
//! every core of the node looks queues up in; [`coordinator`] carries the steps of creating,
//! changing and deleting out between set 0 and the owning set.

mod coordinator;
mod directory;
mod map;

pub(crate) use coordinator::Coordinator;
pub use coordinator::{Catalog, CatalogRequest};
pub(crate) use directory::DirectoryPublisher;
pub use directory::{Directory, Route};
pub(crate) use map::ClusterMap;
#[cfg(test)]
pub(crate) use map::example_join;
