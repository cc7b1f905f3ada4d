//! The other end: what a set's core does with the requests of a leader or a candidate.
//!
//! Entries are decoded here, on the set's core, as slices of what was read; their checksums were
//! compared before. An entry that this release cannot read ends the stream with an error: the
//! leader is to know that this node needs another release.

use std::cell::RefCell;
use std::fmt::Display;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use openraft::Raft;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult,
};
use openraft::storage::RaftStateMachine;
use sampan_storage::log::Payload;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::calls;
use super::codec::{from_wire_id, from_wire_vote, to_wire_id, to_wire_vote};
use crate::peer::{
    AppendAnswers, AppendBytes, AppendRequest, Appended, CallError, FrameError, IncomingAppends,
};
use crate::raft::payload::LogPayload;
use crate::raft::types::{RaftEntry, SetConfig};

type Request = AppendEntriesRequest<SetConfig>;

/// Serves an append stream until it ends. Runs on the set's core.
pub(crate) async fn serve_append<M>(raft: Raft<SetConfig, M>, stream: IncomingAppends)
where
    M: RaftStateMachine<SetConfig>,
{
    let IncomingAppends {
        first,
        rest,
        answers,
    } = stream;
    match rest {
        None => serve_single(&raft, first, answers).await,
        Some(rest) => serve_stream(&raft, first, rest, answers).await,
    }
}

/// A stream of one request, a heartbeat for one, needs no pipeline.
async fn serve_single<M>(
    raft: &Raft<SetConfig, M>,
    request: AppendRequest,
    mut answers: AppendAnswers,
) where
    M: RaftStateMachine<SetConfig>,
{
    let decoded = match decode(request.bytes) {
        Ok(decoded) => decoded,
        Err(error) => return answers.fail(&unreadable(error)).await,
    };
    let prev = decoded.prev_log_id;
    let last = decoded.entries.last().map(|entry| entry.log_id).or(prev);
    match raft.append_entries(decoded).await {
        Ok(AppendEntriesResponse::Conflict) if prev.is_none() => {
            let error = CallError::new(CallError::MALFORMED, "conflict before the first entry");
            answers.fail(&error).await;
        }
        Ok(response) => {
            let appended = to_appended(response.into_stream_result(prev, last));
            if answers.send(appended).await {
                answers.finish();
            }
        }
        Err(error) => answers.fail(&stopped(error)).await,
    }
}

async fn serve_stream<M>(
    raft: &Raft<SetConfig, M>,
    first: AppendRequest,
    rest: mpsc::Receiver<AppendRequest>,
    mut answers: AppendAnswers,
) where
    M: RaftStateMachine<SetConfig>,
{
    let unread = Rc::new(RefCell::new(None));
    let mut results = pin!(raft.stream_append(requests(first, rest, unread.clone())));
    while let Some(result) = results.next().await {
        match result {
            Ok(result) => {
                let appended = to_appended(result);
                if !answers.send(appended).await || appended.ends_stream() {
                    return;
                }
            }
            Err(fatal) => return answers.fail(&stopped(fatal)).await,
        }
    }
    let unread = unread.borrow_mut().take();
    match unread {
        Some(error) => answers.fail(&unreadable(error)).await,
        None => answers.finish(),
    }
}

struct Source {
    first: Option<AppendRequest>,
    rest: mpsc::Receiver<AppendRequest>,
    /// Of the request that is being taken over: its room is given back when the next is asked for.
    held: Option<Arc<OwnedSemaphorePermit>>,
    unread: Rc<RefCell<Option<String>>>,
}

/// The requests as openraft takes them; ends in front of one that cannot be read.
fn requests(
    first: AppendRequest,
    rest: mpsc::Receiver<AppendRequest>,
    unread: Rc<RefCell<Option<String>>>,
) -> impl Stream<Item = Request> + 'static {
    let source = Source {
        first: Some(first),
        rest,
        held: None,
        unread,
    };
    stream::unfold(source, |mut source| async move {
        source.held = None;
        let request = match source.first.take() {
            Some(first) => first,
            None => source.rest.recv().await?,
        };
        source.held = request.permit;
        match decode(request.bytes) {
            Ok(request) => Some((request, source)),
            Err(error) => {
                *source.unread.borrow_mut() = Some(error);
                None
            }
        }
    })
}

fn decode(bytes: AppendBytes) -> Result<Request, String> {
    let mut entries = Vec::with_capacity(bytes.entries.len());
    for (id, payload) in bytes.entries {
        let decoded = LogPayload::decode(payload).and_then(LogPayload::into_raft);
        entries.push(RaftEntry {
            log_id: from_wire_id(id),
            payload: decoded.map_err(|error| format!("entry {}: {error}", id.index))?,
        });
    }
    Ok(Request {
        vote: from_wire_vote(bytes.head.vote),
        prev_log_id: bytes.head.prev.map(from_wire_id),
        entries,
        leader_commit: bytes.head.commit.map(from_wire_id),
    })
}

fn to_appended(result: StreamAppendResult<SetConfig>) -> Appended {
    match result {
        Ok(id) => Appended::Matching(id.as_ref().map(to_wire_id)),
        Err(StreamAppendError::Conflict(id)) => Appended::Conflict(to_wire_id(&id)),
        Err(StreamAppendError::HigherVote(vote)) => Appended::HigherVote(to_wire_vote(&vote)),
    }
}

fn unreadable(error: String) -> CallError {
    tracing::error!(%error, "an entry of a leader cannot be read");
    CallError::new(CallError::MALFORMED, error)
}

fn stopped(error: impl Display) -> CallError {
    CallError::new(CallError::STOPPED, error.to_string())
}

/// Answers one of the consensus' calls: votes and the transfer of leadership. Runs on the set's
/// core. Whether this replica may vote at all is for the caller to know.
///
/// # Errors
///
/// What the caller's node is told.
pub(crate) async fn serve_raft_call<M>(
    raft: &Raft<SetConfig, M>,
    method: u16,
    payload: Bytes,
) -> Result<Bytes, CallError>
where
    M: RaftStateMachine<SetConfig>,
{
    match method {
        calls::VOTE => {
            let request = calls::decode_vote_request(payload).map_err(malformed)?;
            let response = raft.vote(request).await.map_err(stopped)?;
            Ok(calls::encode_vote_response(&response))
        }
        calls::PRE_VOTE => {
            let request = calls::decode_vote_request(payload).map_err(malformed)?;
            let response = raft.pre_vote(request).await.map_err(stopped)?;
            Ok(calls::encode_vote_response(&response))
        }
        calls::TRANSFER_LEADER => {
            let request = calls::decode_transfer_request(payload).map_err(malformed)?;
            let response = raft.handle_transfer_leader(request).await;
            Ok(calls::encode_transfer_response(&response.map_err(stopped)?))
        }
        method => {
            let text = format!("method {method} is not one of the consensus'");
            Err(CallError::new(CallError::UNKNOWN_METHOD, text))
        }
    }
}

fn malformed(error: FrameError) -> CallError {
    CallError::new(CallError::MALFORMED, error.to_string())
}

#[cfg(test)]
mod tests;
