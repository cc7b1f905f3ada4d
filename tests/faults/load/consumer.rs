//! Receives, and deletes most of it; some messages lapse, some are given back, some kept longer.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sampan_client::{Delivery, Error, Queue};

use super::super::history::{Event, Kind};
use super::{Active, PAUSE, QueuePlan, Shared, Stage, body};

const WAIT: Duration = Duration::from_secs(1);
const COUNT_MAX: u16 = 16;
/// How long a message is kept that is kept for longer, in milliseconds.
const EXTENSION_MS: std::ops::Range<u32> = 2_000..8_000;

/// What becomes of a received message.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Deleted,
    Left,
    Released,
    /// Kept for that many milliseconds, then left.
    Extended(u32),
    /// Kept, and deleted.
    ExtendedAndDeleted(u32),
}

impl Fate {
    fn draw(random: &mut StdRng, plan: &QueuePlan) -> Fate {
        match random.random_range(0..100) {
            // Often enough that some are given up twice.
            10..40 if plan.gives_up => Fate::Released,
            40..45 if plan.gives_up => Fate::Left,
            0..2 => Fate::Left,
            2..4 => Fate::Released,
            4..5 => Fate::Extended(random.random_range(EXTENSION_MS)),
            5..6 => Fate::ExtendedAndDeleted(random.random_range(EXTENSION_MS)),
            _ => Fate::Deleted,
        }
    }
}

pub(super) struct Consumer {
    pub(super) queue: Queue,
    pub(super) index: u16,
    pub(super) plan: QueuePlan,
    pub(super) shared: Arc<Shared>,
}

impl Consumer {
    pub(super) async fn run(self, seed: u64) {
        let mut random = StdRng::seed_from_u64(seed);
        let mut stages = self.shared.stage.clone();
        loop {
            let active = Active::new(&self.shared);
            match self.shared.stage() {
                Stage::Full | Stage::Drain => {
                    self.receive(&mut random).await;
                    drop(active);
                }
                Stage::OnlySend | Stage::Still => {
                    drop(active);
                    if stages.changed().await.is_err() {
                        return;
                    }
                }
                Stage::End => return,
            }
        }
    }

    async fn receive(&self, random: &mut StdRng) {
        let history = &self.shared.history;
        let count = random.random_range(1..=COUNT_MAX);
        let receive = self.queue.receive().max(count).wait(WAIT);
        let start_us = history.now_us();
        let received = receive.visibility_timeout(self.plan.visibility).await;
        let event = Event::new(Kind::Receive, self.index, start_us, history.now_us());
        let deliveries = match received {
            Ok(deliveries) => deliveries,
            Err(error) => {
                history.push(event.failed(&error));
                return tokio::time::sleep(PAUSE).await;
            }
        };
        let is_draining = self.shared.stage() == Stage::Drain;
        let mut handling = Vec::new();
        for delivery in deliveries {
            let event = self.on_delivery(event, &delivery);
            let fate = match is_draining {
                true => Fate::Deleted,
                false => Fate::draw(random, &self.plan),
            };
            handling.push(self.handle(delivery, event, fate));
        }
        join_all(handling).await;
    }

    /// Writes down what was received.
    fn on_delivery(&self, mut event: Event, delivery: &Delivery) -> Event {
        let number = body::check(self.shared.body_seed, &delivery.body);
        if number.is_none() {
            let (queue, id) = (self.plan.name, delivery.id);
            let text = format!("queue {queue}, message {id}: the body is not what was sent");
            self.shared.history.note(text);
        }
        event.number = number.unwrap_or_default();
        event.message = delivery.id.0;
        event.receive_count = delivery.receive_count;
        event.visible_at_ms = delivery.visible_at.0;
        event.sent_at_ms = delivery.sent_at.0;
        event.timeout_ms = u32::try_from(self.plan.visibility.as_millis()).expect("some seconds");
        self.shared.history.push(event);
        event
    }

    async fn handle(&self, delivery: Delivery, received: Event, fate: Fate) {
        match fate {
            Fate::Left => {}
            Fate::Deleted => self.delete(&delivery, received).await,
            Fate::Released => {
                let done = Call::new(self, Kind::Release, received);
                let outcome = delivery.release().await;
                done.write_down(outcome, 0);
            }
            Fate::Extended(timeout_ms) => self.extend(&delivery, received, timeout_ms).await,
            Fate::ExtendedAndDeleted(timeout_ms) => {
                self.extend(&delivery, received, timeout_ms).await;
                self.delete(&delivery, received).await;
            }
        }
    }

    async fn delete(&self, delivery: &Delivery, received: Event) {
        let done = Call::new(self, Kind::Delete, received);
        let outcome = delivery.delete().await;
        done.write_down(outcome, 0);
    }

    async fn extend(&self, delivery: &Delivery, received: Event, timeout_ms: u32) {
        let done = Call::new(self, Kind::Extend, received);
        let outcome = delivery
            .extend(Duration::from_millis(timeout_ms.into()))
            .await;
        done.write_down(outcome, timeout_ms);
    }
}

/// A call with a receipt handle.
struct Call<'a> {
    consumer: &'a Consumer,
    event: Event,
}

impl<'a> Call<'a> {
    fn new(consumer: &'a Consumer, kind: Kind, received: Event) -> Call<'a> {
        let start_us = consumer.shared.history.now_us();
        let mut event = Event::new(kind, received.queue, start_us, start_us);
        event.message = received.message;
        event.number = received.number;
        event.receive_count = received.receive_count;
        Call { consumer, event }
    }

    fn write_down(mut self, outcome: Result<(), Error>, timeout_ms: u32) {
        let history = &self.consumer.shared.history;
        self.event.end_us = history.now_us();
        self.event.timeout_ms = timeout_ms;
        history.push(match outcome {
            Ok(()) => self.event,
            Err(error) => self.event.failed(&error),
        });
    }
}
