//! `sampan-bench cluster`: one workload against nodes of its own, and its report.

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{ClusterArguments, Workload};
use crate::report::{Outcome, Report};
use crate::{catchup, delayed, disturb, drain, idle, throughput};

/// Runs and prints; a signal ends the run and the nodes.
pub(crate) async fn run(arguments: &ClusterArguments) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let result = tokio::select! {
        result = measure(arguments) => result?,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    };
    Report::new(arguments, result).print(arguments.json)
}

async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Outcome> {
    Ok(match arguments.workload {
        Workload::Produce | Workload::Pipeline => {
            Outcome::Throughput(throughput::measure(arguments).await?)
        }
        Workload::Failover | Workload::Transfer => {
            Outcome::Disturbance(disturb::measure(arguments).await?)
        }
        Workload::Catchup => Outcome::Catchup(catchup::measure(arguments).await?),
        Workload::Idle => Outcome::Idle(idle::measure(arguments).await?),
        Workload::Drain => Outcome::Drain(drain::measure(arguments).await?),
        Workload::Delayed => Outcome::Delayed(delayed::measure(arguments).await?),
    })
}
