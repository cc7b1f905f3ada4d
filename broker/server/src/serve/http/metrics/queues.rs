//! Figures of queues.

use sampan_cluster::QueueMetrics;
use sampan_protocol::QueueCounts;

use super::QUEUE_LABEL_COUNT_MAX;
use super::text::{Kind, Text};

/// What is told of one queue, or of several together.
#[derive(Default)]
struct Row {
    name: String,
    set: String,
    /// In the order of [`STATES`].
    counts: [u64; STATES.len()],
    bytes: u64,
    oldest_age_ms: u64,
}

/// Values of the label `state`.
const STATES: [&str; 5] = ["ready", "delayed", "in_flight", "moving", "undeliverable"];

fn by_state(counts: &QueueCounts) -> [u64; STATES.len()] {
    [
        counts.ready,
        counts.delayed,
        counts.in_flight,
        counts.moving,
        counts.undeliverable,
    ]
}

/// Adds all queues.
pub(super) fn add(text: &mut Text, mut queues: Vec<QueueMetrics>) {
    queues.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let count = queues.len();
    let rest = queues.split_off(count.min(QUEUE_LABEL_COUNT_MAX));
    let mut rows: Vec<Row> = queues.into_iter().map(row).collect();
    if !rest.is_empty() {
        let empty = Row {
            name: String::new(),
            ..Row::default()
        };
        rows.push(rest.iter().fold(empty, together));
    }
    let help = "Queues whose set this node leads.";
    text.one("sampan_queues", Kind::Gauge, help, count);
    let help = "Of these, queues that have no series of their own: the one without a name has all.";
    text.one("sampan_queues_unlabelled", Kind::Gauge, help, rest.len());
    let help = "Messages by state.";
    text.family("sampan_queue_messages", Kind::Gauge, help);
    for row in &rows {
        for (state, count) in STATES.into_iter().zip(row.counts) {
            let labels = [
                ("queue", row.name.as_str()),
                ("set", &row.set),
                ("state", state),
            ];
            text.sample("", &labels, count);
        }
    }
    let help = "Bytes of messages, in whatever state.";
    text.family("sampan_queue_bytes", Kind::Gauge, help);
    for row in &rows {
        let labels = [("queue", row.name.as_str()), ("set", &row.set)];
        text.sample("", &labels, row.bytes);
    }
    let help = "Age of the oldest ready message; 0 without one.";
    text.family("sampan_queue_oldest_age_seconds", Kind::Gauge, help);
    for row in &rows {
        let labels = [("queue", row.name.as_str()), ("set", &row.set)];
        let (seconds, millis) = (row.oldest_age_ms / 1_000, row.oldest_age_ms % 1_000);
        text.sample("", &labels, format_args!("{seconds}.{millis:03}"));
    }
}

fn row(queue: QueueMetrics) -> Row {
    Row {
        oldest_age_ms: oldest_age_ms(&queue),
        set: queue.set.0.to_string(),
        counts: by_state(&queue.counts),
        bytes: queue.counts.bytes,
        name: queue.name,
    }
}

fn together(row: Row, queue: &QueueMetrics) -> Row {
    let more = by_state(&queue.counts);
    Row {
        counts: std::array::from_fn(|place| row.counts[place] + more[place]),
        bytes: row.bytes.saturating_add(queue.counts.bytes),
        oldest_age_ms: row.oldest_age_ms.max(oldest_age_ms(queue)),
        ..row
    }
}

fn oldest_age_ms(queue: &QueueMetrics) -> u64 {
    let oldest = queue.counts.oldest_at.unwrap_or(queue.now);
    queue.now.0.saturating_sub(oldest.0)
}
