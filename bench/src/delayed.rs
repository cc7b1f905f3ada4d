//! `delayed`: messages that are due at random within a window, and how late they come.
//!
//! All are sent before the window begins, and the nodes are started again while all of them wait.
//! A message is due when its delay has passed since the broker took it; it has come when its reply
//! is here. Others may wait beside them for a time after the end of the run.

use std::time::{Duration, Instant};

use anyhow::bail;
use sampan_client::Message;

use crate::args::ClusterArguments;
use crate::body::Bodies;
use crate::brokers::Brokers;
use crate::consumers::Consumers;
use crate::filler::Filling;
use crate::mix::fraction;
use crate::receiver::Since;
use crate::report::delayed::Delayed;
use crate::report::{per_second, rounded};

/// How often the nodes' memory is looked at while messages are due.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What waits longer is due within that time...
const LATER_LEN: Duration = Duration::from_secs(86_400);
/// ... which begins so long after the window.
const LATER_AFTER: Duration = Duration::from_secs(3_600);

/// One run.
pub(crate) async fn measure(arguments: &ClusterArguments) -> anyhow::Result<Delayed> {
    let mut brokers = Brokers::start(arguments).await?;
    let (count, rate) = (arguments.count, f64::from(arguments.due_rate));
    let began_at = Instant::now();
    let window_at = began_at + Duration::from_secs(arguments.window_after.into());
    let length = Duration::from_secs_f64(count as f64 / rate);
    let bodies = Bodies::new(arguments.body);
    let all = count + arguments.waiting;
    let mut filling = Filling::new(arguments, all);
    filling.options = filling.options.delayed_count_max(all);
    let later_at = window_at + length + LATER_AFTER;
    let message = |number| {
        // They are mixed as evenly as their numbers allow.
        let is_later = number * count / all == (number + 1) * count / all;
        let due_at = match is_later {
            false => window_at + length.mul_f64(fraction(number)),
            true => later_at + LATER_LEN.mul_f64(fraction(number)),
        };
        message(
            &bodies,
            number,
            due_at.saturating_duration_since(Instant::now()),
        )
    };
    let fill = filling.send(&brokers, message).await?;
    let rss_waiting = brokers.memory_now()?;
    let restart = brokers.restart().await?;
    let rss_restarted = brokers.memory_now()?;
    let mut consumers = Consumers::connect(&brokers, arguments, count).await?;
    if Instant::now() > window_at {
        let spent = began_at.elapsed().as_secs();
        bail!("sends and restart took {spent} s; --window-after must be longer");
    }
    consumers.begin(arguments.queues(), Since::Due);
    tokio::time::sleep_until(window_at.into()).await;
    let (mut rss_due, mut look_at) = (0, window_at);
    let look = || {
        if Instant::now() >= look_at {
            rss_due = rss_due.max(brokers.memory_now()?);
            look_at = Instant::now() + LOOK_INTERVAL;
        }
        Ok(())
    };
    consumers.finished("delayed", look).await?;
    let time = window_at.elapsed();
    let lateness = consumers.end().await?;
    Ok(Delayed {
        body_bytes: arguments.body,
        consumers: arguments.consumers,
        queues: arguments.queues(),
        due_rate: arguments.due_rate,
        fill_s: rounded(fill.as_secs_f64()),
        restart_s: rounded(restart.as_secs_f64()),
        seconds: rounded(time.as_secs_f64()),
        messages: count,
        waiting: arguments.waiting,
        msgs_per_s: per_second(count, time),
        lateness_us: lateness.quantiles(),
        server_rss_waiting_bytes: rss_waiting,
        server_rss_restarted_bytes: rss_restarted,
        server_rss_due_bytes: rss_due,
        disk_bytes: brokers.stop().await?,
    })
}

/// A message with a delay of whole milliseconds, which its body tells.
fn message(bodies: &Bodies, number: u64, delay: Duration) -> Message {
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX).max(1);
    Message::new(bodies.timed(number, delay_ms)).delay(Duration::from_millis(delay_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::stamp;
    use crate::body_len::BodyLen;

    #[test]
    fn the_body_tells_the_delay_that_the_message_has() {
        let bodies = Bodies::new(BodyLen::fixed(64));
        for (delay, milliseconds) in [(Duration::ZERO, 1), (Duration::from_micros(7_900), 7)] {
            let message = message(&bodies, 1, delay);
            assert_eq!(message.delay, Some(Duration::from_millis(milliseconds)));
            assert_eq!(stamp(&message.body), Some(milliseconds));
        }
    }
}
