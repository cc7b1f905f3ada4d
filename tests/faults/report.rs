//! What a run was like: a line for each round, and a table at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::checker::Violation;
use super::fault::Fault;
use super::history::{Event, Kind};

/// A run of this many rounds is long enough to be judged as a whole.
const LONG_ROUND_COUNT: usize = 30;
const SEND_COUNT_MIN: u64 = 10_000;
const ROUNDS_PER_LEADER_CHANGE: u64 = 3;
/// Rewinds and redrives, each kind.
const OPERATIONS_PER_ROUND: u64 = 1;

/// How often and how well sends succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Availability {
    pub(crate) send_count: u64,
    /// Seconds of load, and how many of them had a successful send.
    pub(crate) seconds: u64,
    pub(crate) good_seconds: u64,
    /// The longest time in which no send of some queue succeeded.
    pub(crate) longest_gap: Duration,
    pub(crate) rewind_count: u64,
    pub(crate) redrive_count: u64,
    /// Async sends that a power cut took back: their ids were given again.
    pub(crate) taken_back_count: u64,
}

impl Availability {
    /// Of the time until `until_us`, when the producers of these queues were told to stop.
    pub(crate) fn new(
        events: &[Event],
        queues: impl Iterator<Item = u16>,
        until_us: u64,
    ) -> Availability {
        let count = |kind| events.iter().filter(|event| event.is_done(kind)).count() as u64;
        let done = events.iter().filter(|event| event.is_done(Kind::Send));
        let done: Vec<&Event> = done.filter(|event| event.end_us <= until_us).collect();
        let Some(first_us) = done.iter().map(|event| event.end_us).min() else {
            return Availability::default();
        };
        let seconds = (until_us - first_us) / 1_000_000;
        let mut good: Vec<u64> = done
            .iter()
            .map(|event| (event.end_us - first_us) / 1_000_000)
            .collect();
        good.sort_unstable();
        good.dedup();
        let gaps = queues.map(|queue| longest_gap(&done, queue, first_us, until_us));
        Availability {
            send_count: done.len() as u64,
            seconds,
            good_seconds: good.iter().filter(|second| **second < seconds).count() as u64,
            longest_gap: Duration::from_micros(gaps.max().unwrap_or(0)),
            rewind_count: count(Kind::Rewind),
            redrive_count: count(Kind::Redrive),
            taken_back_count: taken_back_count(events),
        }
    }

    fn add(&mut self, other: Availability) {
        self.send_count += other.send_count;
        self.seconds += other.seconds;
        self.good_seconds += other.good_seconds;
        self.longest_gap = self.longest_gap.max(other.longest_gap);
        self.rewind_count += other.rewind_count;
        self.redrive_count += other.redrive_count;
        self.taken_back_count += other.taken_back_count;
    }

    fn percent(self) -> f64 {
        // Far below 2^52, where f64 is exact.
        100.0 * self.good_seconds as f64 / self.seconds.max(1) as f64
    }
}

fn taken_back_count(events: &[Event]) -> u64 {
    let done = events.iter().filter(|event| event.is_done(Kind::Send));
    let mut ids: Vec<_> = done.map(|event| (event.queue, event.message)).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    (all - ids.len()) as u64
}

fn longest_gap(done: &[&Event], queue: u16, from_us: u64, until_us: u64) -> u64 {
    let ours = done.iter().filter(|event| event.queue == queue);
    let mut ends: Vec<u64> = ours.map(|event| event.end_us).collect();
    ends.extend([from_us, until_us]);
    ends.sort_unstable();
    ends.windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(0)
}

/// What came of one round.
pub(crate) struct Round {
    pub(crate) number: u64,
    pub(crate) seed: u64,
    pub(crate) fault: Fault,
    /// What exactly was done.
    pub(crate) done: String,
    pub(crate) availability: Availability,
    pub(crate) leader_changes: u64,
    pub(crate) violations: Vec<Violation>,
    pub(crate) took: Duration,
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Availability {
            send_count,
            seconds,
            good_seconds,
            longest_gap,
            rewind_count,
            redrive_count,
            taken_back_count,
        } = self.availability;
        write!(
            f,
            "round {}, seed {}: {} ({}): {send_count} sends, {} leader changes, longest gap {} ms, \
             sends in {good_seconds} of {seconds} s, {rewind_count} rewinds, \
             {redrive_count} redrives, {taken_back_count} async sends taken back, {} s: {}",
            self.number,
            self.seed,
            self.fault.name(),
            self.done,
            self.leader_changes,
            longest_gap.as_millis(),
            self.took.as_secs(),
            if self.violations.is_empty() {
                "ok"
            } else {
                "VIOLATION"
            },
        )
    }
}

/// Everything of one kind of fault.
#[derive(Default)]
struct Row {
    round_count: u64,
    violation_count: u64,
    leader_changes: u64,
    availability: Availability,
}

/// All rounds of a run.
#[derive(Default)]
pub(crate) struct Report {
    rows: BTreeMap<Fault, Row>,
    round_count: usize,
}

impl Report {
    /// Adds a round.
    pub(crate) fn add(&mut self, round: &Round) {
        self.round_count += 1;
        let row = self.rows.entry(round.fault).or_default();
        row.round_count += 1;
        row.violation_count += u64::from(!round.violations.is_empty());
        row.leader_changes += round.leader_changes;
        row.availability.add(round.availability);
    }

    /// What is wrong with the run as a whole, if it was a long one of several nodes.
    pub(crate) fn trouble(&self, is_single: bool) -> Option<String> {
        let total = self.total();
        if self.round_count < LONG_ROUND_COUNT {
            return None;
        }
        if total.availability.send_count < SEND_COUNT_MIN {
            return Some(format!("only {} sends", total.availability.send_count));
        }
        let operations = total
            .availability
            .rewind_count
            .min(total.availability.redrive_count);
        if operations < self.round_count as u64 * OPERATIONS_PER_ROUND {
            return Some(format!("only {operations} rewinds or redrives"));
        }
        let wanted = self.round_count as u64 / ROUNDS_PER_LEADER_CHANGE;
        let changes = total.leader_changes;
        (!is_single && changes < wanted).then(|| format!("only {changes} leader changes"))
    }

    fn total(&self) -> Row {
        let mut total = Row::default();
        for row in self.rows.values() {
            total.round_count += row.round_count;
            total.violation_count += row.violation_count;
            total.leader_changes += row.leader_changes;
            total.availability.add(row.availability);
        }
        total
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| fault | rounds | violations | sends acknowledged | leader changes | longest gap | \
             seconds with a send | rewinds | redrives | async sends taken back |\n\
             |---|---|---|---|---|---|---|---|---|---|"
        )?;
        let rows = self.rows.iter().map(|(fault, row)| (fault.name(), row));
        let total = self.total();
        for (name, row) in rows.chain([("all", &total)]) {
            writeln!(
                f,
                "| {name} | {} | {} | {} | {} | {} ms | {:.2} % | {} | {} | {} |",
                row.round_count,
                row.violation_count,
                row.availability.send_count,
                row.leader_changes,
                row.availability.longest_gap.as_millis(),
                row.availability.percent(),
                row.availability.rewind_count,
                row.availability.redrive_count,
                row.availability.taken_back_count,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sends(ends_ms: &[u64]) -> Vec<Event> {
        let event = |end: &u64| Event {
            message: *end,
            ..Event::new(Kind::Send, 0, 0, end * 1_000)
        };
        ends_ms.iter().map(event).collect()
    }

    fn round(send_count: u64, leader_changes: u64) -> Round {
        Round {
            number: 1,
            seed: 7,
            fault: Fault::KillLeader,
            done: "nodes [1]".to_owned(),
            availability: Availability {
                send_count,
                seconds: 10,
                good_seconds: 9,
                longest_gap: Duration::from_millis(900),
                rewind_count: 2,
                redrive_count: 3,
                taken_back_count: 1,
            },
            leader_changes,
            violations: Vec::new(),
            took: Duration::from_secs(20),
        }
    }

    #[test]
    fn seconds_without_a_send_and_the_longest_gap_are_found() {
        let events = sends(&[1_000, 1_500, 2_100, 5_100]);
        let availability = Availability::new(&events, [0].into_iter(), 6_000_000);
        assert_eq!((availability.seconds, availability.good_seconds), (5, 3));
        assert_eq!(availability.longest_gap, Duration::from_secs(3));
    }

    #[test]
    fn an_id_that_was_given_again_is_a_send_taken_back() {
        let mut events = sends(&[1_000, 1_500, 2_100]);
        assert_eq!(taken_back_count(&events), 0);
        events[2].message = events[0].message;
        assert_eq!(taken_back_count(&events), 1);
        events[2].queue = 1;
        assert_eq!(taken_back_count(&events), 0);
    }

    #[test]
    fn the_table_has_a_row_for_each_fault_and_one_for_all() {
        let mut report = Report::default();
        report.add(&round(100, 1));
        report.add(&round(200, 2));
        let text = report.to_string();
        let row = "| kill leader | 2 | 0 | 300 | 3 | 900 ms | 90.00 % | 4 | 6 | 2 |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("| all | 2 |"), "{text}");
        assert!(round(1, 1).to_string().ends_with(": ok"));
    }

    #[test]
    fn a_long_run_in_which_little_happened_is_worth_nothing() {
        let long = |round: Round| {
            let mut report = Report::default();
            (0..LONG_ROUND_COUNT).for_each(|_| report.add(&round));
            report
        };
        let report = |send_count, leader_changes| long(round(send_count, leader_changes));
        let mut idle = round(1_000, 1);
        idle.availability.rewind_count = 0;
        assert!(long(idle).trouble(false).is_some());
        assert!(report(1, 1).trouble(false).is_some());
        assert!(report(1_000, 0).trouble(false).is_some());
        assert!(report(1_000, 0).trouble(true).is_none());
        assert!(report(1_000, 1).trouble(false).is_none());
    }
}
