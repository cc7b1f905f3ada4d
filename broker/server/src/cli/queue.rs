//! `sampan queue`: create, set, pause, resume, show, why, list, peek, purge, rewind, delete.

use sampan_client::{Client, GroupMode, QueueDescription, QueueOptions, Timestamp, WhenFull, Why};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::args::{AttributeArguments, Format, GroupsArgument, QueueVerb, WhenFullArgument};
use super::duration::format_ms;
use super::failure::Failure;
use super::output::Output;
use super::peek;
use super::size;

/// Carries out a queue command.
pub(crate) async fn run(
    client: &Client,
    verb: QueueVerb,
    output: &mut Output,
) -> Result<(), Failure> {
    match verb {
        QueueVerb::Create { name, attributes } => {
            let options = options(client, &attributes).await?;
            client.create_queue(&name, options).await?;
            output.either(
                &format!("created queue {name}"),
                &json!({ "created": name }),
            )
        }
        QueueVerb::Set { name, attributes } => {
            let options = options(client, &attributes).await?;
            client.set_queue(&name, options).await?;
            output.either(
                &format!("changed queue {name}"),
                &json!({ "changed": name }),
            )
        }
        QueueVerb::Show { name } => print_queue(&client.show_queue(&name).await?, output),
        QueueVerb::Pause { name } => {
            let options = QueueOptions::new().paused(true);
            client.set_queue(&name, options).await?;
            output.either(&format!("paused queue {name}"), &json!({ "paused": name }))
        }
        QueueVerb::Resume { name } => {
            let options = QueueOptions::new().paused(false);
            client.set_queue(&name, options).await?;
            output.either(
                &format!("resumed queue {name}"),
                &json!({ "resumed": name }),
            )
        }
        QueueVerb::Why { name } => why(&client.show_queue(&name).await?, output),
        QueueVerb::List { prefix } => list(client, &prefix, output).await,
        QueueVerb::Peek {
            name,
            state,
            count,
            after,
        } => peek::page(&client.queue(&name), state, count, after, output).await,
        QueueVerb::Purge { name } => {
            let count = client.queue(&name).purge().await?;
            output.either(
                &format!("purged {count} messages from queue {name}"),
                &json!({ "purged": name, "count": count }),
            )
        }
        QueueVerb::Rewind { name, to } => {
            let count = client.queue(&name).rewind(to).await?;
            output.either(
                &format!("{count} messages of queue {name} come back"),
                &json!({ "rewound": name, "count": count }),
            )
        }
        QueueVerb::Delete { name } => {
            client.delete_queue(&name).await?;
            output.either(
                &format!("deleted queue {name}"),
                &json!({ "deleted": name }),
            )
        }
    }
}

/// The broker knows a dead-letter queue by its id, people by its name.
async fn options(
    client: &Client,
    attributes: &AttributeArguments,
) -> Result<QueueOptions, Failure> {
    let options = plain_options(attributes);
    Ok(match attributes.dead_letter_queue.as_deref() {
        None => options,
        Some("") => options.without_dead_letter_queue(),
        Some(name) => options.dead_letter_queue(client.show_queue(name).await?.id),
    })
}

fn plain_options(attributes: &AttributeArguments) -> QueueOptions {
    let mut options = QueueOptions::new();
    if let Some(timeout) = attributes.visibility_timeout {
        options = options.visibility_timeout(timeout);
    }
    if let Some(retention) = attributes.retention {
        options = options.retention(retention);
    }
    if let Some(delay) = attributes.delay {
        options = options.delay(delay);
    }
    if let Some(len) = attributes.max_message_size {
        options = options.message_size_max(len);
    }
    if let Some(wait) = attributes.wait {
        options = options.receive_wait(wait);
    }
    if let Some((min, max)) = attributes.redelivery_delay {
        options = options.redelivery_delay(min, max);
    }
    if let Some(count) = attributes.max_messages {
        options = options.message_count_max(count);
    }
    if let Some(bytes) = attributes.max_bytes {
        options = options.byte_count_max(bytes);
    }
    if let Some(when_full) = attributes.when_full {
        options = options.when_full(match when_full {
            WhenFullArgument::Refuse => WhenFull::Refuse,
            WhenFullArgument::DropOldestToDeadLetter => WhenFull::DropOldestToDeadLetter,
        });
    }
    if let Some(count) = attributes.max_in_flight {
        options = options.in_flight_count_max(count);
    }
    if let Some(count) = attributes.max_delayed {
        options = options.delayed_count_max(count);
    }
    if let Some(count) = attributes.max_receives {
        options = options.receive_count_max(count);
    }
    if let Some(age) = attributes.dead_letter_after {
        options = options.dead_letter_after(age);
    }
    if let Some(window) = attributes.dedup_window {
        options = options.dedup_window(window);
    }
    if let Some(window) = attributes.rewind {
        options = options.rewind(window);
    }
    if let Some(durability) = attributes.durability {
        options = options.durability(durability.into());
    }
    if let Some(groups) = attributes.groups {
        options = options.groups(match groups {
            GroupsArgument::Off => GroupMode::Off,
            GroupsArgument::Ordered => GroupMode::Ordered,
            GroupsArgument::Fair => GroupMode::Fair,
        });
    }
    if let Some(is_paused) = attributes.paused {
        options = options.paused(is_paused);
    }
    options
}

fn why(queue: &QueueDescription, output: &mut Output) -> Result<(), Failure> {
    let counts = &queue.counts;
    let (reason, text) = match queue.why() {
        Why::Ready(count) => ("ready", format!("a receive gets something: {count} ready")),
        Why::Paused => ("paused", "the queue is paused".to_owned()),
        Why::Empty if counts.moving > 0 => (
            "empty",
            format!(
                "the queue is empty; {} go to its dead-letter queue",
                counts.moving
            ),
        ),
        Why::Empty => ("empty", "the queue is empty".to_owned()),
        Why::Locked(count) => (
            "groups in flight",
            format!(
                "{count} ready, all behind messages of their groups that are in flight or rest; {} \
                 in flight and {} delayed",
                counts.in_flight, counts.delayed
            ),
        ),
        Why::TooManyInFlight(count) => (
            "too many in flight",
            format!("{count} messages are in flight, and the queue allows no more"),
        ),
        Why::HiddenUntil(at) => (
            "hidden",
            format!(
                "{} delayed and {} in flight; nothing is ready before {}",
                counts.delayed,
                counts.in_flight,
                rfc3339(at)
            ),
        ),
    };
    let until_ms = match queue.why() {
        Why::HiddenUntil(at) => Some(at.0),
        _ => None,
    };
    let (is_full, when_full) = (queue.is_full(), queue.attributes.when_full);
    let sends = match (is_full, when_full) {
        (false, _) => "",
        (true, WhenFull::Refuse) => "; it is full, and sends are refused",
        (true, WhenFull::DropOldestToDeadLetter) => {
            "; it is full, and sends drive the oldest to its dead-letter queue"
        }
    };
    output.either(
        &format!("{text}{sends}"),
        &json!({ "why": reason, "until_ms": until_ms, "full": is_full }),
    )
}

fn groups_name(groups: GroupMode) -> &'static str {
    match groups {
        GroupMode::Off => "off",
        GroupMode::Ordered => "ordered",
        GroupMode::Fair => "fair",
    }
}

/// In UTC, to the millisecond. What no calendar reaches is told in milliseconds.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    let nanos = i128::from(at.0) * 1_000_000;
    let instant = OffsetDateTime::from_unix_timestamp_nanos(nanos);
    let text = instant
        .ok()
        .and_then(|instant| instant.format(&Rfc3339).ok());
    text.unwrap_or_else(|| format!("{} ms", at.0))
}

async fn list(client: &Client, prefix: &str, output: &mut Output) -> Result<(), Failure> {
    for name in client.list_queues(prefix).await? {
        output.either(&name, &json!({ "name": name }))?;
    }
    Ok(())
}

fn print_queue(queue: &QueueDescription, output: &mut Output) -> Result<(), Failure> {
    match output.format() {
        Format::Json => output.json(&queue_json(queue)),
        Format::Table => output.table(&queue_rows(queue)),
    }
}

fn queue_json(queue: &QueueDescription) -> Value {
    let (attributes, counts) = (&queue.attributes, &queue.counts);
    json!({
        "name": queue.name,
        "id": queue.id.0,
        "set": queue.set.0,
        "created_at_ms": queue.created_at.0,
        "visibility_timeout_ms": attributes.visibility_timeout_ms,
        "retention_ms": attributes.retention_ms,
        "delay_ms": attributes.delay_ms,
        "max_message_size": attributes.message_size_max,
        "wait_ms": attributes.receive_wait_ms,
        "paused": attributes.is_paused,
        "redelivery_delay_min_ms": attributes.redelivery_delay_min_ms,
        "redelivery_delay_max_ms": attributes.redelivery_delay_max_ms,
        "max_messages": attributes.message_count_max,
        "max_bytes": attributes.byte_count_max,
        "when_full": attributes.when_full.text(),
        "max_in_flight": attributes.in_flight_count_max,
        "max_delayed": attributes.delayed_count_max,
        "dead_letter_queue": queue.dead_letter_queue,
        "max_receives": attributes.receive_count_max,
        "dead_letter_after_ms": attributes.dead_letter_after_ms,
        "dedup_window_ms": attributes.dedup_window_ms,
        "rewind_ms": attributes.rewind_ms,
        "durability": attributes.durability.text(),
        "groups": groups_name(attributes.groups),
        "ready": counts.ready,
        "delayed": counts.delayed,
        "in_flight": counts.in_flight,
        "oldest_at_ms": counts.oldest_at.map(|at| at.0),
        "due_at_ms": counts.due_at.map(|at| at.0),
        "visible_at_ms": counts.visible_at.map(|at| at.0),
        "moving": counts.moving,
        "undeliverable": counts.undeliverable,
        "rewindable": counts.rewindable,
        "bytes": counts.bytes,
        "locked": counts.locked,
    })
}

/// Attributes in the units that the options take, so that they can be pasted.
fn queue_rows(queue: &QueueDescription) -> Vec<Vec<String>> {
    let (attributes, counts) = (&queue.attributes, &queue.counts);
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let redelivery_delay = format!(
        "{}..{}",
        format_ms(attributes.redelivery_delay_min_ms.into()),
        format_ms(attributes.redelivery_delay_max_ms.into())
    );
    vec![
        row("name", queue.name.clone()),
        row("id", queue.id.to_string()),
        row("set", queue.set.to_string()),
        row(
            "visibility-timeout",
            format_ms(attributes.visibility_timeout_ms.into()),
        ),
        row("retention", format_ms(attributes.retention_ms)),
        row("delay", format_ms(attributes.delay_ms)),
        row(
            "max-message-size",
            size::format(attributes.message_size_max),
        ),
        row("wait", format_ms(attributes.receive_wait_ms.into())),
        row("redelivery-delay", redelivery_delay),
        row("max-messages", attributes.message_count_max.to_string()),
        row("max-bytes", size::format(attributes.byte_count_max)),
        row("when-full", attributes.when_full.text().to_owned()),
        row("max-in-flight", attributes.in_flight_count_max.to_string()),
        row("max-delayed", attributes.delayed_count_max.to_string()),
        row("dedup-window", format_ms(attributes.dedup_window_ms.into())),
        row("rewind", format_ms(attributes.rewind_ms)),
        row("durability", attributes.durability.text().to_owned()),
        row("groups", groups_name(attributes.groups).to_owned()),
        row("paused", attributes.is_paused.to_string()),
        row("dead-letter-queue", queue.dead_letter_queue.clone()),
        row("max-receives", attributes.receive_count_max.to_string()),
        row(
            "dead-letter-after",
            format_ms(attributes.dead_letter_after_ms),
        ),
        row("ready", counts.ready.to_string()),
        row("delayed", counts.delayed.to_string()),
        row("in flight", counts.in_flight.to_string()),
        row("moving", counts.moving.to_string()),
        row("undeliverable", counts.undeliverable.to_string()),
        row("rewindable", counts.rewindable.to_string()),
        row("bytes", counts.bytes.to_string()),
        row("locked", counts.locked.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use sampan_protocol::{QueueAttributes, QueueCounts, QueueId, SetId};

    use super::super::output::tests::printed;
    use super::*;

    fn queue() -> QueueDescription {
        QueueDescription {
            name: "orders".to_owned(),
            id: QueueId(7),
            set: SetId(1),
            created_at: Timestamp(1_000),
            attributes: QueueAttributes {
                visibility_timeout_ms: 30_000,
                retention_ms: 345_600_000,
                delay_ms: 0,
                message_size_max: 1 << 20,
                receive_wait_ms: 500,
                ..QueueAttributes::default()
            },
            counts: QueueCounts {
                ready: 3,
                delayed: 2,
                in_flight: 1,
                oldest_at: None,
                ..QueueCounts::default()
            },
            dead_letter_queue: "dead".to_owned(),
        }
    }

    #[test]
    fn a_shown_queue_is_one_json_object_with_times_in_milliseconds() {
        let text = printed(Format::Json, |output| print_queue(&queue(), output));
        let value: Value = serde_json::from_str(&text).expect("one object");
        assert_eq!(value["name"], "orders");
        assert_eq!(value["retention_ms"], 345_600_000_u64);
        assert_eq!(value["max_message_size"], 1 << 20);
        assert_eq!(value["in_flight"], 1);
        assert_eq!(value["oldest_at_ms"], Value::Null);
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn why_names_the_reason_and_until_when() {
        let mut queue = queue();
        let told = |queue: &QueueDescription| printed(Format::Table, |output| why(queue, output));
        assert_eq!(told(&queue), "a receive gets something: 3 ready\n");
        queue.counts.ready = 0;
        queue.counts.due_at = Some(Timestamp(1_700_000_000_500));
        let text = "2 delayed and 1 in flight; nothing is ready before 2023-11-14T22:13:20.5Z\n";
        assert_eq!(told(&queue), text);
        let json = printed(Format::Json, |output| why(&queue, output));
        let expected = "{\"full\":false,\"until_ms\":1700000000500,\"why\":\"hidden\"}\n";
        assert_eq!(json, expected);
        (queue.counts.ready, queue.counts.locked) = (4, 4);
        let json = printed(Format::Json, |output| why(&queue, output));
        let expected = "{\"full\":false,\"until_ms\":null,\"why\":\"groups in flight\"}\n";
        assert_eq!(json, expected);
        queue.attributes.is_paused = true;
        assert_eq!(told(&queue), "the queue is paused\n");
        queue.attributes.message_count_max = 3;
        let text = "the queue is paused; it is full, and sends are refused\n";
        assert_eq!(told(&queue), text);
    }

    #[test]
    fn a_shown_table_has_attributes_as_the_options_take_them() {
        let text = printed(Format::Table, |output| print_queue(&queue(), output));
        for line in [
            "visibility-timeout  30s",
            "retention           4d",
            "delay               0s",
            "max-message-size    1MiB",
            "wait                500ms",
            "ready               3",
            "redelivery-delay    0s..0s",
            "max-bytes           1024TiB",
            "when-full           refuse",
            "max-in-flight       1000000",
            "dedup-window        5m",
            "rewind              0s",
            "durability          sync",
            "rewindable          0",
            "groups              off",
            "locked              0",
            "paused              false",
            "dead-letter-queue   dead",
        ] {
            assert!(
                text.lines().any(|printed| printed == line),
                "{line:?} in\n{text}"
            );
        }
    }
}
