//! `sampan-bench cluster`: one workload against nodes of its own, and its report.

use anyhow::Context;

use crate::args::{ClusterArguments, Workload};
use crate::report::{Outcome, Report, Run};
use crate::{
    catchup, checkpoint, delayed, disturb, drain, idle, latency, many_queues, parked, progress,
    ready, single, throughput, wakeup,
};

/// Runs and prints.
pub(crate) async fn run(arguments: &ClusterArguments) -> anyhow::Result<()> {
    let result = measure(arguments).await?;
    progress::end();
    let report = Report::new(arguments, result);
    if let Some(file) = &arguments.html {
        let written = std::fs::write(file, report.page());
        written.with_context(|| format!("cannot write {}", file.display()))?;
    }
    report.print(arguments.json)
}

async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Run> {
    Ok(match arguments.workload {
        Workload::Produce | Workload::Pipeline => throughput::measure(arguments).await?,
        Workload::ManyQueues => many_queues::measure(arguments).await?,
        Workload::Latency => latency::measure(arguments).await?,
        Workload::Single => single::measure(arguments).await?,
        Workload::Wakeup => wakeup::measure(arguments).await?,
        Workload::Parked => Outcome::Parked(parked::measure(arguments).await?).into(),
        Workload::Backlog => ready::measure(arguments).await?,
        Workload::Checkpoint => checkpoint::measure(arguments).await?,
        Workload::Failover | Workload::Transfer => {
            Outcome::Disturbance(disturb::measure(arguments).await?).into()
        }
        Workload::Catchup => Outcome::Catchup(catchup::measure(arguments).await?).into(),
        Workload::Idle => Outcome::Idle(idle::measure(arguments).await?).into(),
        Workload::Drain => drain::measure(arguments).await?,
        Workload::Delayed => Outcome::Delayed(delayed::measure(arguments).await?).into(),
    })
}
