//! `sampan receive`: one receive, printed, and deleted afterwards if asked for.
//!
//! Messages are deleted only once they are printed and flushed: when the reader is gone, they
//! come back to the queue instead of being lost.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sampan_client::{Client, DeadLetter, Delivery};
use serde_json::{Value, json};

use super::args::{Format, ReceiveArguments};
use super::delete;
use super::failure::Failure;
use super::output::Output;

/// Receives once and prints.
pub(crate) async fn run(
    client: &Client,
    arguments: &ReceiveArguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let queue = client.queue(&arguments.queue);
    let mut receive = queue.receive().max(arguments.max);
    if let Some(wait) = arguments.wait {
        receive = receive.wait(wait);
    }
    if let Some(timeout) = arguments.visibility_timeout {
        receive = receive.visibility_timeout(timeout);
    }
    let deliveries = receive.await?;
    let received: Vec<Received<'_>> = deliveries.iter().map(Received::from).collect();
    print(&received, output)?;
    output.flush()?;
    if !arguments.delete {
        return Ok(());
    }
    let handles: Vec<_> = deliveries.iter().map(|delivery| delivery.handle).collect();
    let failed = delete::delete(&queue, &handles).await?;
    delete::tell_failed("deleted", &failed)
}

/// What is printed of a message.
struct Received<'a> {
    id: u64,
    handle: u64,
    receive_count: u32,
    sent_at_ms: u64,
    group_key: Option<&'a [u8]>,
    dedup_key: Option<&'a [u8]>,
    body: &'a [u8],
    /// Of a message in a dead-letter queue.
    dead_letter: Option<DeadLetter>,
}

impl<'a> From<&'a Delivery> for Received<'a> {
    fn from(delivery: &'a Delivery) -> Self {
        Received {
            id: delivery.id.0,
            handle: delivery.handle.0,
            receive_count: delivery.receive_count,
            sent_at_ms: delivery.sent_at.0,
            group_key: delivery.group_key.as_deref(),
            dedup_key: delivery.dedup_key.as_deref(),
            body: &delivery.body,
            dead_letter: delivery.dead_letter(),
        }
    }
}

fn print(received: &[Received<'_>], output: &mut Output) -> Result<(), Failure> {
    if received.is_empty() {
        return Ok(());
    }
    match output.format() {
        Format::Json => received
            .iter()
            .try_for_each(|received| output.json(&to_json(received))),
        Format::Table => {
            let mut rows = vec![
                ["ID", "HANDLE", "RECEIVED", "BODY"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            rows.extend(received.iter().map(to_row));
            output.table(&rows)
        }
    }
}

fn to_json(received: &Received<'_>) -> Value {
    let mut value = json!({
        "id": received.id,
        "handle": received.handle,
        "receive_count": received.receive_count,
        "sent_at_ms": received.sent_at_ms,
    });
    put_bytes(&mut value, "body", "encoding", received.body);
    if let Some(key) = received.group_key {
        put_bytes(&mut value, "group_key", "group_key_encoding", key);
    }
    if let Some(key) = received.dedup_key {
        put_bytes(&mut value, "dedup_key", "dedup_key_encoding", key);
    }
    if let Some(letter) = &received.dead_letter {
        value["dead_letter"] = json!({
            "source_queue": letter.source_queue,
            "source_id": letter.source_id.0,
            "receive_count": letter.receive_count,
            "reason": letter.reason.text(),
            "dead_at_ms": letter.dead_at.0,
        });
    }
    value
}

/// Sets a member to a text as it is, or to other bytes in base64 and says so.
pub(crate) fn put_body(value: &mut Value, name: &str, body: &[u8]) {
    put_bytes(value, name, "encoding", body);
}

/// As text, or else in base64, and then the encoding is told.
pub(crate) fn put_bytes(value: &mut Value, name: &str, encoding: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => value[name] = text.into(),
        Err(_) => {
            value[name] = STANDARD.encode(bytes).into();
            value[encoding] = "base64".into();
        }
    }
}

fn to_row(received: &Received<'_>) -> Vec<String> {
    vec![
        received.id.to_string(),
        received.handle.to_string(),
        format!("{}x", received.receive_count),
        printable(received.body),
    ]
}

/// Text with its control characters escaped: a body must not move the cursor of a terminal.
pub(crate) fn printable(body: &[u8]) -> String {
    let mut text = String::with_capacity(body.len());
    for character in String::from_utf8_lossy(body).chars() {
        if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::output::tests::printed;
    use super::*;

    fn received(body: &[u8]) -> Received<'_> {
        Received {
            id: 3,
            handle: (1 << 63) - 1,
            receive_count: 2,
            sent_at_ms: 5,
            group_key: None,
            dedup_key: None,
            body,
            dead_letter: None,
        }
    }

    fn json_of(body: &[u8]) -> Value {
        let text = printed(Format::Json, |output| print(&[received(body)], output));
        assert_eq!(text.lines().count(), 1);
        serde_json::from_str(&text).expect("one object")
    }

    #[test]
    fn a_body_that_is_text_is_shown_as_it_is() {
        let value = json_of("grüße\n".as_bytes());
        assert_eq!(value["body"], "grüße\n");
        assert!(value.get("encoding").is_none());
        assert_eq!(value["handle"], (1_u64 << 63) - 1);
        assert_eq!(value["receive_count"], 2);
    }

    #[test]
    fn a_body_that_is_no_text_is_base64_and_says_so() {
        let value = json_of(&[0xff, 0x00, 0x01]);
        assert_eq!(value["body"], "/wAB");
        assert_eq!(value["encoding"], "base64");
    }

    #[test]
    fn a_deduplication_key_is_shown_like_a_body_and_only_when_there_is_one() {
        let shown = |dedup_key| {
            let received = Received {
                dedup_key,
                ..received(b"body")
            };
            to_json(&received)
        };
        assert!(shown(None).get("dedup_key").is_none());
        let value = shown(Some(b"order-4711"));
        assert_eq!(value["dedup_key"], "order-4711");
        assert!(value.get("dedup_key_encoding").is_none() && value.get("encoding").is_none());
        let value = shown(Some(&[0xff, 0x00, 0x01]));
        assert_eq!(value["dedup_key"], "/wAB");
        assert_eq!(value["dedup_key_encoding"], "base64");
        assert_eq!(value["body"], "body");
    }

    #[test]
    fn a_group_key_is_shown_like_a_deduplication_key() {
        let received = Received {
            group_key: Some(b"account 12"),
            ..received(b"body")
        };
        assert_eq!(to_json(&received)["group_key"], "account 12");
    }

    #[test]
    fn nothing_received_prints_nothing() {
        for format in [Format::Json, Format::Table] {
            assert_eq!(printed(format, |output| print(&[], output)), "");
        }
    }

    #[test]
    fn a_table_keeps_one_line_per_message_whatever_its_body_is() {
        let text = printed(Format::Table, |output| {
            print(&[received(b"a\nb\x1b[2J"), received(&[0xff])], output)
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[1].ends_with("a\\nb\\u{1b}[2J"), "{}", lines[1]);
    }
}
