//! Goal: memory follows what is in use, also in a broker that has nothing to do any more. Method:
//! one that is sent many small messages and then nothing; the kernel is asked what it has.
//!
//! How much messages take is measured elsewhere (`tests/memory.rs`); here it is only that what is
//! free goes back.

use std::time::Duration;

use bytes::Bytes;
use sampan_client::QueueOptions;

use crate::broker::{Broker, Setup};
use crate::client::connect;
use crate::waiting::within;

/// Half a gigabyte, of which a quarter is in memory at one time.
const COUNT: usize = 500_000;
const BODY_LEN: usize = 1_024;
const WINDOW: usize = 1_000;
/// A checkpoint comes every minute, and what is free is kept for ten seconds.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn a_broker_gets_no_huge_pages() {
    let broker = Broker::start(Setup::default());
    let status = broker.proc_file("status");
    let enabled = status.lines().find(|line| line.starts_with("THP_enabled:"));
    assert_eq!(enabled, Some("THP_enabled:\t0"), "{status}");
}

#[tokio::test]
async fn what_a_burst_took_goes_back_when_nothing_follows() {
    let broker = Broker::start(Setup::default());
    let client = connect(&broker.env()).await;
    let queue = client
        .create_queue("burst", QueueOptions::new())
        .await
        .unwrap();
    let body = Bytes::from(vec![7; BODY_LEN]);
    let mut most = 0;
    for _ in 0..COUNT / WINDOW {
        let sends: Vec<_> = (0..WINDOW).map(|_| queue.send(body.clone())).collect();
        for send in sends {
            send.await.unwrap();
        }
        most = most.max(broker.resident_len());
    }
    within(PATIENCE, "half of the memory", || {
        (broker.resident_len() < most / 2).then_some(())
    });
}
