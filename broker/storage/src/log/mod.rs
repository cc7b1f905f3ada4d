//! The log of a node: one for all its sets, so that one sync serves them all.
//!
//! The log is the only thing that has to be durable before a message is acknowledged, so its path
//! is short: callers put what they have into a shared state, one thread takes all that waits,
//! writes it as one batch into pages that are already there, and syncs once. Files are made ready
//! by another thread ahead of time.
//!
//! What the threads do is [`Writer::step`] and [`Preparer::step`]; [`Log::open_stepped`] gives them
//! to whoever wants to run them, such as a simulator with a disk that crashes.
//!
//! Invariants: a call is done when it and all before it are synced; a lazy append when it is
//! written, and it is synced soon after. What was synced is there after a crash; what was not is
//! there up to some point and gone after it. A log that failed once is shut
//! until it is opened again.
//! Spec: spec/storage.md, "The log".

mod batch;
mod cache;
mod check;
mod error;
mod extents;
mod file_header;
mod files;
mod flush;
pub mod fuzzing;
mod handle;
mod id;
mod lazy;
pub mod limits;
mod open;
mod operation;
mod options;
mod payload;
mod preparer;
mod reader;
mod record;
mod recovery;
mod reset;
mod retention;
mod set_log;
mod shared;
mod state;
mod stats;
mod terms;
mod writer;

pub use check::{LogReport, check};
pub use error::LogError;
pub use handle::{Log, SteppedLog};
pub use id::{LogId, LogIdentity, Vote};
pub use open::Recovery;
pub use options::LogOptions;
pub use payload::{Done, LogEntry, Payload};
pub use preparer::Preparer;
pub use set_log::SetLogState;
pub use stats::{LogStats, SYNC_BOUNDS_MICROS, SyncTimes};
pub use writer::{Step, Writer};
