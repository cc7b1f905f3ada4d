//! One run against a broker of its own: start, connect, warm up, measure, stop.
//!
//! Everything runs on the caller's thread: the load generator shares the machine with what it
//! measures, and a second thread would take from it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use sampan_client::{Client, Error, QueueOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use crate::args::{ClusterArguments, Workload};
use crate::backlog::Backlog;
use crate::body::Bodies;
use crate::broker::Broker;
use crate::meter::{Latencies, Meter};
use crate::receiver::Receiver;
use crate::report::{Report, cpu_per_million, per_second, rounded};
use crate::sender::Sender;

/// Load before measuring, so that buffers have grown and log files are laid out.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long connections may take to finish what they began.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);
/// Messages between send and confirmed delete, in windows of all connections together: the window
/// of sends, as many again received and not deleted, and as many ready.
const BACKLOG_WINDOWS: u64 = 3;
/// Receives that one connection has waiting, so that one is there while another is worked off.
const RECEIVERS_PER_CONNECTION: usize = 2;

/// What a task measured.
enum Measured {
    Sends(Latencies),
    EndToEnd(Latencies),
}

type Tasks = JoinSet<Result<Measured, Error>>;

/// Runs and prints; a signal ends the run and the broker.
pub(crate) async fn run(arguments: &ClusterArguments) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let report = tokio::select! {
        report = measure(arguments) => report?,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    };
    report.print(arguments.json)
}

async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Report> {
    let broker = Broker::start(arguments.tls).await?;
    let meter = Arc::new(Meter::new());
    let backlog_max = u64::from(arguments.window) * u64::from(arguments.connections);
    let backlog = Arc::new(Backlog::new(backlog_max * BACKLOG_WINDOWS));
    let (mut tasks, clients) = start_load(arguments, &broker, &meter, &backlog).await?;
    let mut load = Load {
        tasks: &mut tasks,
        broker: &broker,
    };

    load.go_on_for(WARM_UP).await?;
    let (done_before, cpu_before, began_at) = (meter.done(), broker.cpu_time()?, Instant::now());
    meter.begin();
    load.go_on_for(Duration::from_secs(arguments.seconds.into()))
        .await?;
    let (time, done, cpu) = (began_at.elapsed(), meter.done(), broker.cpu_time()?);
    meter.stop();
    backlog.open();
    let (sends, end_to_end) = load.finish().await?;

    let messages = done - done_before;
    if messages == 0 {
        bail!(
            "no message got through; the broker's log:\n{}",
            broker.log_tail()
        );
    }
    let server_rss_peak_bytes = broker.memory_peak()?;
    for client in clients {
        client.close().await;
    }
    Ok(Report {
        workload: arguments.workload,
        nodes: arguments.nodes,
        durability: "synced",
        tls: arguments.tls,
        body_bytes: arguments.body,
        connections: arguments.connections,
        window: arguments.window,
        queues: arguments.queues,
        seconds: rounded(time.as_secs_f64()),
        messages,
        msgs_per_s: per_second(messages, time),
        send_us: sends.quantiles(),
        end_to_end_us: end_to_end.quantiles(),
        server_cpu_s_per_million: cpu_per_million(cpu.saturating_sub(cpu_before), messages),
        server_rss_peak_bytes,
        disk_bytes: broker.stop().await?,
    })
}

/// The running tasks; none of them ends by itself unless it failed.
struct Load<'a> {
    tasks: &'a mut Tasks,
    broker: &'a Broker,
}

impl Load<'_> {
    async fn go_on_for(&mut self, time: Duration) -> anyhow::Result<()> {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            Some(ended) = self.tasks.join_next() => {
                self.checked(ended)?;
                bail!("a connection stopped before its time");
            }
        }
    }

    async fn finish(&mut self) -> anyhow::Result<(Latencies, Latencies)> {
        let (mut sends, mut end_to_end) = (Latencies::new(), Latencies::new());
        let deadline = tokio::time::Instant::now() + FINISH_TIMEOUT;
        while let Some(ended) = tokio::time::timeout_at(deadline, self.tasks.join_next())
            .await
            .context("connections did not finish in time")?
        {
            match self.checked(ended)? {
                Measured::Sends(latencies) => sends.merge(&latencies),
                Measured::EndToEnd(latencies) => end_to_end.merge(&latencies),
            }
        }
        Ok((sends, end_to_end))
    }

    fn checked(
        &self,
        ended: Result<Result<Measured, Error>, tokio::task::JoinError>,
    ) -> anyhow::Result<Measured> {
        ended?.with_context(|| format!("the broker's log:\n{}", self.broker.log_tail()))
    }
}

async fn start_load(
    arguments: &ClusterArguments,
    broker: &Broker,
    meter: &Arc<Meter>,
    backlog: &Arc<Backlog>,
) -> anyhow::Result<(Tasks, Vec<Client>)> {
    let window = usize::try_from(arguments.window)?;
    let bodies = Bodies::new(usize::try_from(arguments.body)?);
    let variables = read_env_file(broker.env_file())?;
    let pipeline = arguments.workload == Workload::Pipeline;
    let mut clients = Vec::new();
    for _ in 0..arguments.connections {
        clients.push(connect(&variables, window, bodies.untimed().len()).await?);
    }
    for number in 0..arguments.queues {
        clients[0]
            .create_queue(queue_name(number), QueueOptions::new())
            .await?;
    }
    let mut tasks = Tasks::new();
    for (number, client) in (0..).zip(&clients) {
        let queue = client.queue(queue_name(number % arguments.queues));
        let backlog = pipeline.then(|| Arc::clone(backlog));
        for _ in 0..if pipeline {
            RECEIVERS_PER_CONNECTION
        } else {
            0
        } {
            let (queue, meter) = (queue.clone(), Arc::clone(meter));
            let Some(backlog) = backlog.clone() else {
                continue;
            };
            let receiver = Receiver {
                queue,
                meter,
                backlog,
            };
            tasks.spawn(async { receiver.run().await.map(Measured::EndToEnd) });
        }
        let (bodies, meter) = (bodies.clone(), Arc::clone(meter));
        let sender = Sender {
            queue,
            bodies,
            window,
            meter,
            backlog,
        };
        tasks.spawn(async { sender.run().await.map(Measured::Sends) });
    }
    Ok((tasks, clients))
}

fn queue_name(number: u32) -> String {
    format!("bench-{number}")
}

/// A client whose own limits are wider than the window, so that only the window counts.
async fn connect(
    variables: &BTreeMap<String, String>,
    window: usize,
    body_len: usize,
) -> anyhow::Result<Client> {
    let variable = |name: &str| {
        variables
            .get(name)
            .with_context(|| format!("the broker's env file has no {name}"))
    };
    let builder = Client::builder()
        .server(variable("SAMPAN_SERVER")?)
        .ca_file(variable("SAMPAN_CA")?)
        .secret_id(variable("SAMPAN_SECRET_ID")?)
        .secret_key(variable("SAMPAN_SECRET_KEY")?)
        .messages_in_flight_max(window * 2)
        .bytes_in_flight_max(window * 2 * (body_len + 64));
    Ok(builder.connect().await?)
}

/// Lines of `NAME=VALUE`, as the broker writes them.
fn read_env_file(path: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_env_file_is_read_line_by_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("dev.env");
        std::fs::write(&path, "SAMPAN_SERVER=a://b:1\nSAMPAN_SECRET_KEY=x=y\n").expect("written");
        let variables = read_env_file(&path).expect("readable");
        assert_eq!(variables["SAMPAN_SERVER"], "a://b:1");
        assert_eq!(variables["SAMPAN_SECRET_KEY"], "x=y");
    }
}
