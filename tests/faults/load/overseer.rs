//! What an operator does while everybody works: rewinds one queue, and redrives another.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sampan_client::{Error, Queue};

use super::super::history::{Event, Kind};
use super::{AGAIN, Active, DEAD, KEPT, QUEUES, Shared, Stage};

/// Between two of the things that it does, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 500..2_500;
/// A rewind goes back at most that far, in milliseconds.
const BACK_MS: u64 = 8_000;
/// And never so far that it reaches messages of the round before: whole marks come back.
const SLACK_MS: u64 = 3_000;

pub(super) struct Overseer {
    pub(super) kept: Queue,
    pub(super) dead: Queue,
    pub(super) shared: Arc<Shared>,
}

impl Overseer {
    pub(super) async fn run(self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut stages = self.shared.stage.clone();
        let earliest_ms = unix_ms() + SLACK_MS;
        loop {
            let pause = Duration::from_millis(random.random_range(PAUSE_MS));
            tokio::time::sleep(pause).await;
            let active = Active::new(&self.shared);
            match self.shared.stage() {
                Stage::Full if random.random_ratio(1, 2) => {
                    let to_ms = unix_ms() - random.random_range(0..BACK_MS);
                    if to_ms > earliest_ms {
                        self.rewind(to_ms).await;
                    }
                }
                Stage::Full => self.redrive().await,
                Stage::End => return,
                Stage::OnlySend | Stage::Still | Stage::Drain => {
                    drop(active);
                    if stages.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn rewind(&self, to_ms: u64) {
        let start_us = self.shared.history.now_us();
        let outcome = self.kept.rewind(UNIX_EPOCH + Duration::from_millis(to_ms));
        let outcome = outcome.await.map(drop);
        self.write_down(Kind::Rewind, KEPT, start_us, to_ms, outcome);
    }

    async fn redrive(&self) {
        let start_us = self.shared.history.now_us();
        let redrive = self.dead.redrive().to(QUEUES[usize::from(AGAIN)].name);
        let outcome = redrive.begin().await.map(drop);
        self.write_down(Kind::Redrive, DEAD, start_us, 0, outcome);
    }

    fn write_down(
        &self,
        kind: Kind,
        queue: u16,
        start_us: u64,
        to_ms: u64,
        outcome: Result<(), Error>,
    ) {
        let history = &self.shared.history;
        let mut event = Event::new(kind, queue, start_us, history.now_us());
        event.sent_at_ms = to_ms;
        history.push(match outcome {
            Ok(()) => event,
            Err(error) => event.failed(&error),
        });
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.expect("now is after 1970").as_millis();
    u64::try_from(since).expect("less than 500 million years")
}
