use futures::FutureExt;
use futures::future::BoxFuture;
use sampan_cluster::QueueMetrics;
use sampan_protocol::{QueueCounts, SetId, Timestamp};

use super::*;

struct Fine;

impl HealthSource for Fine {
    fn live(&self) -> Health {
        Health::Yes
    }

    fn ready(&self) -> Health {
        Health::Yes
    }

    fn quorum(&self) -> Health {
        Health::No("why".to_owned())
    }

    fn connection_count(&self) -> usize {
        3
    }

    fn metrics(&self) -> BoxFuture<'static, NodeMetrics> {
        async { NodeMetrics::default() }.boxed()
    }
}

fn queue(name: &str, ready: u64, age_ms: u64) -> QueueMetrics {
    QueueMetrics {
        name: name.to_owned(),
        set: SetId(2),
        counts: QueueCounts {
            ready,
            delayed: 1,
            in_flight: 0,
            moving: 2,
            bytes: ready * 10,
            oldest_at: (ready > 0).then_some(Timestamp(10_000 - age_ms)),
            ..QueueCounts::default()
        },
        now: Timestamp(10_000),
    }
}

#[track_caller]
fn assert_has(text: &str, line: &str) {
    assert!(text.lines().any(|found| found == line), "{line}\n{text}");
}

#[test]
fn every_figure_of_a_node_is_there_with_its_unit() {
    let figures = NodeMetrics {
        sets: vec![SetMetrics {
            set: SetId(2),
            role: "leader",
            term: 4,
            applied_index: 90,
            lag: 1,
            is_suspect: true,
            overlay_len: 5,
            checkpoint_begun_ms: 1_800_000_000_250,
            checkpoint_ended_ms: 0,
        }],
        queues: vec![queue("orders", 7, 2_500)],
        log: LogMetrics {
            appended_len: 1_000,
            sync_count: 8,
            sync_micros: 1_500_000,
            used_len: 64,
        },
        state_hash_mismatch_count: 1,
        clock_offset_ms: -250,
        damaged_body_count: 3,
        repaired_body_count: 2,
    };
    let text = render(&Fine, figures);
    for line in [
        "# TYPE sampan_log_sync_seconds summary",
        "sampan_log_sync_seconds_sum 1.5",
        "sampan_log_sync_seconds_count 8",
        "sampan_log_appended_bytes_total 1000",
        "sampan_log_used_bytes 64",
        "sampan_connections 3",
        "sampan_ready 1",
        "sampan_quorum 0",
        "sampan_state_hash_mismatches_total 1",
        "sampan_clock_offset_seconds -0.25",
        "sampan_damaged_bodies_total 3",
        "sampan_repaired_bodies_total 2",
        "sampan_set_role{set=\"2\",role=\"leader\"} 1",
        "sampan_set_role{set=\"2\",role=\"learner\"} 0",
        "sampan_set_term{set=\"2\"} 4",
        "sampan_set_applied_index{set=\"2\"} 90",
        "sampan_set_lag_entries{set=\"2\"} 1",
        "sampan_set_suspect{set=\"2\"} 1",
        "sampan_set_overlay_bytes{set=\"2\"} 5",
        "sampan_set_checkpoint_begun_timestamp_seconds{set=\"2\"} 1800000000.25",
        "sampan_set_checkpoint_ended_timestamp_seconds{set=\"2\"} 0",
        "sampan_queue_messages{queue=\"orders\",set=\"2\",state=\"ready\"} 7",
        "sampan_queue_messages{queue=\"orders\",set=\"2\",state=\"moving\"} 2",
        "sampan_queue_bytes{queue=\"orders\",set=\"2\"} 70",
        "sampan_queue_oldest_age_seconds{queue=\"orders\",set=\"2\"} 2.500",
        "sampan_queues 1",
        "sampan_queues_unlabelled 0",
    ] {
        assert_has(&text, line);
    }
    assert!(text.contains("sampan_refusals_total{number=\"201\",text=\"queue not found\"} "));
    assert!(text.contains("\nsampan_process_resident_bytes "));
}

#[test]
fn only_so_many_queues_have_series_and_the_rest_is_summed() {
    let count = QUEUE_LABEL_COUNT_MAX + 3;
    let mut queues: Vec<_> = (0..count)
        .map(|number| queue(&format!("q{number:05}"), 1, number as u64))
        .collect();
    queues.reverse();
    let figures = NodeMetrics {
        queues,
        ..NodeMetrics::default()
    };
    let text = render(&Fine, figures);
    let series = text.matches("state=\"ready\"").count();
    assert_eq!(series, QUEUE_LABEL_COUNT_MAX + 1);
    for line in [
        "sampan_queues 1003",
        "sampan_queues_unlabelled 3",
        "sampan_queue_messages{queue=\"\",set=\"\",state=\"ready\"} 3",
        "sampan_queue_messages{queue=\"\",set=\"\",state=\"delayed\"} 3",
        "sampan_queue_bytes{queue=\"\",set=\"\"} 30",
        "sampan_queue_oldest_age_seconds{queue=\"\",set=\"\"} 1.002",
        "sampan_queue_messages{queue=\"q00999\",set=\"2\",state=\"ready\"} 1",
    ] {
        assert_has(&text, line);
    }
}

#[test]
fn each_family_is_described_once_and_its_samples_follow_it() {
    let text = render(&Fine, NodeMetrics::default());
    let mut seen = std::collections::BTreeSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            family = rest.split(' ').next().unwrap();
            assert!(seen.insert(family), "{family} twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(family), "{line}");
        }
    }
}
