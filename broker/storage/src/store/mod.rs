//! The queue store of a set.
