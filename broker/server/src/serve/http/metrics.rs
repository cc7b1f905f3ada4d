//! A node's figures for Prometheus: which there are, and what they are called.
//!
//! Queues become labels, and users make queues: so at most [`QUEUE_LABEL_COUNT_MAX`] of them, the
//! first by name, have series of their own, and the rest is one series whose `queue` is empty.
//! By name and not by backlog, because series that come and go with a backlog cost a monitoring
//! system more than they tell. Spec: spec/http.md, "Metrics".

mod process;
mod queues;
mod text;

use sampan_cluster::{Health, LogMetrics, NodeMetrics, SetMetrics};

use self::text::{Kind, Text};
use super::HealthSource;
use crate::serve::refusals;

/// Queues with series of their own.
const QUEUE_LABEL_COUNT_MAX: usize = 1_000;
/// What a replica can be.
const ROLES: [&str; 5] = ["leader", "candidate", "follower", "learner", "stopped"];

/// All figures as text.
pub(super) fn render(source: &dyn HealthSource, figures: NodeMetrics) -> String {
    let mut text = Text::default();
    add_node(&mut text, source, &figures);
    add_refusals(&mut text);
    add_log(&mut text, &figures.log);
    add_sets(&mut text, &figures.sets);
    queues::add(&mut text, figures.queues);
    process::add(&mut text);
    text.finish()
}

fn add_node(text: &mut Text, source: &dyn HealthSource, figures: &NodeMetrics) {
    text.family("sampan_build_info", Kind::Gauge, "The release that runs.");
    text.sample("", &[("version", env!("CARGO_PKG_VERSION"))], 1_u64);
    for (name, help, health) in [
        ("sampan_ready", "1 while /readyz says so.", source.ready()),
        ("sampan_quorum", "1 while /quorum says so.", source.quorum()),
    ] {
        text.one(name, Kind::Gauge, help, u64::from(health == Health::Yes));
    }
    let count = u64::try_from(source.connection_count()).unwrap_or(u64::MAX);
    let help = "Connections of clients.";
    text.one("sampan_connections", Kind::Gauge, help, count);
    let help = "Replicas whose state differed from their leader's, since the start.";
    let count = figures.state_hash_mismatch_count;
    text.one(
        "sampan_state_hash_mismatches_total",
        Kind::Counter,
        help,
        count,
    );
    for (name, help, count) in [
        (
            "sampan_damaged_bodies_total",
            "Messages found damaged in a file, since the start.",
            figures.damaged_body_count,
        ),
        (
            "sampan_repaired_bodies_total",
            "Damaged messages that another replica gave, since the start.",
            figures.repaired_body_count,
        ),
    ] {
        text.one(name, Kind::Counter, help, count);
    }
    let help = "How far the wall clock is from the median of the cluster's.";
    let offset = seconds(1_000.0, figures.clock_offset_ms);
    text.one("sampan_clock_offset_seconds", Kind::Gauge, help, offset);
}

fn add_refusals(text: &mut Text) {
    let help = "Requests refused, by error number.";
    text.family("sampan_refusals_total", Kind::Counter, help);
    for (code, count) in refusals::counts() {
        let number = code.number().to_string();
        text.sample("", &[("number", &number), ("text", code.text())], count);
    }
}

fn add_log(text: &mut Text, log: &LogMetrics) {
    let help = "Bytes of entries appended and written.";
    text.one(
        "sampan_log_appended_bytes_total",
        Kind::Counter,
        help,
        log.appended_len,
    );
    let help = "Writing and syncing the log.";
    text.family("sampan_log_sync_seconds", Kind::Summary, help);
    let micros = i64::try_from(log.sync_micros).unwrap_or(i64::MAX);
    text.sample("_sum", &[], seconds(1_000_000.0, micros));
    text.sample("_count", &[], log.sync_count);
    let help = "Bytes of log files in use.";
    text.one("sampan_log_used_bytes", Kind::Gauge, help, log.used_len);
}

fn add_sets(text: &mut Text, sets: &[SetMetrics]) {
    let numbered: Vec<_> = sets
        .iter()
        .map(|set| (set.set.0.to_string(), set))
        .collect();
    text.family(
        "sampan_set_role",
        Kind::Gauge,
        "1 for what this replica is.",
    );
    for (number, set) in &numbered {
        for role in ROLES {
            let labels = [("set", number.as_str()), ("role", role)];
            text.sample("", &labels, u64::from(set.role == role));
        }
    }
    type Figure = fn(&SetMetrics) -> u64;
    let figures: [(&str, &str, Figure); 5] = [
        ("sampan_set_term", "The set's Raft term.", |set| set.term),
        (
            "sampan_set_applied_index",
            "The last entry applied here.",
            |set| set.applied_index,
        ),
        (
            "sampan_set_lag_entries",
            "Entries known to exist that are not applied here.",
            |set| set.lag,
        ),
        (
            "sampan_set_suspect",
            "1 while this replica does not vote because it may have lost entries.",
            |set| u64::from(set.is_suspect),
        ),
        (
            "sampan_set_overlay_bytes",
            "Bytes of messages in memory.",
            |set| set.overlay_len,
        ),
    ];
    for (name, help, figure) in figures {
        text.family(name, Kind::Gauge, help);
        for (number, set) in &numbered {
            text.sample("", &[("set", number)], figure(set));
        }
    }
    let moments: [(&str, &str, Figure); 2] = [
        (
            "sampan_set_checkpoint_begun_timestamp_seconds",
            "When the latest checkpoint began; 0 before the first.",
            |set| set.checkpoint_begun_ms,
        ),
        (
            "sampan_set_checkpoint_ended_timestamp_seconds",
            "When a checkpoint last ended; one is running while this is the earlier.",
            |set| set.checkpoint_ended_ms,
        ),
    ];
    for (name, help, moment) in moments {
        text.family(name, Kind::Gauge, help);
        for (number, set) in &numbered {
            let at_ms = i64::try_from(moment(set)).unwrap_or(i64::MAX);
            text.sample("", &[("set", number)], seconds(1_000.0, at_ms));
        }
    }
}

/// `count` parts of which a second has `parts`.
#[expect(
    clippy::cast_precision_loss,
    reason = "a figure to look at; exact up to 2^53"
)]
fn seconds(parts: f64, count: i64) -> f64 {
    count as f64 / parts
}

#[cfg(test)]
mod tests;
