//! `idle`: nodes that have nothing to do, and what they use all the same.

use std::time::{Duration, Instant};

use crate::args::ClusterArguments;
use crate::brokers::Brokers;
use crate::node::Node;
use crate::report::idle::Idle;
use crate::report::rounded;

/// One run.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Idle> {
    let brokers = Brokers::start(arguments).await?;
    // From the moment the cluster is whole, so that leaders have found their places.
    tokio::time::sleep(arguments.warm_up()).await;
    let (before, began_at) = (cpu_times(&brokers)?, Instant::now());
    tokio::time::sleep(arguments.time()).await;
    let (after, time) = (cpu_times(&brokers)?, began_at.elapsed());
    let used = before.iter().zip(&after);
    let share = used.map(|(before, after)| {
        let used = after.saturating_sub(*before).as_secs_f64();
        rounded(used / time.as_secs_f64() * 100.0)
    });
    let cpu_percent: Vec<f64> = share.collect();
    let rss_peak_bytes: anyhow::Result<Vec<u64>> =
        brokers.nodes().iter().map(Node::memory_peak).collect();
    let report = Idle {
        seconds: rounded(time.as_secs_f64()),
        cpu_percent_max: cpu_percent.iter().copied().fold(0.0, f64::max),
        cpu_percent,
        rss_peak_bytes: rss_peak_bytes?,
    };
    brokers.stop().await?;
    Ok(report)
}

fn cpu_times(brokers: &Brokers) -> anyhow::Result<Vec<Duration>> {
    brokers.nodes().iter().map(Node::cpu_time).collect()
}
