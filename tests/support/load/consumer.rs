//! Receives, and deletes nearly everything; some messages are given back, some left to lapse.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sampan_client::{Delivery, Error, Queue};

use super::{Shared, VISIBILITY};

/// How long to wait for messages.
const WAIT: Duration = Duration::from_secs(1);
/// After a failure, so that a broker that is away is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(20);
/// One message in this many is left to lapse.
const LEFT: u32 = 200;
/// One message in this many is given back.
const RELEASED: u32 = 50;

pub(super) async fn run(queue: Queue, seed: u64, shared: Arc<Shared>) {
    let mut random = StdRng::seed_from_u64(seed);
    while !shared.is_drained.load(Ordering::Relaxed) {
        let asked_at = Instant::now();
        let count = random.random_range(1..64);
        let receive = queue
            .receive()
            .max(count)
            .wait(WAIT)
            .visibility_timeout(VISIBILITY);
        match receive.await {
            Ok(deliveries) => {
                shared.with_ledger(|ledger| {
                    for delivery in &deliveries {
                        ledger.on_received(delivery, asked_at);
                    }
                });
                handle(deliveries, &mut random, &shared).await;
            }
            Err(Error::Corrupt { id }) => {
                shared.with_ledger(|ledger| ledger.fault(format!("message {id} is corrupt")));
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn handle(deliveries: Vec<Delivery>, random: &mut StdRng, shared: &Shared) {
    let is_stopping = shared.is_stopping.load(Ordering::Relaxed);
    let mut deleting = Vec::new();
    for delivery in deliveries {
        // In the end everything is deleted, or the queue would not get empty.
        if !is_stopping && random.random_ratio(1, LEFT) {
            continue;
        }
        if !is_stopping && random.random_ratio(1, RELEASED) {
            shared.with_ledger(|ledger| ledger.on_releasing(&delivery));
            // Whatever comes of it, the message comes back in the end.
            drop(delivery.release().await);
            continue;
        }
        let delete = delivery.delete();
        deleting.push((delivery, delete));
    }
    for (delivery, delete) in deleting {
        let outcome = delete.await;
        shared.with_ledger(|ledger| ledger.on_deleted(&delivery, outcome));
    }
}
