//! Every limit of the core, by name. `spec/semantics.md` and `spec/state.md` give the reasons.
//!
//! Those marked "replicated" decide what `apply` answers: a change needs a new entry version, for
//! replicas of two builds would part ways.

/// Stored sends of one session and queue whose replies are kept (replicated).
pub const ANSWERS_KEPT: usize = 1_024;
/// How long a session is remembered after its last use, and may begin after it was drawn
/// (replicated).
pub const PRODUCER_LIFE_MS: u64 = 86_400_000;
/// How often a queue looks for sessions to forget (replicated).
pub const PRODUCER_SWEEP_MS: u64 = 3_600_000;
/// Sessions that a queue remembers (replicated).
pub const PRODUCER_COUNT_MAX: usize = 65_536;
/// Replies that a queue remembers, of all sessions together (replicated).
pub const ANSWER_COUNT_MAX: usize = 1_048_576;
/// Deduplication keys that a queue remembers (replicated).
pub const DEDUP_COUNT_MAX: u64 = 1_048_576;
/// Forgotten deduplication keys leave memory at multiples of this (replicated).
pub const DEDUP_SWEEP_MS: u64 = 10_000;
/// Lapses, dues, expiries, messages given up, purged and rewound ones that one apply carries out;
/// the rest stays due (replicated).
pub const DUE_WORK_MAX: u64 = 10_000;
/// Marks of one id space of one queue (replicated).
pub const MARK_COUNT_MAX: usize = 1_024;
/// A message expires at most this fraction of its queue's retention late (replicated).
pub const RETENTION_PRECISION: u64 = 500;
/// The mark of the newest messages spans at most this long, in milliseconds (replicated).
pub const MARK_SPAN_MIN_MS: u64 = 1_000;
/// Ids of one page. At 4,096 the row of the worst page stays below 64 KiB and an ordinary one
/// below 4 KiB; with 16,384 the worst would be 180 KiB.
pub const PAGE_COUNT: u64 = 4_096;
/// Pages of one set that stay in memory over a checkpoint.
pub const RESIDENT_PAGE_COUNT_MAX: usize = 1_024;
/// Chunks of 64 delayed messages of one set that stay in memory over a checkpoint: some 10 MiB.
pub const RESIDENT_CHUNK_COUNT_MAX: usize = 16_384;
/// Pages that are not in memory and that one look at ready messages may read: 768 KiB at the
/// worst. It then ends early.
pub const PEEK_PAGE_COUNT_MAX: usize = 16;
/// Commands in one entry.
pub const ENTRY_COMMAND_COUNT_MAX: usize = 65_536;
/// Lease numbers lie below this; with the tag they stay below 2^63.
pub const LEASE_NUMBER_MAX: u64 = 1 << 48;
/// Messages of a queue that rest; a further one does not (replicated).
pub const RESTING_COUNT_MAX: u64 = 1_000_000;
/// Runs of ids of deleted messages that a queue keeps for a rewind; a delete that would make one
/// more is for good (replicated).
pub const KEPT_RUN_COUNT_MAX: usize = 262_144;
/// Messages of groups that a queue holds, ready, in flight or resting (replicated).
pub const GROUPED_COUNT_MAX: u64 = 16_777_216;
/// Waiting receives of one node.
pub const WAITER_COUNT_MAX: usize = 100_000;
/// Nodes of a cluster (replicated).
pub const NODE_COUNT_MAX: usize = 64;
/// Data folders that were replaced or removed and are still known; the oldest is forgotten
/// (replicated).
pub const RETIRED_NODE_COUNT_MAX: usize = 1_024;
/// Bytes of an address, a zone or a release in the record of a node (replicated).
pub const NODE_TEXT_LEN_MAX: usize = 255;
/// Sets of a cluster (replicated).
pub const SET_COUNT_MAX: u32 = 256;
/// Voters of one set (replicated).
pub const VOTER_COUNT_MAX: usize = 7;
/// Messages of a queue that are on their way to another, or that nobody takes (replicated).
pub const OUTBOX_COUNT_MAX: u64 = 100_000;
/// Messages that one send to a full queue gives up; one that would need more is refused
/// (replicated).
pub const OVERFLOW_COUNT_MAX: u64 = 10_000;
/// Fresh messages that one step of a redrive lays into pages (replicated).
pub const REDRIVE_SPAN_MAX: u64 = 4_096;
/// Longest time for which the settlements of a set are held, in milliseconds (replicated).
pub const HOLD_MAX_MS: u32 = 300_000;
/// Queues whose messages one queue takes (replicated).
pub const LANE_COUNT_MAX: usize = 65_536;
