//! Bytes of a stranger at the frame decoder: see `sampan_protocol::fuzzing::frame_decoder`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| sampan_protocol::fuzzing::frame_decoder(data));
