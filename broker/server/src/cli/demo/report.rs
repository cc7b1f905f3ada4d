//! What the demo found, for people or as one JSON object.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::args::Format;
use super::super::failure::Failure;
use super::super::output::Output;
use super::ledger::Counts;

/// The result of a demo.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) body_len: u32,
    pub(super) counts: Counts,
    /// From the first send to the last confirmation, the restart included.
    pub(super) send_time: Duration,
    /// From the first send to the last message, the restart included.
    pub(super) receive_time: Duration,
    /// From the kill until the broker served again.
    pub(super) away_time: Duration,
    /// The longest time between two confirmed sends.
    pub(super) longest_pause: Duration,
    pub(super) node_count: u8,
}

impl Report {
    /// Prints the result; fails when the broker broke a promise.
    pub(super) fn print(&self, output: &mut Output) -> Result<(), Failure> {
        match output.format() {
            Format::Json => output.json(&self.to_json())?,
            Format::Table => self
                .to_lines()
                .iter()
                .try_for_each(|line| output.line(line))?,
        }
        if self.counts.is_good() {
            return Ok(());
        }
        Err(Failure::Partial("messages were lost or changed".to_owned()))
    }

    fn to_lines(&self) -> Vec<String> {
        let counts = &self.counts;
        let mut lines = vec![
            format!(
                "sent {} messages of {} bytes over TLS",
                counts.sent, self.body_len
            ),
            format!("received {}", counts.received),
            format!("lost {}", counts.lost),
            format!("redelivered {}", counts.redelivered),
            format!(
                "resent {} with unknown outcome, stored twice {}",
                counts.unknown, counts.duplicates
            ),
            self.kill_line(),
            format!(
                "rates with that included: {:.0} sent/s, {:.0} received/s",
                rate(counts.sent, self.send_time),
                rate(counts.received, self.receive_time)
            ),
        ];
        for (count, what) in [
            (counts.differing, "bodies differed"),
            (
                counts.duplicates_wrong,
                "messages were stored twice without a reason",
            ),
            (counts.undeleted, "messages came back after their delete"),
        ] {
            if count > 0 {
                lines.push(format!("WRONG: {count} {what}"));
            }
        }
        lines
    }

    fn kill_line(&self) -> String {
        let away_ms = self.away_time.as_millis();
        if self.node_count == 1 {
            return format!("killed once with SIGKILL, away for {away_ms} ms");
        }
        format!(
            "killed the leader of {} nodes with SIGKILL, away for {away_ms} ms; longest pause \
             between two confirmed sends {} ms",
            self.node_count,
            self.longest_pause.as_millis()
        )
    }

    fn to_json(&self) -> Value {
        let counts = &self.counts;
        json!({
            "body_bytes": self.body_len,
            "sent": counts.sent,
            "received": counts.received,
            "lost": counts.lost,
            "redelivered": counts.redelivered,
            "resent_unknown": counts.unknown,
            "duplicates": counts.duplicates,
            "duplicates_wrong": counts.duplicates_wrong,
            "differing": counts.differing,
            "undeleted": counts.undeleted,
            "away_ms": u64::try_from(self.away_time.as_millis()).unwrap_or(u64::MAX),
            "nodes": self.node_count,
            "longest_pause_ms":
                u64::try_from(self.longest_pause.as_millis()).unwrap_or(u64::MAX),
            "sent_per_s": rate(counts.sent, self.send_time).round(),
            "received_per_s": rate(counts.received, self.receive_time).round(),
        })
    }
}

fn rate(count: u64, time: Duration) -> f64 {
    // Counts here are far below 2^52, where f64 is exact.
    count as f64 / time.as_secs_f64().max(1e-6)
}

#[cfg(test)]
mod tests {
    use super::super::super::output::tests::{attempted, printed};
    use super::*;

    fn report(lost: u64) -> Report {
        let counts = Counts {
            sent: 1_000,
            received: 1_000 - lost,
            lost,
            ..Counts::default()
        };
        Report {
            body_len: 1_024,
            counts,
            send_time: Duration::from_secs(2),
            receive_time: Duration::from_secs(4),
            away_time: Duration::from_millis(150),
            longest_pause: Duration::from_millis(700),
            node_count: 1,
        }
    }

    #[test]
    fn a_good_run_says_lost_0_and_both_rates() {
        let text = printed(Format::Table, |output| report(0).print(output));
        assert!(text.lines().any(|line| line == "lost 0"), "{text}");
        assert!(text.contains("500 sent/s, 250 received/s"), "{text}");
        assert!(!text.contains("WRONG"));
    }

    #[test]
    fn a_run_with_several_nodes_says_for_how_long_sends_paused() {
        let mut report = report(0);
        report.node_count = 3;
        let text = printed(Format::Table, |output| report.print(output));
        assert!(text.contains("leader of 3 nodes"), "{text}");
        assert!(text.contains("sends 700 ms"), "{text}");
    }

    #[test]
    fn any_loss_or_change_fails_with_code_1() {
        let code_of = |report: Report| {
            let (_, done) = attempted(Format::Json, |output| report.print(output));
            done.expect_err("a promise was broken").exit_code()
        };
        assert_eq!(code_of(report(1)), 1);
        for change in [
            |counts: &mut Counts| counts.differing = 1,
            |counts: &mut Counts| counts.duplicates_wrong = 1,
            |counts: &mut Counts| counts.undeleted = 1,
        ] {
            let mut report = report(0);
            change(&mut report.counts);
            assert_eq!(code_of(report), 1);
        }
    }
}
