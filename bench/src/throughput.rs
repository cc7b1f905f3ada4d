//! `produce` and `pipeline`: as many messages as go through, with windows that are kept full.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::args::{CeilingArguments, ClusterArguments, Workload};
use crate::brokers::Brokers;
use crate::ceiling;
use crate::charts::Charts;
use crate::load::{Load, LoadOptions};
use crate::node::Node;
use crate::report::throughput::{NodeUsage, Throughput};
use crate::report::{Outcome, Run, cpu_per_million, per_second, ratio, rounded};

/// Messages between send and confirmed delete, in windows of all connections together: the window
/// of sends, as many again received and not deleted, and as many ready.
const BACKLOG_WINDOWS: u64 = 3;

/// One run.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Run> {
    let ceiling = match &arguments.ceiling {
        Some(command) => Some(ceiling::by_command(command).await?),
        None if arguments.with_ceiling => Some(own_ceiling(arguments).await?),
        None => None,
    };
    let (mut throughput, charts) = load(arguments).await?;
    throughput.ceiling_msgs_per_s = ceiling;
    throughput.ceiling_ratio =
        ceiling.map(|ceiling| ratio(throughput.msgs_per_s as f64, ceiling as f64));
    Ok(Run {
        outcome: Outcome::Throughput(throughput),
        charts,
    })
}

async fn own_ceiling(arguments: &ClusterArguments) -> anyhow::Result<u64> {
    let arguments = CeilingArguments {
        replicas: arguments.nodes,
        connections: arguments.connections(),
        window: arguments.window,
        body: arguments.body.mean(),
        seconds: arguments.seconds(),
        json: true,
    };
    Ok(ceiling::measure(&arguments).await?.msgs_per_s)
}

/// Without any ceiling.
pub(crate) async fn load(arguments: &ClusterArguments) -> anyhow::Result<(Throughput, Charts)> {
    let brokers = Brokers::start(arguments).await?;
    let mut load = Load::start(&brokers, options(arguments)).await?;
    load.warm_up(arguments.warm_up()).await?;
    let (done_before, cpu_before, began_at) =
        (load.meter.done(), cpu_times(&brokers)?, Instant::now());
    load.meter.begin();
    let series = load
        .measure_for(arguments.workload.name(), arguments.time())
        .await?;
    let (time, messages) = (began_at.elapsed(), load.meter.done() - done_before);
    let cpu_after = cpu_times(&brokers)?;
    let (sends, end_to_end) = load.finish().await?;
    if messages == 0 {
        bail!("no message got through; {}", brokers.log_tail());
    }
    let cpu = cpu_before.iter().zip(&cpu_after);
    let cpu: Vec<Duration> = cpu
        .map(|(before, after)| after.saturating_sub(*before))
        .collect();
    let usage = node_usage(&brokers, &cpu, messages)?;
    let charts = Charts::default()
        .with_series(series)
        .with_curve("send", &sends)
        .with_curve("end to end", &end_to_end);
    let rss_peak = usage.iter().map(|node| node.rss_peak_bytes).max();
    let throughput = Throughput {
        body_bytes: arguments.body,
        connections: arguments.connections(),
        window: arguments.window,
        queues: arguments.queues(),
        seconds: rounded(time.as_secs_f64()),
        messages,
        msgs_per_s: per_second(messages, time),
        ceiling_msgs_per_s: None,
        ceiling_ratio: None,
        send_us: sends.quantiles(),
        end_to_end_us: end_to_end.quantiles(),
        server_cpu_s_per_million: cpu_per_million(cpu.iter().sum(), messages),
        server_rss_peak_bytes: rss_peak.unwrap_or(0),
        node_usage: usage,
        disk_bytes: brokers.stop().await?,
    };
    Ok((throughput, charts))
}

fn options(arguments: &ClusterArguments) -> LoadOptions {
    let windows = u64::from(arguments.window) * u64::from(arguments.connections());
    let is_produce = arguments.workload == Workload::Produce;
    LoadOptions {
        backlog_max: (!is_produce).then_some(windows * BACKLOG_WINDOWS),
        ..LoadOptions::full(arguments)
    }
}

fn cpu_times(brokers: &Brokers) -> anyhow::Result<Vec<Duration>> {
    brokers.nodes().iter().map(Node::cpu_time).collect()
}

fn node_usage(
    brokers: &Brokers,
    cpu: &[Duration],
    messages: u64,
) -> anyhow::Result<Vec<NodeUsage>> {
    let nodes = brokers.nodes().iter().zip(cpu);
    nodes
        .map(|(node, cpu)| {
            Ok(NodeUsage {
                node: node.id(),
                cpu_s: rounded(cpu.as_secs_f64()),
                cpu_s_per_million: cpu_per_million(*cpu, messages),
                rss_peak_bytes: node.memory_peak()?,
            })
        })
        .collect()
}
