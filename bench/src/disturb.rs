//! `failover` and `transfer`: sends at a fixed rate while the leader of their set is killed, or
//! hands its leadership over, again and again. What counts is how long no send is confirmed.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::args::{ClusterArguments, Workload};
use crate::brokers::Brokers;
use crate::load::{Load, LoadOptions};
use crate::report::disturbance::{Disturbance, Spread};

/// Load in each round, at least.
const ROUND: Duration = Duration::from_secs(4);
/// A round whose sends do not go on by then has failed.
const ROUND_TIMEOUT: Duration = Duration::from_secs(60);
/// How often it is looked whether they do.
const ROUND_POLL: Duration = Duration::from_millis(50);

/// Some rounds.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Disturbance> {
    let mut brokers = Brokers::start(arguments).await?;
    let mut load = Load::start(&brokers, options(arguments)).await?;
    let set = load.set().await?;
    load.warm_up(arguments.warm_up()).await?;
    let mut gaps = Vec::new();
    let mut all = load.journal.turn();
    for _ in 0..arguments.rounds {
        load.during(brokers.wait_until_whole()).await?;
        all = all.and(&load.journal.turn());
        let killed = disturb(arguments.workload, &mut brokers, set).await?;
        wait_until_sends_go_on(&mut load, arguments.rate()).await?;
        let round = load.journal.turn();
        gaps.push(round.longest_gap);
        all = all.and(&round);
        if let Some(node) = killed {
            load.during(brokers.start_node(node)).await?;
        }
    }
    load.during(brokers.wait_until_whole()).await?;
    let journal = load.journal.clone();
    load.finish().await?;
    let all = all.and(&journal.turn());
    brokers.stop().await?;
    Ok(Disturbance {
        body_bytes: arguments.body,
        rate: arguments.rate(),
        rounds: arguments.rounds,
        messages: all.confirmed_count,
        gap_ms: Spread::of(&gaps),
        gaps_ms: gaps
            .iter()
            .map(|gap| crate::report::milliseconds(*gap))
            .collect(),
        client_errors: all.error_count,
        client_error: all.error.as_ref().map(ToString::to_string),
        send_us: all.quantiles(),
    })
}

fn options(arguments: &ClusterArguments) -> LoadOptions {
    LoadOptions {
        connections: 1,
        queues: 1,
        ..LoadOptions::paced(arguments)
    }
}

/// Kills the leader, which is returned, or moves its leadership.
async fn disturb(
    workload: Workload,
    brokers: &mut Brokers,
    set: u32,
) -> anyhow::Result<Option<u64>> {
    let status = brokers.status(None).await?;
    let status = status.set(set).context("the queue's set is gone")?;
    let leader = status.leader.context("the queue's set has no leader")?;
    if workload == Workload::Failover {
        brokers.node_mut(leader)?.kill()?;
        return Ok(Some(leader));
    }
    let to = status.next_leader().context("nobody else votes")?;
    let request = serde_json::json!({ "set": set, "to": to });
    brokers.admin("cluster.transfer-leader", &request).await?;
    Ok(None)
}

/// Goes on until as many sends are confirmed as half of the round has.
async fn wait_until_sends_go_on(load: &mut Load, rate: u32) -> anyhow::Result<()> {
    let began_at = Instant::now();
    load.go_on_for(ROUND).await?;
    let enough = u64::from(rate) * ROUND.as_secs() / 2;
    while load.journal.confirmed_count() < enough {
        if began_at.elapsed() > ROUND_TIMEOUT {
            bail!("sends did not go on");
        }
        load.go_on_for(ROUND_POLL).await?;
    }
    Ok(())
}
