//! What a request about messages asks of its set, and what its sender can be told at once.

use sampan_cluster::{PeekRequest, Refused};
use sampan_core::{Command, Peek};
use sampan_protocol::limits::{
    RECEIVE_LEN_DEFAULT, VISIBILITY_TIMEOUT_MAX_MS, VISIBILITY_TIMEOUT_MIN_MS,
};
use sampan_protocol::{ChangeVisibility, ErrorCode, MessageBatch, QueueId, Request};

/// The command that a send, a delete, a change of visibility, a purge, a rewind, a reschedule or
/// the end of a redrive stands for.
pub(super) fn command_of(request: Request, queue: QueueId) -> Result<Command, Refused> {
    Ok(match request {
        Request::Send(send) => {
            check_bodies(&send.batch)?;
            Command::Send {
                queue,
                producer: send.producer,
                batch: send.batch,
            }
        }
        Request::Delete(delete) => Command::Delete {
            queue,
            handles: delete.handles,
        },
        Request::ChangeVisibility(change) => visibility_command(change, queue)?,
        Request::RedriveCancel { .. } => Command::RedriveCancel { queue },
        Request::QueuePurge { .. } => Command::Purge { queue },
        Request::QueueRewind(rewind) => Command::Rewind {
            queue,
            to: rewind.to,
        },
        Request::Reschedule(reschedule) => Command::Reschedule {
            queue,
            id: reschedule.id,
            delay_ms: reschedule.delay_ms,
        },
        _ => unreachable!("no other request is a command of a queue"),
    })
}

/// What a peek asks of its set; the frame's ranges were checked when it was decoded.
pub(super) fn peek_request(peek: &sampan_protocol::Peek, queue: QueueId) -> PeekRequest {
    let len_max = match peek.len_max {
        0 => RECEIVE_LEN_DEFAULT,
        len_max => len_max,
    };
    PeekRequest {
        queue,
        ask: Peek {
            of: peek.of,
            id: peek.id,
            count_max: peek.count_max,
            len_max,
        },
    }
}

fn visibility_command(change: ChangeVisibility, queue: QueueId) -> Result<Command, Refused> {
    let handles = change.handles;
    Ok(match change.visibility_timeout_ms {
        ChangeVisibility::UNDO_RECEIVE => Command::Release { queue, handles },
        visibility_timeout_ms => {
            check_visibility_timeout(visibility_timeout_ms, 0)?;
            Command::ChangeVisibility {
                queue,
                visibility_timeout_ms,
                handles,
            }
        }
    })
}

fn check_bodies(batch: &MessageBatch) -> Result<(), Refused> {
    batch.check_bodies().map_err(|index| {
        let text = format!("the body of message {index} of the batch does not have its checksum");
        out_of(ErrorCode::ChecksumMismatch, &text)
    })
}

pub(super) fn check_visibility_timeout(timeout_ms: u32, min_ms: u32) -> Result<(), Refused> {
    let is_release = timeout_ms == 0 && min_ms == 0;
    if is_release || (VISIBILITY_TIMEOUT_MIN_MS..=VISIBILITY_TIMEOUT_MAX_MS).contains(&timeout_ms) {
        return Ok(());
    }
    let text = format!(
        "visibility timeout: {VISIBILITY_TIMEOUT_MIN_MS} to {VISIBILITY_TIMEOUT_MAX_MS} ms"
    );
    Err(out_of(ErrorCode::VisibilityTimeoutOutOfRange, &text))
}

pub(super) fn out_of(code: ErrorCode, text: &str) -> Refused {
    Refused {
        code,
        retry_after_ms: 0,
        text: text.to_owned(),
    }
}
