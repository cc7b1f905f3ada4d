//! `many-queues`: `pipeline` on one queue, and then the same on many, with nodes of their own each.

use crate::args::ClusterArguments;
use crate::report::many_queues::ManyQueues;
use crate::report::{Outcome, Run, ratio};
use crate::throughput;

/// Two runs.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Run> {
    let one = ClusterArguments {
        queues: Some(1),
        ..arguments.clone()
    };
    let (one, charts) = throughput::load(&one).await?;
    let (many, further) = throughput::load(arguments).await?;
    let count = arguments.queues();
    let ratio = ratio(many.msgs_per_s as f64, one.msgs_per_s as f64);
    Ok(Run {
        outcome: Outcome::ManyQueues(ManyQueues {
            queues: count,
            burst: arguments.burst,
            ratio,
            one_queue: one,
            many_queues: many,
        }),
        charts: charts
            .within("one queue")
            .and(further.within(&format!("{count} queues"))),
    })
}
