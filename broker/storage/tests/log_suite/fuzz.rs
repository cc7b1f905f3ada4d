//! Goal: no input makes recovery panic or hang. Method: the body of the fuzz target, run over
//! seeded inputs: noise, and programs that change a few bytes of a valid log.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sampan_storage::fuzzing::log_recovery;

#[test]
fn seeded_inputs_end_in_a_log_or_an_error() {
    for seed in 0..1500 {
        let mut random = StdRng::seed_from_u64(seed);
        let len = random.random_range(0..400);
        let mut input: Vec<u8> = (0..len).map(|_| random.random()).collect();
        if let Some(first) = input.first_mut() {
            // Half of the inputs leave most of their bytes to the changes.
            *first = if seed % 2 == 0 { 12 } else { *first };
        }
        log_recovery(&input);
    }
}

#[test]
fn an_empty_input_is_an_empty_log() {
    log_recovery(&[]);
}
