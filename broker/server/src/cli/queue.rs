//! `sampan queue`: create, set, show, list, delete.

use sampan_client::{Client, QueueDescription, QueueOptions};
use serde_json::{Value, json};

use super::args::{AttributeArguments, Format, QueueVerb};
use super::duration::format_ms;
use super::failure::Failure;
use super::output::Output;
use super::size;

/// Carries out a queue command.
pub(crate) async fn run(
    client: &Client,
    verb: QueueVerb,
    output: &mut Output,
) -> Result<(), Failure> {
    match verb {
        QueueVerb::Create { name, attributes } => {
            client.create_queue(&name, options(&attributes)).await?;
            output.either(
                &format!("created queue {name}"),
                &json!({ "created": name }),
            )
        }
        QueueVerb::Set { name, attributes } => {
            client.set_queue(&name, options(&attributes)).await?;
            output.either(
                &format!("changed queue {name}"),
                &json!({ "changed": name }),
            )
        }
        QueueVerb::Show { name } => print_queue(&client.show_queue(&name).await?, output),
        QueueVerb::List { prefix } => list(client, &prefix, output).await,
        QueueVerb::Delete { name } => {
            client.delete_queue(&name).await?;
            output.either(
                &format!("deleted queue {name}"),
                &json!({ "deleted": name }),
            )
        }
    }
}

fn options(attributes: &AttributeArguments) -> QueueOptions {
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
    options
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
        "ready": counts.ready,
        "delayed": counts.delayed,
        "in_flight": counts.in_flight,
        "oldest_at_ms": counts.oldest_at.map(|at| at.0),
    })
}

/// Attributes in the units that the options take, so that they can be pasted.
fn queue_rows(queue: &QueueDescription) -> Vec<Vec<String>> {
    let (attributes, counts) = (&queue.attributes, &queue.counts);
    let row = |name: &str, value: String| vec![name.to_owned(), value];
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
        row("ready", counts.ready.to_string()),
        row("delayed", counts.delayed.to_string()),
        row("in flight", counts.in_flight.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use sampan_protocol::{QueueAttributes, QueueCounts, QueueId, SetId, Timestamp};

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
            },
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
    fn a_shown_table_has_attributes_as_the_options_take_them() {
        let text = printed(Format::Table, |output| print_queue(&queue(), output));
        for line in [
            "visibility-timeout  30s",
            "retention           4d",
            "delay               0s",
            "max-message-size    1MiB",
            "wait                500ms",
            "ready               3",
        ] {
            assert!(
                text.lines().any(|printed| printed == line),
                "{line:?} in\n{text}"
            );
        }
    }
}
