//! `sampan queue peek` and `sampan message show`: messages as they are, without receiving them.

use sampan_client::{MessageId, MessageState, PeekOf, PeekedMessage, Queue, headers};
use serde_json::{Value, json};

use super::args::{Format, PeekState};
use super::failure::Failure;
use super::output::Output;
use super::queue::rfc3339;
use super::receive::{printable, put_body, put_bytes};

/// Prints messages of one state. Goes on until there are `count`, or no more.
pub(crate) async fn page(
    queue: &Queue,
    state: PeekState,
    count: u16,
    after: u64,
    output: &mut Output,
) -> Result<(), Failure> {
    let of = match state {
        PeekState::Ready => PeekOf::Ready,
        PeekState::Delayed => PeekOf::Delayed,
        PeekState::InFlight => PeekOf::InFlight,
    };
    let (mut after, mut left) = (MessageId(after), usize::from(count));
    let mut messages = Vec::new();
    while let Ok(most @ 1..) = u16::try_from(left) {
        let page = queue.peek().of(of).after(after).max(most).await?;
        let Some(last) = page.last() else { break };
        after = last.id;
        left -= page.len().min(left);
        messages.extend(page);
    }
    print(&messages, output)
}

/// Prints one message; fails when there is none of this id.
pub(crate) async fn one(queue: &Queue, id: MessageId, output: &mut Output) -> Result<(), Failure> {
    match queue.message(id).await? {
        Some(message) => print(&[message], output),
        None => Err(Failure::Partial(format!(
            "queue {} has no message {id}: it is gone, or never was",
            queue.name()
        ))),
    }
}

fn print(messages: &[PeekedMessage], output: &mut Output) -> Result<(), Failure> {
    match output.format() {
        Format::Json => messages
            .iter()
            .try_for_each(|message| output.json(&to_json(message))),
        Format::Table if messages.is_empty() => Ok(()),
        Format::Table => {
            let heading = ["ID", "STATE", "READY AT", "RECEIVED", "SENT AT", "BODY"];
            let mut rows = vec![heading.map(str::to_owned).to_vec()];
            rows.extend(messages.iter().map(to_row));
            output.table(&rows)
        }
    }
}

fn state_name(state: MessageState) -> &'static str {
    match state {
        MessageState::Ready => "ready",
        MessageState::Delayed => "delayed",
        MessageState::InFlight => "in flight",
        MessageState::Resting => "resting",
    }
}

fn to_json(message: &PeekedMessage) -> Value {
    let header = |(name, value): (&str, &[u8])| {
        let mut header = json!({ "name": name });
        put_body(&mut header, "value", value);
        header
    };
    let headers: Vec<Value> = headers::decode(&message.headers).map(header).collect();
    let mut value = json!({
        "id": message.id.0,
        "state": state_name(message.state),
        "ready_at_ms": message.ready_at.map(|at| at.0),
        "receive_count": message.receive_count,
        "first_received_at_ms": message.first_received_at.map(|at| at.0),
        "sent_at_ms": message.sent_at.0,
        "headers": headers,
    });
    put_body(&mut value, "body", &message.body);
    if !message.group_key.is_empty() {
        let key = &message.group_key;
        put_bytes(&mut value, "group_key", "group_key_encoding", key);
    }
    value
}

fn to_row(message: &PeekedMessage) -> Vec<String> {
    vec![
        message.id.to_string(),
        state_name(message.state).to_owned(),
        message.ready_at.map_or("-".to_owned(), rfc3339),
        format!("{}x", message.receive_count),
        rfc3339(message.sent_at),
        printable(&message.body),
    ]
}
