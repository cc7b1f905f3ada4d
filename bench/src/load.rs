//! The load on the nodes: clients with their queues, and the tasks that send and receive.
//!
//! Everything runs on the caller's thread: the load generator shares the machine with what it
//! measures, and a second thread would take from it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sampan_client::{Client, Error, ErrorCode, Queue, QueueOptions};
use tokio::task::JoinSet;

use crate::access::Access;
use crate::args::ClusterArguments;
use crate::backlog::Backlog;
use crate::body::Bodies;
use crate::body_len::BodyLen;
use crate::brokers::Brokers;
use crate::charts::{Looks, Series};
use crate::journal::Journal;
use crate::meter::{Latencies, Meter};
use crate::paced_sender::{self, PacedSender};
use crate::progress;
use crate::receiver::{Receiver, Since};
use crate::sender::Sender;

/// How long connections may take to finish what they began.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);
/// Most sends that a client has under way at a fixed rate.
const PACED_WINDOW: u32 = 4_096;
/// How often it is looked how far a load is...
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// ... or less often, so that there are at most so many looks.
const LOOK_COUNT_MAX: u32 = 300;
/// Queues that are created at the same time.
const CREATED_AT_ONCE: usize = 64;
/// Receives that one connection has waiting, so that one is there while another is worked off; with
/// several queues one of each.
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
    /// Messages in a row to one of a connection's queues.
    pub(crate) burst: u32,
    /// Names of queues begin so.
    pub(crate) queue_prefix: &'static str,
    pub(crate) queue_options: QueueOptions,
    pub(crate) body: BodyLen,
    /// Receive and delete too; at most so many messages are then between send and delete.
    pub(crate) backlog_max: Option<u64>,
    /// Messages a second of all connections, with a journal; `None`: a window is kept full.
    pub(crate) rate: Option<u32>,
    /// With a rate: how often it is looked at what is due.
    pub(crate) tick: Duration,
}

impl LoadOptions {
    /// As many messages as go through, to the queues that the arguments say.
    pub(crate) fn full(arguments: &ClusterArguments) -> Self {
        LoadOptions {
            connections: arguments.connections(),
            window: arguments.window,
            queues: arguments.queues(),
            burst: arguments.burst,
            queue_prefix: "bench",
            queue_options: arguments.queue_options(),
            body: arguments.body,
            backlog_max: None,
            rate: None,
            tick: paced_sender::TICK,
        }
    }

    /// Messages at the arguments' rate. The window is wide: what is due is sent.
    pub(crate) fn paced(arguments: &ClusterArguments) -> Self {
        LoadOptions {
            window: PACED_WINDOW,
            rate: Some(arguments.rate()),
            ..LoadOptions::full(arguments)
        }
    }
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
            bodies: Bodies::new(options.body),
            options,
        };
        for _ in 0..load.options.connections {
            let client = connect(&accesses, load.options.window, load.options.body).await?;
            load.clients.push(client);
        }
        load.create_queues().await?;
        for number in 0..load.options.connections {
            load.spawn(number)?;
        }
        Ok(load)
    }

    async fn create_queues(&self) -> anyhow::Result<()> {
        progress::say("creating queues");
        let names: Vec<_> = (0..self.options.queues)
            .map(|number| self.queue_name(number))
            .collect();
        for names in names.chunks(CREATED_AT_ONCE) {
            let options = self.options.queue_options;
            let creating = names
                .iter()
                .map(|name| create_queue(&self.clients[0], name, options));
            futures::future::try_join_all(creating).await?;
        }
        Ok(())
    }

    /// Those that a connection uses.
    fn queues_of(&self, connection: u32) -> anyhow::Result<Vec<Queue>> {
        let LoadOptions {
            queues,
            connections,
            ..
        } = self.options;
        let client = &self.clients[usize::try_from(connection)?];
        let numbers = (connection % queues..queues).step_by(usize::try_from(connections)?);
        let all = numbers.map(|number| client.queue(self.queue_name(number)));
        // With fewer queues than connections several share one.
        let count = if queues > connections { usize::MAX } else { 1 };
        Ok(all.take(count).collect())
    }

    fn spawn(&mut self, number: u32) -> anyhow::Result<()> {
        let queues = self.queues_of(number)?;
        if self.options.backlog_max.is_some() {
            let receivers = queues.iter().cycle();
            for queue in receivers.take(queues.len().max(RECEIVERS_PER_CONNECTION)) {
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
            Some(rate) => self.spawn_paced(&queues[0], rate, number),
            None => self.spawn_full(queues)?,
        }
        Ok(())
    }

    fn spawn_full(&mut self, queues: Vec<Queue>) -> anyhow::Result<()> {
        let sender = Sender {
            queues,
            burst: self.options.burst.into(),
            bodies: self.bodies.clone(),
            window: usize::try_from(self.options.window)?,
            meter: Arc::clone(&self.meter),
            backlog: self.backlog(),
        };
        self.tasks
            .spawn(async { sender.run().await.map(Measured::Sends) });
        Ok(())
    }

    fn spawn_paced(&mut self, queue: &Queue, rate: u32, number: u32) {
        let sender = PacedSender {
            queue: queue.clone(),
            bodies: self.bodies.clone(),
            rate: f64::from(rate) / f64::from(self.options.connections),
            tick: self.options.tick,
            offset: Duration::from_secs_f64(f64::from(number) / f64::from(rate)),
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

    /// Lets the load run for some time; returns how it went on.
    pub(crate) async fn measure_for(
        &mut self,
        name: &str,
        time: Duration,
    ) -> anyhow::Result<Series> {
        let interval = LOOK_INTERVAL.max(time / LOOK_COUNT_MAX);
        let (mut looks, mut per_s) = (Looks::begin(self.done()), Vec::new());
        let began_at = Instant::now();
        let mut elapsed = Duration::ZERO;
        while elapsed < time {
            self.go_on_for(interval.min(time - elapsed)).await?;
            elapsed = began_at.elapsed();
            let rate = looks.look(self.done(), elapsed.as_secs_f64());
            per_s.push(rate);
            progress::measuring(name, elapsed, time, rate);
        }
        Ok(Series {
            name: name.to_owned(),
            interval_s: interval.as_secs_f64(),
            per_s,
        })
    }

    /// Messages that went all the way.
    fn done(&self) -> u64 {
        match (self.options.rate, self.options.backlog_max) {
            (Some(_), None) => self.journal.confirmed_count(),
            _ => self.meter.done(),
        }
    }

    /// Lets the load run before anything is measured.
    pub(crate) async fn warm_up(&mut self, time: Duration) -> anyhow::Result<()> {
        progress::say("warming up");
        self.go_on_for(time).await
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

/// Creates a queue, unless an earlier load of the same run has.
pub(crate) async fn create_queue(
    client: &Client,
    name: &str,
    options: QueueOptions,
) -> Result<(), Error> {
    match client.create_queue(name, options).await {
        Err(error) if error.code() == Some(ErrorCode::QueueAlreadyExists) => Ok(()),
        created => created.map(drop),
    }
}

/// The name of a queue, where there is but one kind.
pub(crate) fn queue_name(number: u32) -> String {
    format!("bench-{number}")
}

/// A client whose own limits are wider than the window, so that only the window counts.
pub(crate) async fn connect(
    accesses: &[Access],
    window: u32,
    body: BodyLen,
) -> anyhow::Result<Client> {
    let window = usize::try_from(window)?;
    let body_len = usize::try_from(body.max())?;
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
