//! When a connection has to do something although nothing comes: repeats, timeouts, keep-alive.
//!
//! One timer serves all of it. Timeouts are looked for in sweeps, not with a timer each: a sweep
//! costs a walk over a few thousand frames once a second, a timer costs its bookkeeping on every
//! frame. So a request may time out late by one sweep interval, an eighth of the timeout at most.
//!
//! A broker that takes requests and says nothing (its process is stopped, its network is gone) is
//! told from one that is slow, or that a receive waits at, by a ping. A broker that is there takes
//! that in within a second whatever its sets do: it reads on while less is unanswered than it lets
//! in, which is more than this client has on its way by default, and waits no longer for a set that
//! takes nothing. A ping has a request slot of its own. While a request is unanswered the ping goes
//! out after [`PROBE_AFTER`] of silence, and [`SILENCE_MAX`] without anything ends the connection,
//! so that requests go to whoever leads by then. Both are shorter when the keep-alive interval is.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Config;

/// Longest time between two looks for expired requests.
const SWEEP_INTERVAL_MAX: Duration = Duration::from_secs(1);
/// Shortest time between two looks for expired requests.
const SWEEP_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// How long a connection with unanswered requests may be silent before the broker is asked whether
/// it is there.
pub(crate) const PROBE_AFTER: Duration = Duration::from_secs(1);
/// How long a connection with unanswered requests may be silent at all.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(3);

/// How often to look for expired requests.
pub(crate) fn sweep_interval(config: &Config) -> Duration {
    (config.request_timeout / 8).clamp(SWEEP_INTERVAL_MIN, SWEEP_INTERVAL_MAX)
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Timing {
    keep_alive: Duration,
    sweep_interval: Duration,
    last_read_at: Instant,
    /// Since when some request has been unanswered.
    outstanding_since: Option<Instant>,
    /// When the broker was asked whether it is there, unless something came since.
    pinged_at: Option<Instant>,
    /// Only while something is outstanding.
    sweep_at: Option<Instant>,
    retry_at: Option<Instant>,
}

impl Timing {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Timing {
            keep_alive: config.keep_alive,
            sweep_interval: sweep_interval(config),
            last_read_at: now,
            outstanding_since: None,
            pinged_at: None,
            sweep_at: None,
            retry_at: None,
        }
    }

    /// When to look again at the latest.
    pub(crate) fn due(&self) -> Instant {
        let silence_at = match self.pinged_at {
            Some(at) => at + self.patience(),
            None => self.ping_at(),
        };
        let sweep_at = self.sweep_at.unwrap_or(silence_at);
        let retry_at = self.retry_at.unwrap_or(silence_at);
        silence_at.min(sweep_at).min(retry_at)
    }

    /// When the broker is asked whether it is there, if nothing comes.
    fn ping_at(&self) -> Instant {
        match self.outstanding_since {
            Some(since) => self.last_read_at.max(since) + PROBE_AFTER.min(self.keep_alive),
            None => self.last_read_at + self.keep_alive,
        }
    }

    /// How long the answer to that may take.
    fn patience(&self) -> Duration {
        match self.outstanding_since {
            Some(_) => (SILENCE_MAX - PROBE_AFTER).min(self.keep_alive),
            None => self.keep_alive,
        }
    }

    pub(crate) fn on_read(&mut self, now: Instant) {
        self.last_read_at = now;
        self.pinged_at = None;
    }

    /// Called after each exchange with the state.
    pub(crate) fn on_exchange(
        &mut self,
        now: Instant,
        outstanding: bool,
        retry_at: Option<Instant>,
    ) {
        self.retry_at = retry_at;
        if outstanding {
            self.outstanding_since.get_or_insert(now);
            self.sweep_at.get_or_insert(now + self.sweep_interval);
        } else {
            self.outstanding_since = None;
            self.sweep_at = None;
        }
    }

    /// Whether to look for expired requests now; the next look is then a whole interval away.
    pub(crate) fn take_sweep(&mut self, now: Instant) -> bool {
        let due = self.sweep_at.is_some_and(|at| at <= now);
        if due {
            self.sweep_at = Some(now + self.sweep_interval);
        }
        due
    }

    /// Whether to ask now whether the broker is there.
    pub(crate) fn take_ping(&mut self, now: Instant) -> bool {
        let due = self.pinged_at.is_none() && self.ping_at() <= now;
        if due {
            self.pinged_at = Some(now);
        }
        due
    }

    /// Whether the broker was asked and did not answer in time.
    pub(crate) fn is_silent(&self, now: Instant) -> bool {
        self.pinged_at.is_some_and(|at| at + self.patience() <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(now: Instant) -> Timing {
        Timing {
            keep_alive: Duration::from_secs(15),
            sweep_interval: Duration::from_secs(1),
            last_read_at: now,
            outstanding_since: None,
            pinged_at: None,
            sweep_at: None,
            retry_at: None,
        }
    }

    #[test]
    fn silence_leads_to_one_ping_and_then_to_the_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timing = timing(start);
        assert_eq!(timing.due(), at(15));
        assert!(!timing.take_ping(at(14)));
        assert!(timing.take_ping(at(15)));
        assert!(!timing.take_ping(at(16)), "one is enough");
        assert_eq!(timing.due(), at(30));
        assert!(!timing.is_silent(at(29)) && timing.is_silent(at(30)));
        timing.on_read(at(29));
        assert!(!timing.is_silent(at(30)));
        assert_eq!(timing.due(), at(44));
    }

    #[test]
    fn an_unanswered_request_is_followed_by_a_ping_after_a_second_and_the_end_after_three() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timing = timing(start);
        // What counts is the silence since the request, not that before it.
        timing.on_exchange(at(10), true, None);
        assert!(!timing.take_ping(at(10)));
        assert!(timing.take_ping(at(11)));
        assert!(!timing.is_silent(at(12)) && timing.is_silent(at(13)));
        timing.on_read(at(12));
        assert!(!timing.is_silent(at(13)) && timing.take_ping(at(13)));
        timing.on_read(at(13));
        timing.on_exchange(at(13), false, None);
        assert!(!timing.take_ping(at(15)), "nothing is unanswered");
    }

    #[test]
    fn sweeps_happen_only_while_something_is_outstanding() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut timing = timing(start);
        timing.on_exchange(start, true, None);
        assert_eq!(timing.due(), at(1));
        assert!(timing.take_sweep(at(1)) && !timing.take_sweep(at(1)));
        assert!(timing.take_ping(at(1)));
        assert_eq!(timing.due(), at(2));
        timing.on_exchange(at(1), false, Some(at(7)));
        assert_eq!(timing.due(), at(7));
    }
}
