//! `checkpoint`: sends at a fixed rate, told apart by whether a checkpoint ran meanwhile.
//!
//! The nodes say when their latest checkpoint began and ended; they are asked so often that hardly
//! one is missed. A send counts as one with a checkpoint when any node's ran at any moment from
//! when the send was due until it was confirmed.

use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};

use crate::args::ClusterArguments;
use crate::brokers::Brokers;
use crate::charts::Charts;
use crate::figures::Figures;
use crate::journal::Send;
use crate::load::{Load, LoadOptions};
use crate::meter::Latencies;
use crate::report::checkpoint::Checkpoint;
use crate::report::{Outcome, Run, ratio, rounded};

/// How often the nodes are asked.
const POLL: Duration = Duration::from_millis(25);
const BEGUN: &str = "sampan_set_checkpoint_begun_timestamp_seconds";
const ENDED: &str = "sampan_set_checkpoint_ended_timestamp_seconds";

/// One run.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Run> {
    let brokers = Brokers::start(arguments).await?;
    let mut load = Load::start(&brokers, LoadOptions::paced(arguments)).await?;
    let set = load.set().await?;
    load.warm_up(arguments.warm_up()).await?;
    let clock = WallClock::now();
    load.journal.keep_sends();
    drop(load.journal.turn());
    let mut spans = vec![Spans::default(); brokers.nodes().len()];
    let series = tokio::select! {
        series = load.measure_for("checkpoint", arguments.time()) => series?,
        failed = watch(&brokers, set, &mut spans) => return Err(failed),
    };
    let measured_until = clock.of(Instant::now());
    let journal = load.journal.clone();
    load.finish().await?;
    look(&brokers, set, &mut spans).await?;
    let spans = spans.into_iter().flat_map(|spans| spans.0);
    let spans: Vec<_> = spans
        .filter(|span| (clock.wall_s..measured_until).contains(&span.begun_s))
        .collect();
    if spans.is_empty() {
        bail!("no checkpoint ran; measure for longer, or send more");
    }
    let (running, between) = split(&journal.take_sends(), &spans, clock);
    let phase = journal.turn();
    brokers.stop().await?;
    let (send_us_running, send_us_between) = (running.quantiles(), between.quantiles());
    let p99 = send_us_running.zip(send_us_between);
    let took = spans.iter().map(|span| span.ended_s - span.begun_s);
    Ok(Run {
        outcome: Outcome::Checkpoint(Checkpoint {
            body_bytes: arguments.body,
            connections: arguments.connections(),
            rate: arguments.rate(),
            messages: phase.confirmed_count,
            checkpoints: spans.len(),
            checkpoint_s: rounded(took.clone().sum::<f64>()),
            checkpoint_s_max: rounded(took.fold(0.0, f64::max)),
            p99_ratio: p99.map(|(running, between)| ratio(running.p99 as f64, between.p99 as f64)),
            send_us_running,
            send_us_between,
            client_errors: phase.error_count,
        }),
        charts: Charts::default()
            .with_series(series)
            .with_curve("send, checkpoint running", &running)
            .with_curve("send, none running", &between),
    })
}

/// Asks again and again; returns only an error.
async fn watch(brokers: &Brokers, set: u32, spans: &mut [Spans]) -> anyhow::Error {
    loop {
        if let Err(error) = look(brokers, set, spans).await {
            return error;
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn look(brokers: &Brokers, set: u32, spans: &mut [Spans]) -> anyhow::Result<()> {
    for (node, spans) in brokers.nodes().iter().zip(spans) {
        let address = node
            .http_address()
            .context("the node has no HTTP address")?;
        let figures = Figures::read(address).await?;
        spans.take_in(figures.of_set(BEGUN, set)?, figures.of_set(ENDED, set)?);
    }
    Ok(())
}

/// The two clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct WallClock {
    at: Instant,
    wall_s: f64,
}

impl WallClock {
    fn now() -> Self {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        WallClock {
            at: Instant::now(),
            wall_s: wall.unwrap_or_default().as_secs_f64(),
        }
    }

    /// Seconds since the epoch.
    fn of(self, at: Instant) -> f64 {
        self.wall_s + at.saturating_duration_since(self.at).as_secs_f64()
    }
}

/// From when to when a checkpoint ran, in seconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    begun_s: f64,
    ended_s: f64,
}

/// The checkpoints of one node, by what it said of the latest.
#[derive(Clone, Debug, Default, PartialEq)]
struct Spans(Vec<Span>);

impl Spans {
    /// While one runs, the end is that of the one before.
    fn take_in(&mut self, begun_s: f64, ended_s: f64) {
        if begun_s == 0.0 {
            return;
        }
        if self.0.last().is_none_or(|last| last.begun_s < begun_s) {
            // The one before has ended by then, if its end was not seen.
            if let Some(last) = self.0.last_mut()
                && last.ended_s == f64::INFINITY
            {
                last.ended_s = if ended_s < begun_s { ended_s } else { begun_s };
            }
            self.0.push(Span {
                begun_s,
                ended_s: f64::INFINITY,
            });
        }
        if let Some(last) = self.0.last_mut()
            && ended_s >= last.begun_s
        {
            last.ended_s = ended_s;
        }
    }
}

/// Sends while a checkpoint ran, and the others.
fn split(sends: &[Send], spans: &[Span], clock: WallClock) -> (Latencies, Latencies) {
    let (mut running, mut between) = (Latencies::new(), Latencies::new());
    for send in sends {
        let due_s = clock.of(send.due_at);
        let confirmed_s = due_s + send.took.as_secs_f64();
        let is_in = |span: &Span| span.begun_s <= confirmed_s && due_s <= span.ended_s;
        match spans.iter().any(is_in) {
            true => running.record(send.took),
            false => between.record(send.took),
        }
    }
    (running, between)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(begun_s: f64, ended_s: f64) -> Span {
        Span { begun_s, ended_s }
    }

    #[test]
    fn checkpoints_are_pieced_together_from_what_is_said_of_the_latest() {
        let mut spans = Spans::default();
        for (begun, ended) in [
            (0.0, 0.0),
            (10.0, 0.0),
            (10.0, 0.0),
            (10.0, 11.0),
            (20.0, 11.0),
            // Its end and the next one's beginning were not seen by themselves.
            (30.0, 22.0),
            // Nor was anything of this one before it was over.
            (40.0, 41.0),
            (40.0, 41.0),
        ] {
            spans.take_in(begun, ended);
        }
        let wanted = [
            span(10.0, 11.0),
            span(20.0, 22.0),
            span(30.0, 40.0),
            span(40.0, 41.0),
        ];
        assert_eq!(spans.0, wanted);
    }

    #[test]
    fn a_send_that_touches_a_checkpoint_is_one_with_a_checkpoint() {
        let clock = WallClock {
            at: Instant::now(),
            wall_s: 100.0,
        };
        let at = |seconds: f64| clock.at + Duration::from_secs_f64(seconds);
        let send = |due_s: f64, took_ms| Send {
            due_at: at(due_s),
            took: Duration::from_millis(took_ms),
        };
        // Before it, into it, within it, out of it, over it, behind it.
        let sends = [
            send(0.5, 100),
            send(0.9, 200),
            send(1.5, 100),
            send(1.9, 200),
            send(0.9, 1_500),
            send(2.1, 100),
        ];
        let (running, between) = split(&sends, &[span(101.0, 102.0)], clock);
        let max = |latencies: Latencies| latencies.quantiles().expect("recorded").max / 1_000;
        assert_eq!((max(running), max(between)), (1_500, 100));
        let (running, between) = split(&sends, &[span(101.0, f64::INFINITY)], clock);
        assert!(running.quantiles().is_some() && between.quantiles().is_some());
    }
}
