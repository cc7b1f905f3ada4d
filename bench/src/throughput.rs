//! `produce` and `pipeline`: as many messages as go through, with windows that are kept full.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::args::{ClusterArguments, Workload};
use crate::brokers::Brokers;
use crate::ceiling;
use crate::load::{Load, LoadOptions};
use crate::node::Node;
use crate::report::throughput::{NodeUsage, Throughput};
use crate::report::{cpu_per_million, per_second, rounded};

/// Load before measuring, so that buffers have grown and log files are laid out.
const WARM_UP: Duration = Duration::from_secs(1);
/// Messages between send and confirmed delete, in windows of all connections together: the window
/// of sends, as many again received and not deleted, and as many ready.
const BACKLOG_WINDOWS: u64 = 3;

/// One run.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Throughput> {
    let ceiling = match &arguments.ceiling {
        Some(command) => Some(ceiling::measure(command).await?),
        None => None,
    };
    let brokers = Brokers::start(arguments).await?;
    let mut load = Load::start(&brokers, options(arguments)).await?;
    load.go_on_for(WARM_UP).await?;
    let (done_before, cpu_before, began_at) =
        (load.meter.done(), cpu_times(&brokers)?, Instant::now());
    load.meter.begin();
    load.go_on_for(Duration::from_secs(arguments.seconds().into()))
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
    let msgs_per_s = per_second(messages, time);
    Ok(Throughput {
        body_bytes: arguments.body,
        connections: arguments.connections,
        window: arguments.window,
        queues: arguments.queues,
        seconds: rounded(time.as_secs_f64()),
        messages,
        msgs_per_s,
        ceiling_msgs_per_s: ceiling,
        ceiling_ratio: ceiling.map(|ceiling| rounded(msgs_per_s as f64 / ceiling as f64)),
        send_us: sends.quantiles(),
        end_to_end_us: end_to_end.quantiles(),
        server_cpu_s_per_million: cpu_per_million(cpu.iter().sum(), messages),
        server_rss_peak_bytes: usage
            .iter()
            .map(|node| node.rss_peak_bytes)
            .max()
            .unwrap_or(0),
        node_usage: usage,
        disk_bytes: brokers.stop().await?,
    })
}

fn options(arguments: &ClusterArguments) -> LoadOptions {
    let windows = u64::from(arguments.window) * u64::from(arguments.connections);
    let is_pipeline = arguments.workload == Workload::Pipeline;
    LoadOptions {
        connections: arguments.connections,
        window: arguments.window,
        queues: arguments.queues,
        queue_prefix: "bench",
        queue_options: arguments.queue_options(),
        body: arguments.body,
        backlog_max: is_pipeline.then_some(windows * BACKLOG_WINDOWS),
        rate: None,
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
