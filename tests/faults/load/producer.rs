//! Sends at a fixed rate, whatever becomes of the sends before.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sampan_client::{Durability, Message, Queue};
use tokio::time::MissedTickBehavior;

use super::super::history::{Event, Kind};
use super::{Active, GROUP_COUNT, QueuePlan, Shared, Stage, body};

/// Unanswered calls of one producer; with more of them it sends nothing new.
const CALL_COUNT_MAX: usize = 128;
/// One call in this many is a batch.
const BATCHES: u32 = 20;
const BATCH_COUNT_MAX: u64 = 12;
const DELAY_MS: std::ops::Range<u32> = 1_000..3_000;

pub(super) struct Producer {
    pub(super) queue: Queue,
    pub(super) index: u16,
    pub(super) plan: QueuePlan,
    /// Calls a second.
    pub(super) rate: u32,
    pub(super) is_numbered: bool,
    pub(super) shared: Arc<Shared>,
}

impl Producer {
    pub(super) async fn run(self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut stages = self.shared.stage.clone();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / self.rate.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut calls = FuturesUnordered::new();
        loop {
            let stage = self.shared.stage();
            if stage == Stage::End {
                break;
            }
            let is_sending = matches!(stage, Stage::Full | Stage::OnlySend);
            tokio::select! {
                _ = ticks.tick(), if is_sending && calls.len() < CALL_COUNT_MAX => {
                    // First it counts, then it looks again: nobody takes all for still in between.
                    let active = Active::new(&self.shared);
                    if matches!(self.shared.stage(), Stage::Full | Stage::OnlySend) {
                        calls.push(self.call(active, &mut random));
                    }
                }
                Some(()) = calls.next() => {}
                changed = stages.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
            }
        }
    }

    /// One send of one message or some; the future is the wait for its answer.
    fn call<'a>(
        &'a self,
        active: Active<'a>,
        random: &mut StdRng,
    ) -> impl Future<Output = ()> + use<'a> {
        let count = match random.random_ratio(1, BATCHES) {
            true => random.random_range(2..=BATCH_COUNT_MAX),
            false => 1,
        };
        let first = self.shared.numbers.fetch_add(count, Ordering::Relaxed);
        let delay_ms = match self.plan.is_delayed {
            true => random.random_range(DELAY_MS),
            false => 0,
        };
        let message = |number| {
            let body = body::make(self.shared.body_seed, number, body_len(random));
            let message = Message::new(body).delay(Duration::from_millis(delay_ms.into()));
            match self.plan.is_grouped {
                true => message.group_key((number % GROUP_COUNT).to_string()),
                false => message,
            }
        };
        let messages: Vec<Message> = (first..first + count).map(message).collect();
        self.answer(active, first, delay_ms, messages)
    }

    async fn answer(
        &self,
        active: Active<'_>,
        first: u64,
        delay_ms: u32,
        mut messages: Vec<Message>,
    ) {
        let history = &self.shared.history;
        let count = messages.len();
        let start_us = history.now_us();
        let (sent, durability) = match messages.pop() {
            Some(message) if messages.is_empty() => {
                let mut sending = self.queue.send_with(message);
                let sent = (&mut sending).await;
                (sent.map(|id| vec![id]), sending.durability())
            }
            Some(message) => {
                messages.push(message);
                let mut sending = self.queue.send_batch(messages);
                ((&mut sending).await, sending.durability())
            }
            None => (Ok(Vec::new()), None),
        };
        let end_us = history.now_us();
        for (place, number) in (0..count).zip(first..) {
            let mut event = Event::new(Kind::Send, self.index, start_us, end_us);
            (event.number, event.timeout_ms) = (number, delay_ms);
            event.is_numbered = self.is_numbered;
            event.is_async = durability == Some(Durability::Async);
            match &sent {
                Ok(ids) => event.message = ids[place].0,
                Err(error) => event = event.failed(error),
            }
            history.push(event);
        }
        drop(active);
    }
}

/// 16 bytes to 8 KiB, mostly small.
fn body_len(random: &mut StdRng) -> usize {
    match random.random_range(0..10) {
        0 => random.random_range(1_024..8_192),
        _ => random.random_range(body::HEAD_LEN..1_024),
    }
}
