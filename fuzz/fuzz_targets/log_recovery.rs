//! Recovery of the log against any bytes in its files; see `sampan_storage::log::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sampan_storage::fuzzing::log_recovery(data));
