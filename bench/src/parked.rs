//! `parked`: receives that wait and nothing comes: the memory and the CPU time that they take.
//!
//! A receive waits for 30 s at most (spec/limits.md) and is then asked again. So there are two
//! looks at the CPU time: a quiet one while all wait, which ends before the first of them is over;
//! and one behind it, as long as asked for, with what asking again costs.

use std::time::{Duration, Instant};

use anyhow::bail;
use sampan_client::{Client, Error, Queue};
use tokio::task::JoinSet;

use crate::args::ClusterArguments;
use crate::body_len::BodyLen;
use crate::brokers::Brokers;
use crate::load;
use crate::progress;
use crate::report::parked::Parked;
use crate::report::rounded;

/// The longest that there is.
const RECEIVE_WAIT: Duration = Duration::from_secs(30);
/// From the last receive until nothing more happens at the broker for its sake.
const SETTLE: Duration = Duration::from_secs(3);
/// The quiet look ends so long before the first receive is over.
const MARGIN: Duration = Duration::from_secs(2);
/// Shortest quiet look that says anything, as CPU time is told in hundredths of a second.
const QUIET_MIN: Duration = Duration::from_secs(5);

/// One run.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Parked> {
    let brokers = Brokers::start(arguments).await?;
    let queues = connect(arguments, &brokers).await?;
    tokio::time::sleep(arguments.warm_up()).await;
    let rss_before = brokers.memory_sum()?;
    progress::say("parking receives");
    let began_at = Instant::now();
    let mut receives = JoinSet::new();
    for queue in queues
        .iter()
        .cycle()
        .zip(0..arguments.parked)
        .map(|(queue, _)| queue)
    {
        receives.spawn(receive(queue.clone()));
    }
    during(&mut receives, SETTLE).await?;
    let rss_after = brokers.memory_sum()?;
    let quiet = (began_at + RECEIVE_WAIT - MARGIN).saturating_duration_since(Instant::now());
    if quiet < QUIET_MIN {
        bail!(
            "parking took {} s, and left no time to look",
            began_at.elapsed().as_secs()
        );
    }
    let quiet = cpu_percent(&brokers, &mut receives, quiet.min(arguments.time())).await?;
    let asking = cpu_percent(&brokers, &mut receives, arguments.time()).await?;
    let rss_end = brokers.memory_sum()?;
    receives.shutdown().await;
    brokers.stop().await?;
    let count = f64::from(arguments.parked);
    Ok(Parked {
        connections: arguments.connections(),
        queues: arguments.queues(),
        parked: arguments.parked,
        // Memory is far below 2^52, where f64 is exact.
        bytes_per_receive: rounded(rss_after.saturating_sub(rss_before) as f64 / count),
        server_rss_before_bytes: rss_before,
        server_rss_parked_bytes: rss_after,
        server_rss_end_bytes: rss_end,
        quiet_s: rounded(quiet.0.as_secs_f64()),
        cpu_percent: quiet.1,
        asking_s: rounded(asking.0.as_secs_f64()),
        cpu_percent_asking: asking.1,
    })
}

/// The handles of the queues, of all connections, in such an order that all are used alike.
async fn connect(arguments: &ClusterArguments, brokers: &Brokers) -> anyhow::Result<Vec<Queue>> {
    let accesses = brokers.accesses()?;
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..arguments.connections() {
        clients.push(load::connect(&accesses, 1, BodyLen::fixed(1_024)).await?);
    }
    let options = arguments.queue_options();
    let mut queues = Vec::new();
    for number in 0..arguments.queues() {
        let name = load::queue_name(number);
        load::create_queue(&clients[0], &name, options).await?;
        for client in &clients {
            let queue = client.queue(&name);
            // It learns who leads the queue, and has its buffers, before anything is measured.
            queue.receive().wait(Duration::ZERO).await?;
            queues.push(queue);
        }
    }
    Ok(queues)
}

/// Waits and asks again, for ever.
async fn receive(queue: Queue) -> Result<(), Error> {
    while queue.receive().wait(RECEIVE_WAIT).await?.is_empty() {}
    Ok(())
}

async fn during(receives: &mut JoinSet<Result<(), Error>>, time: Duration) -> anyhow::Result<()> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        Some(ended) = receives.join_next() => {
            ended??;
            bail!("a message came that nobody sent");
        }
    }
}

/// How long was looked, and the CPU time of all nodes meanwhile as percent of a core.
async fn cpu_percent(
    brokers: &Brokers,
    receives: &mut JoinSet<Result<(), Error>>,
    time: Duration,
) -> anyhow::Result<(Duration, f64)> {
    progress::say(format!("looking for {} s", time.as_secs()));
    let (cpu_before, began_at) = (brokers.cpu_time()?, Instant::now());
    during(receives, time).await?;
    let (cpu_after, took) = (brokers.cpu_time()?, began_at.elapsed());
    let used = cpu_after.saturating_sub(cpu_before).as_secs_f64();
    Ok((took, rounded(used / took.as_secs_f64() * 100.0)))
}
