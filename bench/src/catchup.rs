//! `catchup`: messages are sent, received and deleted at a fixed rate while a follower is stopped
//! for a while, and while one is replaced by a fresh node that has a backlog to take over.
//!
//! What counts is how long it takes until the follower is up to date, whether it needed a snapshot,
//! and how much longer sends take meanwhile.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::args::ClusterArguments;
use crate::brokers::Brokers;
use crate::journal::Phase;
use crate::load::{Load, LoadOptions};
use crate::report::catchup::{CatchingUp, Catchup};
use crate::report::rounded;

/// Most messages between send and delete of the preload and of the paced load: no bound, for
/// neither waits for it.
const BACKLOG_MAX: u64 = u64::MAX;
/// Bytes in a gigabyte.
const GIGABYTE: u64 = 1_000_000_000;
/// How often it is looked how much is stored.
const FILL_POLL: Duration = Duration::from_millis(100);

/// Both parts, as far as they are asked for.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Catchup> {
    let mut brokers = Brokers::start(arguments).await?;
    let mut after_pause = None;
    if arguments.pause > 0 {
        after_pause = Some(pause(arguments, &mut brokers).await?);
    }
    let mut fresh_node = None;
    if arguments.backlog_gb > 0 {
        fill(arguments, &brokers).await?;
        fresh_node = Some(replace(arguments, &mut brokers).await?);
    }
    Ok(Catchup {
        body_bytes: arguments.body,
        connections: arguments.connections(),
        queues: arguments.queues(),
        rate: arguments.rate(),
        pause_s: arguments.pause,
        backlog_gb: arguments.backlog_gb,
        after_pause,
        fresh_node,
        disk_bytes: brokers.stop().await?,
    })
}

/// A follower is stopped for a while.
async fn pause(arguments: &ClusterArguments, brokers: &mut Brokers) -> anyhow::Result<CatchingUp> {
    let mut load = Load::start(brokers, paced(arguments)).await?;
    let before = calm(&mut load, arguments).await?;
    let follower = follower(&load, brokers).await?;
    let snapshots = brokers.node_mut(follower)?.snapshot_count()?;
    brokers.node_mut(follower)?.pause()?;
    load.go_on_for(Duration::from_secs(arguments.pause.into()))
        .await?;
    let paused = load.journal.turn();
    brokers.node_mut(follower)?.resume()?;
    let began_at = Instant::now();
    load.during(brokers.wait_for(Some(follower), |status| status.has_caught_up(follower)))
        .await?;
    let took = began_at.elapsed();
    let during = paused.and(&load.journal.turn());
    load.finish().await?;
    let installed = brokers.node_mut(follower)?.snapshot_count()? - snapshots;
    Ok(catching_up(took, installed, &before, &during))
}

/// A follower loses all it has, and a fresh node takes its place.
async fn replace(
    arguments: &ClusterArguments,
    brokers: &mut Brokers,
) -> anyhow::Result<CatchingUp> {
    brokers.wait_until_whole().await?;
    let mut load = Load::start(brokers, paced(arguments)).await?;
    let before = calm(&mut load, arguments).await?;
    let follower = follower(&load, brokers).await?;
    let snapshots = brokers.node_mut(follower)?.snapshot_count()?;
    brokers.node_mut(follower)?.kill()?;
    brokers.node_mut(follower)?.wipe()?;
    let request = serde_json::json!({ "node": follower });
    load.during(brokers.admin("cluster.replace-node", &request))
        .await?;
    let began_at = Instant::now();
    load.during(brokers.start_node(follower)).await?;
    load.during(brokers.wait_for(Some(follower), |status| status.is_whole(3)))
        .await?;
    let took = began_at.elapsed();
    let during = load.journal.turn();
    load.finish().await?;
    let installed = brokers.node_mut(follower)?.snapshot_count()? - snapshots;
    Ok(catching_up(took, installed, &before, &during))
}

fn catching_up(took: Duration, installed: usize, before: &Phase, during: &Phase) -> CatchingUp {
    let (send_us_before, send_us_during) = (before.quantiles(), during.quantiles());
    let ratio = send_us_before.zip(send_us_during);
    CatchingUp {
        caught_up_s: rounded(took.as_secs_f64()),
        snapshots: installed,
        p99_ratio: ratio.map(|(before, during)| rounded(during.p99 as f64 / before.p99 as f64)),
        send_us_before,
        send_us_during,
        client_errors: before.error_count + during.error_count,
    }
}

/// The load with nothing wrong.
async fn calm(load: &mut Load, arguments: &ClusterArguments) -> anyhow::Result<Phase> {
    load.warm_up(arguments.warm_up()).await?;
    drop(load.journal.turn());
    load.go_on_for(arguments.time()).await?;
    Ok(load.journal.turn())
}

async fn follower(load: &Load, brokers: &Brokers) -> anyhow::Result<u64> {
    let (set, status) = (load.set().await?, brokers.status(None).await?);
    let set = status.set(set).context("the queue's set is gone")?;
    set.follower().context("nobody follows")
}

/// Stores messages that nobody receives.
async fn fill(arguments: &ClusterArguments, brokers: &Brokers) -> anyhow::Result<()> {
    let options = LoadOptions {
        queue_prefix: "backlog",
        ..LoadOptions::full(arguments)
    };
    let mut load = Load::start(brokers, options).await?;
    let count = u64::from(arguments.backlog_gb) * GIGABYTE / u64::from(arguments.body.mean());
    while load.meter.done() < count {
        load.go_on_for(FILL_POLL).await?;
    }
    load.finish().await?;
    Ok(())
}

fn paced(arguments: &ClusterArguments) -> LoadOptions {
    LoadOptions {
        backlog_max: Some(BACKLOG_MAX),
        ..LoadOptions::paced(arguments)
    }
}
