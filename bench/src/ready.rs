//! `backlog`: what memory ready messages take: few of them, and then many.
//!
//! Memory is looked at once it does not go down any more, for longer than it takes until the next
//! checkpoint has written down what was sent last, and what it freed has gone back to the system.

use std::time::Duration;

use sampan_client::Message;

use crate::args::ClusterArguments;
use crate::body::Bodies;
use crate::brokers::Brokers;
use crate::filler::Filling;
use crate::progress;
use crate::report::backlog::Backlog;
use crate::report::{Outcome, Run, per_second, ratio, rounded};

/// How many are few.
const FEW: u64 = 100_000;
/// From one look at the memory to the next.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// So many looks in a row at which memory does not go down make 80 s: a checkpoint comes every
/// minute, and what it has freed a broker keeps for 10 s.
const STEADY_LOOK_COUNT: u32 = 40;
/// After so many looks it counts as it is.
const LOOK_COUNT_MAX: u32 = 150;

/// One run.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Run> {
    let brokers = Brokers::start(arguments).await?;
    let bodies = Bodies::new(arguments.body);
    let (many, few) = (arguments.backlog(), arguments.backlog().min(FEW));
    let message = |number| Message::new(bodies.untimed(number));
    Filling::new(arguments, few).send(&brokers, message).await?;
    let rss_few = settled(&brokers).await?;
    let filling = Filling::new(arguments, many - few);
    let fill = filling.send(&brokers, message).await?;
    let rss_many = settled(&brokers).await?;
    let rss_peak = brokers.memory_peak()?;
    Ok(Outcome::Backlog(Backlog {
        body_bytes: arguments.body,
        queues: arguments.queues(),
        few,
        many,
        fill_s: rounded(fill.as_secs_f64()),
        msgs_per_s: per_second(many - few, fill),
        ratio: ratio(rss_many as f64, rss_few as f64),
        server_rss_few_bytes: rss_few,
        server_rss_many_bytes: rss_many,
        server_rss_peak_bytes: rss_peak,
        disk_bytes: brokers.stop().await?,
    })
    .into())
}

/// The memory of the largest node once it does not go down any more.
async fn settled(brokers: &Brokers) -> anyhow::Result<u64> {
    progress::say("waiting until memory has settled");
    let mut least = brokers.memory_now()?;
    let mut steady_count = 0;
    for _ in 0..LOOK_COUNT_MAX {
        // That it does not go down has no sign to wait for: this is how long it is looked at.
        tokio::time::sleep(LOOK_INTERVAL).await;
        let now = brokers.memory_now()?;
        // What a broker does when idle moves it by some pages.
        match now < least - least / 100 {
            true => steady_count = 0,
            false => steady_count += 1,
        }
        least = least.min(now);
        if steady_count == STEADY_LOOK_COUNT {
            return Ok(now);
        }
    }
    brokers.memory_now()
}
