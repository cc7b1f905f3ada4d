//! Kills a broker again and again under load, and checks that it kept its promises.

use std::io;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::broker::{Broker, Setup};
use crate::client::connect;
use crate::load::{Load, QUEUE, VISIBILITY};

/// Names a seed to run again.
const SEED_VARIABLE: &str = "SAMPAN_TEST_SEED";
/// Small, so that there is a checkpoint under way at many of the kills.
const OVERLAY_LEN: u32 = 1024 * 1024;
/// How long the broker lives between two kills, in milliseconds.
const LIFE_MS: std::ops::Range<u64> = 50..1_200;
/// How long it lives when it is killed while it starts, in milliseconds.
const START_MS: std::ops::Range<u64> = 0..150;
/// One kill in this many is followed by another one during the start.
const KILLED_AT_START: u32 = 4;

/// Kills `kill_count` times. `command` is what repeats the test.
pub(crate) fn run(kill_count: u32, command: &str) {
    let seed = seed();
    println!("repeat with: {SEED_VARIABLE}={seed} {command}");
    let mut random = StdRng::seed_from_u64(seed);
    let storage = format!("overlay_len = {OVERLAY_LEN}");
    let mut broker = Broker::start(Setup {
        storage,
        ..Setup::default()
    });
    let load = Load::start(broker.env(), seed);
    let began = Instant::now();
    for kill in 1..=kill_count {
        // How long it lives is what is drawn at random here: it waits for nothing.
        std::thread::sleep(Duration::from_millis(random.random_range(LIFE_MS)));
        assert!(load.is_running(), "the load ended before kill {kill}");
        broker.kill();
        if random.random_ratio(1, KILLED_AT_START) {
            kill_at_start(
                &mut broker,
                Duration::from_millis(random.random_range(START_MS)),
            );
        }
        broker.launch();
    }
    println!("{kill_count} kills in {:?}", began.elapsed());
    load.finish().check();
    broker.kill();
    broker.launch();
    assert_empty(&broker);
}

/// Starts the broker and kills it at this age, ready or not.
fn kill_at_start(broker: &mut Broker, age: Duration) {
    let mut stdout = broker.spawn();
    std::thread::sleep(age);
    broker.kill();
    io::copy(&mut stdout, &mut io::sink()).expect("a pipe without a writer ends");
}

fn seed() -> u64 {
    match std::env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().expect("the seed is a number"),
        Err(_) => rand::random(),
    }
}

/// Every message was deleted, and stays so after one more kill.
fn assert_empty(broker: &Broker) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let queue = connect(&broker.env()).await.queue(QUEUE);
        let counts = queue
            .client()
            .show_queue(QUEUE)
            .await
            .expect("the queue is there")
            .counts;
        assert_eq!((counts.ready, counts.delayed, counts.in_flight), (0, 0, 0));
        let received = queue
            .receive()
            .max(256)
            .visibility_timeout(VISIBILITY)
            .await;
        assert_eq!(received.expect("the broker answers").len(), 0);
    });
}
