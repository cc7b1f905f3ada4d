//! The load on the nodes: clients with their queues, and the tasks that send and receive.
//!
//! Everything runs on the caller's thread: the load generator shares the machine with what it
//! measures, and a second thread would take from it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use sampan_client::{Client, Error, ErrorCode, Queue, QueueOptions};
use tokio::task::JoinSet;

use crate::access::Access;
use crate::backlog::Backlog;
use crate::body::Bodies;
use crate::brokers::Brokers;
use crate::journal::Journal;
use crate::meter::{Latencies, Meter};
use crate::paced_sender::PacedSender;
use crate::receiver::{Receiver, Since};
use crate::sender::Sender;

/// How long connections may take to finish what they began.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);
/// Receives that one connection has waiting, so that one is there while another is worked off.
pub(crate) const RECEIVERS_PER_CONNECTION: usize = 2;

/// What a task measured.
enum Measured {
    Sends(Latencies),
    EndToEnd(Latencies),
    /// It keeps a journal.
    Nothing,
}

/// Of what kind a load is.
#[derive(Clone, Debug)]
pub(crate) struct LoadOptions {
    pub(crate) connections: u32,
    /// Unconfirmed sends that a connection may have.
    pub(crate) window: u32,
    pub(crate) queues: u32,
    /// Names of queues begin so.
    pub(crate) queue_prefix: &'static str,
    pub(crate) queue_options: QueueOptions,
    pub(crate) body: u32,
    /// Receive and delete too; at most so many messages are then between send and delete.
    pub(crate) backlog_max: Option<u64>,
    /// Messages a second of all connections, with a journal; `None`: a window is kept full.
    pub(crate) rate: Option<u32>,
}

/// The running tasks; none of them ends by itself unless it failed.
pub(crate) struct Load {
    tasks: JoinSet<Result<Measured, Error>>,
    clients: Vec<Client>,
    options: LoadOptions,
    pub(crate) meter: Arc<Meter>,
    pub(crate) journal: Arc<Journal>,
    backlog: Arc<Backlog>,
    bodies: Bodies,
}

impl Load {
    /// Connects, creates the queues, and begins.
    pub(crate) async fn start(brokers: &Brokers, options: LoadOptions) -> anyhow::Result<Self> {
        let accesses = brokers.accesses()?;
        let mut load = Load {
            tasks: JoinSet::new(),
            clients: Vec::new(),
            meter: Arc::new(Meter::new()),
            journal: Arc::new(Journal::new()),
            backlog: Arc::new(Backlog::new(options.backlog_max.unwrap_or(0))),
            bodies: Bodies::new(usize::try_from(options.body)?),
            options,
        };
        for _ in 0..load.options.connections {
            let client = connect(&accesses, load.options.window, load.options.body).await?;
            load.clients.push(client);
        }
        for number in 0..load.options.queues {
            let name = load.queue_name(number);
            let created = load.clients[0].create_queue(name, load.options.queue_options);
            match created.await {
                // An earlier load of the same run has made it.
                Err(error) if error.code() == Some(ErrorCode::QueueAlreadyExists) => {}
                created => drop(created?),
            }
        }
        for number in 0..load.options.connections {
            load.spawn(number)?;
        }
        Ok(load)
    }

    fn spawn(&mut self, number: u32) -> anyhow::Result<()> {
        let client = &self.clients[usize::try_from(number)?];
        let queue = client.queue(self.queue_name(number % self.options.queues));
        if self.options.backlog_max.is_some() {
            for _ in 0..RECEIVERS_PER_CONNECTION {
                let receiver = Receiver {
                    queue: queue.clone(),
                    meter: Arc::clone(&self.meter),
                    backlog: Arc::clone(&self.backlog),
                    since: Since::Send,
                };
                self.tasks
                    .spawn(async { receiver.run().await.map(Measured::EndToEnd) });
            }
        }
        match self.options.rate {
            Some(rate) => self.spawn_paced(queue, rate),
            None => self.spawn_full(queue)?,
        }
        Ok(())
    }

    fn spawn_full(&mut self, queue: Queue) -> anyhow::Result<()> {
        let sender = Sender {
            queue,
            bodies: self.bodies.clone(),
            window: usize::try_from(self.options.window)?,
            meter: Arc::clone(&self.meter),
            backlog: self.backlog(),
        };
        self.tasks
            .spawn(async { sender.run().await.map(Measured::Sends) });
        Ok(())
    }

    fn spawn_paced(&mut self, queue: Queue, rate: u32) {
        let sender = PacedSender {
            queue,
            bodies: self.bodies.clone(),
            rate: f64::from(rate) / f64::from(self.options.connections),
            meter: Arc::clone(&self.meter),
            journal: Arc::clone(&self.journal),
            backlog: self.backlog(),
        };
        self.tasks
            .spawn(async { sender.run().await.map(|()| Measured::Nothing) });
    }

    fn backlog(&self) -> Option<Arc<Backlog>> {
        let is_bounded = self.options.backlog_max.is_some();
        is_bounded.then(|| Arc::clone(&self.backlog))
    }

    fn queue_name(&self, number: u32) -> String {
        format!("{}-{number}", self.options.queue_prefix)
    }

    /// The set of the first queue.
    pub(crate) async fn set(&self) -> anyhow::Result<u32> {
        let shown = self.clients[0].show_queue(self.queue_name(0)).await?;
        Ok(shown.set.0)
    }

    /// Lets the load run while something else is done.
    pub(crate) async fn during<T>(
        &mut self,
        doing: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = doing => done,
            Some(ended) = self.tasks.join_next() => {
                ended??;
                bail!("a connection stopped before its time");
            }
        }
    }

    /// Lets the load run for some time.
    pub(crate) async fn go_on_for(&mut self, time: Duration) -> anyhow::Result<()> {
        self.during(async {
            tokio::time::sleep(time).await;
            Ok(())
        })
        .await
    }

    /// Starts nothing new, and waits until all is finished: latencies of sends, and end to end.
    pub(crate) async fn finish(mut self) -> anyhow::Result<(Latencies, Latencies)> {
        self.meter.stop();
        self.backlog.open();
        let (mut sends, mut end_to_end) = (Latencies::new(), Latencies::new());
        let deadline = tokio::time::Instant::now() + FINISH_TIMEOUT;
        while let Some(ended) = tokio::time::timeout_at(deadline, self.tasks.join_next())
            .await
            .context("connections did not finish in time")?
        {
            match ended?? {
                Measured::Sends(latencies) => sends.merge(&latencies),
                Measured::EndToEnd(latencies) => end_to_end.merge(&latencies),
                Measured::Nothing => {}
            }
        }
        for client in self.clients {
            client.close().await;
        }
        Ok((sends, end_to_end))
    }
}

/// The name of a queue, where there is but one kind.
pub(crate) fn queue_name(number: u32) -> String {
    format!("bench-{number}")
}

/// A client whose own limits are wider than the window, so that only the window counts.
pub(crate) async fn connect(accesses: &[Access], window: u32, body: u32) -> anyhow::Result<Client> {
    let window = usize::try_from(window)?;
    let body_len = usize::try_from(body)?;
    let first = accesses.first().context("there are no nodes")?;
    let mut builder = first.builder()?;
    for access in &accesses[1..] {
        builder = builder.server(access.server()?);
    }
    let builder = builder
        .messages_in_flight_max(window * 2)
        .bytes_in_flight_max(window * 2 * (body_len + 64));
    Ok(builder.connect().await?)
}
