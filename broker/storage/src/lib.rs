//! What a node keeps on disk: the log of the node, for all its sets, and one queue store per set.
//!
//! All access to files goes through the traits in [`io`], so that a simulated disk can stand in for
//! the real one. Nothing here knows what Raft is: the log keeps entries, votes and log ids as they
//! are given to it, and the store keeps what the core says.
//!
//! Spec: spec/storage.md.

mod check;
pub mod io;
pub mod log;
pub mod quarantine;
pub mod store;

pub use check::{Finding, FolderReport, LOG_FOLDER, check_folder};

#[doc(hidden)]
pub mod fuzzing {
    //! Entry points of the fuzz targets, also run by ordinary tests.
    pub use crate::log::fuzzing::log_recovery;
}
