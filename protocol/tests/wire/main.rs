//! Tests of the wire protocol that need nothing but its public face.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fields;
mod fuzz_corpus;
mod round_trip;
mod spec_tables;
mod strategies;
mod vector;
mod vectors;
