//! How soon a leader that is gone is missed, in milliseconds.
//!
//! A follower grants no vote until [`ELECTION_TIMEOUT_MAX_MS`] after it last heard from its leader,
//! so no failover is faster than that. Shorter times find a dead leader sooner and take a slow one
//! for dead more often; each set costs a few wake-ups per heartbeat, whether it has work or not.

/// Between two heartbeats of an idle leader.
pub(crate) const HEARTBEAT_INTERVAL_MS: u64 = 200;
/// A follower that hears nothing asks for votes after this time at the earliest.
pub(crate) const ELECTION_TIMEOUT_MIN_MS: u64 = 300;
/// And after this time at the latest. It is also how long a vote is bound to a leader.
pub(crate) const ELECTION_TIMEOUT_MAX_MS: u64 = 400;
