//! The log of a node.
pub mod fuzzing;
mod id;

pub use id::{LogId, LogIdentity, Vote};
