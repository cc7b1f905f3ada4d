//! Sends numbered messages, many at a time, each once.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sampan_client::{Queue, Sending};

use super::{Shared, body};

/// Unanswered sends of one producer.
const WINDOW: usize = 48;
/// Messages in the queue at which producers wait for the consumers.
const BACKLOG_MAX: usize = 4_000;
/// After a failure, so that a broker that is away is not asked in a tight loop.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) async fn run(queue: Queue, seed: u64, shared: Arc<Shared>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut under_way = VecDeque::new();
    while !shared.is_stopping.load(Ordering::Relaxed) {
        while under_way.len() >= WINDOW {
            finish_first(&mut under_way, &shared).await;
        }
        if shared.with_ledger(|ledger| ledger.backlog()) >= BACKLOG_MAX {
            finish_first(&mut under_way, &shared).await;
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        let number = shared.with_ledger(|ledger| ledger.next_number());
        let sending = queue.send(body::make(number, body_len(&mut random)));
        under_way.push_back((number, sending));
    }
    while !under_way.is_empty() {
        finish_first(&mut under_way, &shared).await;
    }
}

/// Mostly small; some reach over several pages of the log, a few over an extent.
fn body_len(random: &mut StdRng) -> usize {
    match random.random_range(0..100) {
        0 => random.random_range(64 * 1024..200 * 1024),
        1..10 => random.random_range(2_048..16 * 1024),
        _ => random.random_range(body::HEAD_LEN..1_024),
    }
}

async fn finish_first(under_way: &mut VecDeque<(u64, Sending)>, shared: &Shared) {
    let Some((number, sending)) = under_way.pop_front() else {
        return;
    };
    let outcome = sending.await;
    let failed = outcome.is_err();
    shared.with_ledger(|ledger| ledger.on_sent(number, outcome));
    if failed {
        tokio::time::sleep(PAUSE).await;
    }
}
