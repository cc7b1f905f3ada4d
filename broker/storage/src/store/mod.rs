//! The queue store of a set: an overlay in memory, an index file, and segment files for bodies.
//!
//! The log is the write-ahead log, so the store need not be durable at every change. What changed
//! since the last checkpoint is in memory; a checkpoint puts what is left of it on disk in one
//! step, away from the set's core. A message that was sent and deleted between two checkpoints
//! never touches the disk a second time.
//!
//! Message ids are those of the core, and the store gives them no meaning but order; what the
//! state rows hold it does not know at all.
//!
//! Spec: spec/storage.md, "The queue store".

mod apply_removals;
mod backend;
mod backup;
mod check;
mod checkpoint;
mod chunk;
mod current;
mod disk_reader;
mod error;
mod extent_cache;
mod extent_entry;
mod extent_index;
mod generations;
mod incoming;
mod index;
mod inspect;
mod lru;
mod memory_extent;
mod meta;
mod open;
mod options;
mod overlay;
mod queue_store;
mod ranges;
mod reader;
mod removals;
mod repairs;
mod rewrite;
mod seal;
mod segment_account;
mod segment_extent;
mod segment_header;
mod segment_writer;
mod segments;
mod shared;
mod snapshot_id;
mod snapshot_place;
mod snapshot_progress;
mod snapshot_reader;
mod snapshot_writer;
mod survivors;

pub use backup::{
    BACKUP_FILE, BACKUP_PART_LEN, BackupChunks, BackupHeader, read_backup, write_backup,
};
pub use check::{CheckReport, check};
pub use checkpoint::{ChangedRows, CheckpointJob, CheckpointOutcome};
pub use chunk::{CHUNK_HEADER_LEN, SnapshotTotals};
pub use current::CURRENT_FILE;
pub use error::StoreError;
pub use generations::generation_name;
pub use incoming::Incoming;
pub use memory_extent::InMemory;
pub use meta::INDEX_FORMAT;
pub use open::Recovered;
pub use options::{
    CHUNK_LEN, CHUNK_LEN_MAX, EXTENT_LEN, EXTENT_LEN_MAX, EXTENT_SPAN_MAX, FINDING_COUNT_MAX,
    INDEX_FILE, QUARANTINE_PREFIX, QUEUE_REMOVAL_COUNT_MAX, REPAIR_LEN_MAX, REWRITE_COUNT_MAX,
    SNAPSHOT_MARK_SPACING, SNAPSHOT_SYNC_LEN, StoreIdentity, StoreOptions, VALUE_LEN_MAX,
};
pub use queue_store::{Retired, SegmentStats, Spent, Store};
pub use reader::{ReadRow, Reader, StoredMessage};
pub use segment_extent::{EXTENT_HEADER_LEN, EXTENT_RECORD_LEN};
pub use segment_header::{SEGMENT_FORMAT, SEGMENT_HEADER_LEN, segment_name};
pub use snapshot_id::SnapshotId;
pub use snapshot_reader::SnapshotReader;
pub use snapshot_writer::SnapshotWriter;
