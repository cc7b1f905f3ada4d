//! `single`: one connection sends one message at a time, the next when the one before is confirmed.

use std::time::{Duration, Instant};

use crate::args::ClusterArguments;
use crate::body::Bodies;
use crate::brokers::Brokers;
use crate::charts::{Charts, Looks, Series};
use crate::latency::{ratio_to, single_ceiling};
use crate::load;
use crate::meter::Latencies;
use crate::progress;
use crate::report::latency::Latency;
use crate::report::{Outcome, Run};

/// From one value of the series to the next.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// One run.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Run> {
    let ceiling = single_ceiling(arguments).await?;
    let brokers = Brokers::start(arguments).await?;
    let client = load::connect(&brokers.accesses()?, 1, arguments.body).await?;
    let options = arguments.queue_options();
    let queue = client.create_queue(load::queue_name(0), options).await?;
    let bodies = Bodies::new(arguments.body);
    let (mut sends, mut per_s) = (Latencies::new(), Vec::new());
    let (mut count, mut looks, mut look_at) = (0, Looks::begin(0), LOOK_INTERVAL);
    let (warm_up, time) = (arguments.warm_up(), arguments.time());
    progress::say("one message at a time");
    let started_at = Instant::now();
    while started_at.elapsed() < warm_up {
        queue.send(bodies.untimed(0)).await?;
    }
    let measured_at = Instant::now();
    let mut began_at = measured_at;
    while began_at - measured_at < time {
        queue.send(bodies.untimed(count)).await?;
        let confirmed_at = Instant::now();
        sends.record(confirmed_at - began_at);
        count += 1;
        began_at = confirmed_at;
        let elapsed = began_at - measured_at;
        if elapsed >= look_at {
            per_s.push(looks.look(count, elapsed.as_secs_f64()));
            look_at += LOOK_INTERVAL;
        }
    }
    client.close().await;
    brokers.stop().await?;
    let (send_us, series) = (sends.quantiles(), series(per_s));
    let p50 = send_us.map(|send| send.p50);
    Ok(Run {
        outcome: Outcome::Latency(Latency {
            body_bytes: arguments.body,
            connections: 1,
            rate: None,
            messages: count,
            send_us,
            client_errors: 0,
            ceiling_p50_us: ceiling,
            ceiling_ratio: ceiling.zip(p50).map(ratio_to),
        }),
        charts: Charts::default()
            .with_series(series)
            .with_curve("send", &sends),
    })
}

fn series(per_s: Vec<u64>) -> Series {
    Series {
        name: "single".to_owned(),
        interval_s: LOOK_INTERVAL.as_secs_f64(),
        per_s,
    }
}
