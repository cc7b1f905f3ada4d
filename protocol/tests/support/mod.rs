//! What several tests of this crate need.

#![allow(unreachable_pub, reason = "each test uses its own part")]

pub mod fields;
pub mod vector;
