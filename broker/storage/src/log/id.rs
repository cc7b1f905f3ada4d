//! The words that Raft and the log share. The log keeps them and gives them no meaning.

use std::fmt;

/// The place of an entry, and who wrote it when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The term of the leader that made the entry.
    pub term: u64,
    /// That leader.
    pub node: u64,
    /// The place of the entry in its set.
    pub index: u64,
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (term {}, node {})", self.index, self.term, self.node)
    }
}

/// Whom a set's replica on this node voted for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vote {
    /// The term of the vote.
    pub term: u64,
    /// Who got it.
    pub node: u64,
    /// Whether a majority gave it.
    pub committed: bool,
}

/// Whose log it is. A log of somebody else is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogIdentity {
    /// The node.
    pub node: u64,
    /// The cluster; drawn at random when the cluster was made.
    pub cluster: u128,
}
