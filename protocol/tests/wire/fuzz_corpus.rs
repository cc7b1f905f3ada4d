//! Goal: the fuzz target of the frame decoder holds without a fuzzer too. Method: it runs over the
//! golden vectors, the seeds in fuzz/seeds, and a fixed number of inputs drawn from a fixed seed:
//! noise, and streams of vectors with some bytes changed.

use std::fs;
use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use sampan_protocol::fuzzing::frame_decoder;

use crate::vector;

const NOISE_COUNT: usize = 20_000;
const CHANGED_COUNT: usize = 20_000;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/frame_decoder")
}

/// What the target makes of a vector: the first byte decides about the pieces.
fn as_input(bytes: &[u8]) -> Vec<u8> {
    [&[0x5A], bytes].concat()
}

#[test]
fn no_finding_in_the_seeds() {
    let mut count = 0;
    for file in fs::read_dir(folder()).unwrap() {
        frame_decoder(&fs::read(file.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0);
    for vector in vector::all() {
        frame_decoder(&as_input(&vector.bytes));
    }
}

/// `UPDATE=1` writes what is missing.
#[test]
fn every_vector_is_a_seed() {
    for vector in vector::all() {
        let name: String = vector
            .name
            .chars()
            .map(|letter| {
                if letter.is_ascii_alphanumeric() {
                    letter
                } else {
                    '-'
                }
            })
            .collect();
        let path = folder().join(&name);
        if std::env::var_os("UPDATE").is_some() {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, as_input(&vector.bytes)).unwrap();
        }
        let seed = fs::read(&path).unwrap_or_default();
        assert_eq!(
            seed,
            as_input(&vector.bytes),
            "{}: run with UPDATE=1",
            path.display()
        );
    }
}

#[test]
fn no_finding_in_noise() {
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..NOISE_COUNT {
        let mut data = vec![0; random.random_range(0..200)];
        random.fill(&mut data[..]);
        // A header with a short length and a known kind now and then, else noise ends at once.
        if data.len() > 17 && random.random_bool(0.7) {
            data[1..5].copy_from_slice(&random.random_range(0..180_u32).to_le_bytes());
            data[5] &= 0xB3;
            data[6..9].fill(0);
        }
        frame_decoder(&data);
    }
}

#[test]
fn no_finding_in_changed_vectors() {
    let mut random = StdRng::seed_from_u64(2);
    let vectors = vector::all();
    for _ in 0..CHANGED_COUNT {
        let mut data = vec![random.random()];
        for _ in 0..random.random_range(1..4) {
            data.extend_from_slice(&vectors.choose(&mut random).unwrap().bytes);
        }
        for _ in 0..random.random_range(0..4) {
            let place = random.random_range(0..data.len());
            data[place] = match random.random_range(0..3) {
                0 => random.random(),
                1 => data[place].wrapping_add(1),
                _ => data[place] ^ (1 << random.random_range(0..8)),
            };
        }
        if random.random_bool(0.2) {
            data.truncate(random.random_range(0..data.len()));
        }
        frame_decoder(&data);
    }
}
