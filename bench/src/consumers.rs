//! Consumers without senders: connections that receive and delete until so many are deleted.
//!
//! Like `Load`, all on the caller's thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use sampan_client::{Client, Error};
use tokio::task::JoinSet;

use crate::args::ClusterArguments;
use crate::backlog::Backlog;
use crate::brokers::Brokers;
use crate::charts::{Looks, Series};
use crate::load;
use crate::meter::{Latencies, Meter};
use crate::progress;
use crate::receiver::{Receiver, Since};

/// How often it is looked how many messages are deleted.
const POLL: Duration = Duration::from_millis(10);
/// From one value of the series to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long nothing may be deleted until the run has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// See the head of the file.
pub(crate) struct Consumers {
    tasks: JoinSet<Result<Latencies, Error>>,
    clients: Vec<Client>,
    pub(crate) meter: Arc<Meter>,
    count: u64,
}

impl Consumers {
    /// Connects; nothing is received before [`Consumers::begin`].
    pub(crate) async fn connect(
        brokers: &Brokers,
        arguments: &ClusterArguments,
        count: u64,
    ) -> anyhow::Result<Self> {
        let accesses = brokers.accesses()?;
        let mut clients = Vec::new();
        for _ in 0..arguments.consumers {
            clients.push(load::connect(&accesses, arguments.window, arguments.body).await?);
        }
        Ok(Consumers {
            tasks: JoinSet::new(),
            clients,
            meter: Arc::new(Meter::new()),
            count,
        })
    }

    /// Begins to receive.
    pub(crate) fn begin(&mut self, queues: u32, since: Since) {
        let backlog = Arc::new(Backlog::holding(self.count));
        self.meter.begin();
        for (number, client) in (0..).zip(&self.clients) {
            let queue = client.queue(load::queue_name(number % queues));
            for _ in 0..load::RECEIVERS_PER_CONNECTION {
                let receiver = Receiver {
                    queue: queue.clone(),
                    meter: Arc::clone(&self.meter),
                    backlog: Arc::clone(&backlog),
                    since,
                };
                self.tasks.spawn(receiver.run());
            }
        }
    }

    /// Waits until all messages are deleted; `look` is called again and again meanwhile. Returns
    /// how it went on.
    pub(crate) async fn finished(
        &mut self,
        name: &str,
        mut look: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<Series> {
        let began_at = Instant::now();
        let (mut done, mut deadline) = (0, began_at + PATIENCE);
        let (mut looks, mut per_s, mut look_at) = (Looks::begin(0), Vec::new(), LOOK_INTERVAL);
        while self.meter.done() < self.count {
            tokio::select! {
                () = tokio::time::sleep(POLL) => look()?,
                Some(ended) = self.tasks.join_next() => {
                    ended??;
                    bail!("a consumer stopped before its time");
                }
            }
            if self.meter.done() > done {
                (done, deadline) = (self.meter.done(), Instant::now() + PATIENCE);
            }
            let elapsed = began_at.elapsed();
            if elapsed >= look_at {
                let rate = looks.look(self.meter.done(), elapsed.as_secs_f64());
                per_s.push(rate);
                look_at += LOOK_INTERVAL;
                progress::say(format!("{name}: {done} of {}, {rate} msg/s", self.count));
            }
            if Instant::now() > deadline {
                bail!("{done} messages of {} came, and no more", self.count);
            }
        }
        Ok(Series {
            name: name.to_owned(),
            interval_s: LOOK_INTERVAL.as_secs_f64(),
            per_s,
        })
    }

    /// Ends the consumers; returns how long messages took.
    pub(crate) async fn end(mut self) -> anyhow::Result<Latencies> {
        self.meter.stop();
        let mut all = Latencies::new();
        while let Some(ended) = self.tasks.join_next().await {
            all.merge(&ended??);
        }
        for client in self.clients {
            client.close().await;
        }
        Ok(all)
    }
}
