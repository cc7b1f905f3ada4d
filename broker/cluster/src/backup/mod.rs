//! Backups of a whole cluster: taken by a node that serves, restored without one.
//!
//! Spec: spec/storage.md, "Backup".

mod error;
mod hold;
mod manifest;
mod restore;
mod settle;
mod take;

pub use error::RestoreError;
pub use restore::{Restored, restore};
pub(crate) use take::{BackupSource, Backups};
