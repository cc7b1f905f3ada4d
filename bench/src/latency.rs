//! `latency`: sends at a fixed rate, and how long each takes from when it was due.
//!
//! Open loop: a send is due when it is due, however long those before it take. All that were due in
//! the measured time count, also those that are confirmed only after it.

use std::time::Duration;

use crate::args::{CeilingArguments, ClusterArguments};
use crate::brokers::Brokers;
use crate::ceiling;
use crate::charts::Charts;
use crate::load::{Load, LoadOptions};
use crate::report::latency::Latency;
use crate::report::{Outcome, Run, ratio};

/// The shortest time between two looks at what is due: at high rates, several sends are due then.
const TICK_MIN: Duration = Duration::from_micros(50);

/// One run.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Run> {
    let ceiling = single_ceiling(arguments).await?;
    let brokers = Brokers::start(arguments).await?;
    let mut load = Load::start(&brokers, options(arguments)).await?;
    load.warm_up(arguments.warm_up()).await?;
    drop(load.journal.turn());
    let series = load.measure_for("latency", arguments.time()).await?;
    let journal = load.journal.clone();
    load.finish().await?;
    let all = journal.turn();
    brokers.stop().await?;
    let send_us = all.quantiles();
    let p99 = send_us.map(|send| send.p99);
    Ok(Run {
        outcome: Outcome::Latency(Latency {
            body_bytes: arguments.body,
            connections: arguments.connections(),
            rate: Some(arguments.rate()),
            messages: all.confirmed_count,
            send_us,
            client_errors: all.error_count,
            ceiling_p50_us: ceiling,
            ceiling_ratio: ceiling.zip(p99).map(ratio_to),
        }),
        charts: Charts::default()
            .with_series(series)
            .with_curve("send", all.latencies()),
    })
}

fn options(arguments: &ClusterArguments) -> LoadOptions {
    let interval = f64::from(arguments.connections()) / f64::from(arguments.rate());
    LoadOptions {
        tick: TICK_MIN.max(Duration::from_secs_f64(interval)),
        ..LoadOptions::paced(arguments)
    }
}

/// How long one message takes at least, if that is asked for: the median with one at a time.
pub(crate) async fn single_ceiling(arguments: &ClusterArguments) -> anyhow::Result<Option<u64>> {
    if !arguments.with_ceiling {
        return Ok(None);
    }
    let arguments = CeilingArguments {
        replicas: arguments.nodes,
        connections: 1,
        window: 1,
        body: arguments.body.mean(),
        seconds: arguments.seconds(),
        json: true,
    };
    Ok(ceiling::measure(&arguments)
        .await?
        .send_us
        .map(|send| send.p50))
}

/// A latency as a multiple of the ceiling's.
pub(crate) fn ratio_to((ceiling_us, us): (u64, u64)) -> f64 {
    ratio(us as f64, ceiling_us as f64)
}
