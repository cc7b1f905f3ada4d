//! `drain`: a backlog is sent first, and then received and deleted by a few consumers.
//!
//! With `--cold` the nodes are started again in between, so that no body is in their memory: they
//! come from the segment files, as far as the operating system has not kept those.

use std::time::Instant;

use sampan_client::Message;

use crate::args::ClusterArguments;
use crate::body::Bodies;
use crate::brokers::Brokers;
use crate::charts::Charts;
use crate::consumers::Consumers;
use crate::filler::Filling;
use crate::receiver::Since;
use crate::report::drain::Drain;
use crate::report::{Outcome, Run, cpu_per_million, per_second, rounded};

/// One run.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Run> {
    let mut brokers = Brokers::start(arguments).await?;
    let count = arguments.backlog();
    let bodies = Bodies::new(arguments.body);
    let filling = Filling::new(arguments, count);
    let fill = filling
        .send(&brokers, |number| Message::new(bodies.untimed(number)))
        .await?;
    let mut restart = None;
    if arguments.cold {
        restart = Some(brokers.restart().await?);
    }
    let mut consumers = Consumers::connect(&brokers, arguments, count).await?;
    let (rss_before, cpu_before) = (brokers.memory_now()?, brokers.cpu_time()?);
    let began_at = Instant::now();
    consumers.begin(arguments.queues(), Since::Send);
    let series = consumers.finished("drain", || Ok(())).await?;
    let time = began_at.elapsed();
    let (rss_after, cpu_after) = (brokers.memory_now()?, brokers.cpu_time()?);
    consumers.end().await?;
    let drain = Drain {
        body_bytes: arguments.body,
        consumers: arguments.consumers,
        queues: arguments.queues(),
        cold: arguments.cold,
        fill_s: rounded(fill.as_secs_f64()),
        restart_s: restart.map(|restart| rounded(restart.as_secs_f64())),
        seconds: rounded(time.as_secs_f64()),
        messages: count,
        msgs_per_s: per_second(count, time),
        server_cpu_s_per_million: cpu_per_million(cpu_after.saturating_sub(cpu_before), count),
        server_rss_before_bytes: rss_before,
        server_rss_after_bytes: rss_after,
        server_rss_peak_bytes: brokers.memory_peak()?,
        disk_bytes: brokers.stop().await?,
    };
    Ok(Run {
        outcome: Outcome::Drain(drain),
        charts: Charts::default().with_series(series),
    })
}
