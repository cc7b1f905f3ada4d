//! `wakeup`: consumers wait for one queue, and one message at a time is sent to it.
//!
//! Each waits on a connection of its own; which of them a message wakes is the broker's to decide.
//! Between two messages there is a pause in which whoever had the last one deletes it and waits
//! again.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sampan_client::{Client, Error, Queue};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::args::ClusterArguments;
use crate::body::Bodies;
use crate::brokers::Brokers;
use crate::charts::Charts;
use crate::load;
use crate::meter::Latencies;
use crate::progress;
use crate::report::wakeup::Wakeup;
use crate::report::{Outcome, Run, ratio};

/// How long a consumer waits before it asks again.
const RECEIVE_WAIT: Duration = Duration::from_secs(20);
/// Between a delete and the next send.
const PAUSE: Duration = Duration::from_millis(2);
/// A message that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a consumer says.
#[derive(Clone, Copy, Debug)]
enum Said {
    Received(Instant),
    /// It has deleted the message, and waits for the next.
    Deleted,
}

/// One run.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Run> {
    let brokers = Brokers::start(arguments).await?;
    let accesses = brokers.accesses()?;
    let sender = load::connect(&accesses, 1, arguments.body).await?;
    let options = arguments.queue_options();
    let queue = sender.create_queue(load::queue_name(0), options).await?;
    let (says, mut said) = unbounded_channel();
    let mut consumers = JoinSet::new();
    for _ in 0..arguments.consumers {
        let client: Client = load::connect(&accesses, 1, arguments.body).await?;
        consumers.spawn(consume(client.queue(queue.name()), says.clone()));
    }
    progress::say("waking consumers up");
    let result = tokio::select! {
        result = send(arguments, &queue, &mut said) => result?,
        Some(ended) = consumers.join_next() => {
            ended??;
            bail!("a consumer stopped before its time");
        }
    };
    consumers.shutdown().await;
    sender.close().await;
    brokers.stop().await?;
    Ok(result)
}

async fn consume(queue: Queue, says: UnboundedSender<Said>) -> Result<(), Error> {
    loop {
        for delivery in queue.receive().max(1).wait(RECEIVE_WAIT).await? {
            // Nobody listens any more when the run is over.
            says.send(Said::Received(Instant::now())).unwrap_or(());
            delivery.delete().await?;
            says.send(Said::Deleted).unwrap_or(());
        }
    }
}

async fn send(
    arguments: &ClusterArguments,
    queue: &Queue,
    said: &mut UnboundedReceiver<Said>,
) -> anyhow::Result<Run> {
    let bodies = Bodies::new(arguments.body);
    let (mut received, mut confirmed) = (Latencies::new(), Latencies::new());
    let (mut messages, mut number) = (0, 0);
    let measured_at = Instant::now() + arguments.warm_up();
    let until = measured_at + arguments.time();
    while Instant::now() < until {
        tokio::time::sleep(PAUSE).await;
        number += 1;
        let began_at = Instant::now();
        let sending = queue.send(bodies.untimed(number));
        let confirmed_at = async { sending.await.map(|_| Instant::now()) };
        let (confirmed_at, received_at) = tokio::join!(confirmed_at, received_at(said));
        let (confirmed_at, received_at) = (confirmed_at?, received_at?);
        if began_at >= measured_at {
            messages += 1;
            confirmed.record(confirmed_at - began_at);
            received.record(received_at - began_at);
        }
        tokio::time::timeout(PATIENCE, said.recv()).await?;
    }
    let (received_us, confirmed_us) = (received.quantiles(), confirmed.quantiles());
    let both = received_us.zip(confirmed_us);
    Ok(Run {
        outcome: Outcome::Wakeup(Wakeup {
            body_bytes: arguments.body,
            consumers: arguments.consumers,
            messages,
            ratio: both
                .map(|(received, confirmed)| ratio(received.p50 as f64, confirmed.p50 as f64)),
            received_us,
            confirmed_us,
        }),
        charts: Charts::default()
            .with_curve("send to received", &received)
            .with_curve("send to confirmed", &confirmed),
    })
}

async fn received_at(said: &mut UnboundedReceiver<Said>) -> anyhow::Result<Instant> {
    let said = tokio::time::timeout(PATIENCE, said.recv()).await;
    match said.context("no consumer received the message")? {
        Some(Said::Received(at)) => Ok(at),
        _ => bail!("a message was received twice, or the consumers are gone"),
    }
}
