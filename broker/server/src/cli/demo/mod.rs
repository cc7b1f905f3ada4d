//! `sampan demo`: shows that a killed broker loses nothing.
//!
//! Starts a broker or a cluster of its own in a temporary folder, sends numbered messages over TLS
//! while it receives and deletes them, kills the broker (of a cluster the leader) with SIGKILL once
//! half are confirmed, starts it again, and accounts for every message (`ledger`). The folder and
//! the brokers go away with the values that own them, whether the demo ends well, badly, or by a
//! signal.

mod body;
mod broker;
mod cluster;
mod consumer;
mod ledger;
mod producer;
mod report;

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use sampan_client::{Client, QueueOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use self::cluster::Cluster;
use self::consumer::Consumer;
use self::ledger::Ledger;
use self::producer::Producer;
use self::report::Report;
use super::args::DemoArguments;
use super::failure::Failure;
use super::output::{self, Output};

/// The demo's queue.
const QUEUE_NAME: &str = "demo";
/// How long a received message is hidden: what was under way when the broker was killed comes
/// back after this, so it is short.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs the demo.
pub(super) async fn run(arguments: &DemoArguments, output: &mut Output) -> Result<(), Failure> {
    let failed = |source| Failure::System {
        what: "listen for signals",
        source,
    };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let report = tokio::select! {
        report = run_in_folder(arguments) => report?,
        _ = interrupt.recv() => return Err(Failure::Interrupted),
        _ = terminate.recv() => return Err(Failure::Interrupted),
    };
    report.print(output)
}

async fn run_in_folder(arguments: &DemoArguments) -> Result<Report, Failure> {
    let folder = tempfile::Builder::new()
        .prefix("sampan-demo-")
        .tempdir()
        .map_err(|source| Failure::System {
            what: "make a temporary folder",
            source,
        })?;
    let mut cluster = Cluster::start(folder.path(), arguments.nodes).await?;
    let client = cluster.client().await?;
    let options = QueueOptions::new().visibility_timeout(VISIBILITY_TIMEOUT);
    client.create_queue(QUEUE_NAME, options).await?;
    let bar = output::progress(Some(arguments.messages.into()));
    let report = exchange(arguments, &client, &mut cluster, &bar).await;
    bar.finish_and_clear();
    report
}

/// Sends, receives and kills at the same time, on one thread.
async fn exchange(
    arguments: &DemoArguments,
    client: &Client,
    cluster: &mut Cluster,
    bar: &ProgressBar,
) -> Result<Report, Failure> {
    let body_len = usize::try_from(arguments.body).expect("at most 1 MiB, checked when parsed");
    let ledger = RefCell::new(Ledger::new(arguments.messages, body_len));
    let half = Notify::new();
    let started_at = Instant::now();
    let (sent_at, received_at) = (Cell::new(None), Cell::new(started_at));
    let longest_pause = Cell::new(Duration::ZERO);
    let producer = Producer {
        queue: client.queue(QUEUE_NAME),
        message_count: arguments.messages,
        body_len,
        ledger: &ledger,
        half: &half,
        longest_pause: &longest_pause,
    };
    let consumer = Consumer {
        queue: client.queue(QUEUE_NAME),
        ledger: &ledger,
        sent_at: &sent_at,
        received_at: &received_at,
        bar,
    };
    let produce = async {
        sent_at.set(Some(producer.run().await?));
        Ok(())
    };
    let ((), (), (), away_time) = tokio::try_join!(
        produce,
        consumer.run(),
        consumer.run(),
        kill_half_way(cluster, client, &half)
    )?;
    let since_start = |at: Instant| at.saturating_duration_since(started_at);
    Ok(Report {
        body_len: arguments.body,
        counts: ledger.into_inner().counts(),
        send_time: sent_at.get().map_or(Duration::ZERO, since_start),
        receive_time: since_start(received_at.get()),
        away_time,
        longest_pause: longest_pause.get(),
        node_count: arguments.nodes,
    })
}

/// Kills once half of the messages are confirmed; returns for how long the broker was away.
async fn kill_half_way(
    cluster: &mut Cluster,
    client: &Client,
    half: &Notify,
) -> Result<Duration, Failure> {
    half.notified().await;
    let victim = cluster.leader_of(client, QUEUE_NAME).await?;
    let killed_at = Instant::now();
    cluster.kill(victim)?;
    cluster.restart(victim).await?;
    Ok(killed_at.elapsed())
}
