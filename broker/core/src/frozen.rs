//! The rows that changed between two freezes, as references to copy-on-write state.
//!
//! A freeze runs on the core thread and only clones references; the bytes are made by
//! [`Frozen::into_rows`] on the checkpointer's thread. Encoding at once would stall a core for
//! milliseconds with a million messages in flight.
//!
//! Spec: spec/state.md, "State rows".

use std::sync::Arc;

use sampan_protocol::{Sent, Timestamp};

use crate::broker::Hold;
use crate::catalog::{
    CatalogRecord, CatalogRow, ClusterRecord, NodeRecord, Retired, SetRecord, encode_retired,
};
use crate::chunk::Chunk;
use crate::fields::{FieldError, Fields};
use crate::leases::Lease;
use crate::marks::Mark;
use crate::page::Page;
use crate::pages::Directory;
use crate::queue::{
    Delayed, GroupChunk, KeptRow, KeyChunk, Letter, Producer, QueueRow, Redrive, encode_lane,
    encode_reply,
};
use crate::row_key::RowKey;
use crate::timed::ChunkDirectory;

const SET_VERSION: u8 = 1;

#[derive(Debug)]
pub(crate) enum FrozenRow {
    Gone,
    Set(SetRow),
    Catalog(CatalogRow),
    Record(Arc<CatalogRecord>),
    Cluster(ClusterRecord),
    Node(Arc<NodeRecord>),
    Retired(Vec<Retired>),
    Placement(Arc<SetRecord>),
    Queue(Box<QueueRow>),
    Mark(Mark),
    Directory(Directory),
    Leases(Arc<Chunk<Lease>>),
    DelayedDirectory(ChunkDirectory),
    Delayed(Arc<Chunk<Delayed>>),
    Letters(Arc<Chunk<Letter>>),
    /// The highest number that was judged.
    Lane(u64),
    Redrive(Arc<Redrive>),
    Producer(Arc<Producer>),
    Keys(Arc<KeyChunk>),
    Kept(KeptRow),
    Reply(Arc<Sent>),
    Groups(Arc<GroupChunk>),
    Page(Arc<Page>),
}

impl FrozenRow {
    fn encode(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            FrozenRow::Gone => return None,
            FrozenRow::Set(row) => row.encode(&mut out),
            FrozenRow::Catalog(row) => row.encode(&mut out),
            FrozenRow::Record(record) => record.encode(&mut out),
            FrozenRow::Cluster(record) => record.encode(&mut out),
            FrozenRow::Node(record) => record.encode(&mut out),
            FrozenRow::Retired(retired) => encode_retired(retired, &mut out),
            FrozenRow::Placement(record) => record.encode_row(&mut out),
            FrozenRow::Queue(row) => row.encode(&mut out),
            FrozenRow::Mark(mark) => mark.encode(&mut out),
            FrozenRow::Directory(directory) => directory.encode(&mut out),
            FrozenRow::DelayedDirectory(directory) => directory.encode(&mut out),
            FrozenRow::Leases(chunk) => chunk.encode(&mut out),
            FrozenRow::Delayed(chunk) => chunk.encode(&mut out),
            FrozenRow::Letters(chunk) => chunk.encode(&mut out),
            FrozenRow::Lane(highest) => encode_lane(*highest, &mut out),
            FrozenRow::Redrive(redrive) => redrive.encode(&mut out),
            FrozenRow::Producer(producer) => producer.encode(&mut out),
            FrozenRow::Keys(chunk) => chunk.encode(&mut out),
            FrozenRow::Kept(run) => run.encode(&mut out),
            FrozenRow::Reply(sent) => encode_reply(sent, &mut out),
            FrozenRow::Groups(chunk) => chunk.encode(&mut out),
            FrozenRow::Page(page) => page.encode(&mut out),
        }
        Some(out)
    }
}

/// What changed in a set since the freeze before. Later changes of the set do not show in it.
#[derive(Debug, Default)]
pub struct Frozen {
    rows: Vec<(RowKey, FrozenRow)>,
}

impl Frozen {
    pub(crate) fn new(rows: Vec<(RowKey, FrozenRow)>) -> Self {
        Frozen { rows }
    }

    /// How many rows changed.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    /// The rows as bytes, in the order of their keys, each key once; `None` for a row that is gone.
    pub fn into_rows(mut self) -> impl Iterator<Item = (RowKey, Option<Vec<u8>>)> {
        // What comes later replaces what comes earlier: a queue that was deleted and made again.
        self.rows.reverse();
        self.rows.sort_by_key(|(key, _)| *key);
        self.rows.dedup_by_key(|(key, _)| *key);
        self.rows.into_iter().map(|(key, row)| (key, row.encode()))
    }
}

/// What a set keeps for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SetRow {
    pub(crate) now: Timestamp,
    pub(crate) hash: u64,
    pub(crate) hold: Option<Hold>,
}

impl SetRow {
    fn encode(&self, out: &mut Vec<u8>) {
        let (token, until) = self.hold.map_or((0, 0), |hold| (hold.token, hold.until.0));
        out.push(SET_VERSION);
        for number in [self.now.0, self.hash, token, until] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }

    pub(crate) fn decode(row: &[u8]) -> Result<Self, FieldError> {
        let mut fields = Fields::new(row);
        fields.version(SET_VERSION)?;
        let (now, hash) = (fields.timestamp()?, fields.u64()?);
        let (token, until) = (fields.u64()?, fields.timestamp()?);
        fields.end()?;
        let hold = match (token, until.0) {
            (0, 0) => None,
            (0, _) => return Err(FieldError::Range),
            _ => Some(Hold { token, until }),
        };
        Ok(SetRow { now, hash, hold })
    }
}
