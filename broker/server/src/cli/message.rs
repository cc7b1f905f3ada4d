//! `sampan message`: what is done with single messages, received ones by their receipt handles and
//! delayed ones by their ids.

use std::time::Duration;

use sampan_client::{Client, MessageId};
use serde_json::json;

use super::args::MessageVerb;
use super::delete::change_visibility;
use super::failure::Failure;
use super::instant;
use super::output::Output;
use super::peek;

/// Carries out a message command.
pub(crate) async fn run(
    client: &Client,
    verb: &MessageVerb,
    output: &mut Output,
) -> Result<(), Failure> {
    match verb {
        MessageVerb::Extend {
            queue,
            handles,
            timeout,
        } => {
            let queue = client.queue(queue);
            change_visibility(&queue, handles, "extended", *timeout, output).await
        }
        MessageVerb::Release { queue, handles } => {
            let (queue, timeout) = (client.queue(queue), Duration::ZERO);
            change_visibility(&queue, handles, "released", timeout, output).await
        }
        MessageVerb::Show { queue, id } => {
            peek::one(&client.queue(queue), MessageId(*id), output).await
        }
        MessageVerb::Cancel { queue, id } => {
            client.queue(queue).cancel(MessageId(*id)).await?;
            output.either(
                &format!("cancelled message {id}"),
                &json!({ "cancelled": id }),
            )
        }
        MessageVerb::Reschedule {
            queue,
            id,
            delay,
            at,
        } => {
            let delay = delay.or(at.map(instant::until)).unwrap_or_default();
            let queue = client.queue(queue);
            queue.reschedule(MessageId(*id), delay).await?;
            output.either(
                &format!("rescheduled message {id}"),
                &json!({ "rescheduled": id }),
            )
        }
    }
}
