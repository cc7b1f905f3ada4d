//! What of an entry's outcome goes into the state hash.
//!
//! Commands that change no message are rare, so all of their bytes go in. Of the others only what
//! the state made of them does: ids, runs of messages (see `queue::trace`), refusals. Texts of
//! refusals do not: they are for people, and a release may word them otherwise.
//! Spec: spec/state.md, "State hash".

use crate::command::Command;
use crate::reply::Reply;
use crate::state_hash::StateHash;

const NOTHING_RECEIVED: u64 = 1;
const HANDLE_FAILED: u64 = 2;
const DONE: u64 = 3;
const REFUSED: u64 = 4;
const CATALOG: u64 = 5;
const NODE: u64 = 6;
const PURGED: u64 = 7;
const REDRIVE_BEGUN: u64 = 8;
const REDRIVE: u64 = 9;
const REWOUND: u64 = 10;

pub(super) fn fold_outcome(hash: &mut StateHash, command: &Command, reply: &Reply) {
    match command {
        Command::Send { .. }
        | Command::Receive { .. }
        | Command::Delete { .. }
        | Command::ChangeVisibility { .. }
        | Command::Release { .. }
        | Command::Deliver { .. } => (),
        other => {
            let mut bytes = Vec::new();
            other.encode(&mut bytes);
            hash.fold_bytes(&bytes);
        }
    }
    fold_reply(hash, reply);
}

/// What a receive handed out and which handles were good is in the queue's trace already.
fn fold_reply(hash: &mut StateHash, reply: &Reply) {
    let mut head = |what: u64, number: u64| hash.fold(what | number << 8);
    match reply {
        Reply::Sent(sent) => {
            for (first, count) in &sent.runs {
                hash.fold_run(first.0, u64::from(*count));
            }
        }
        Reply::Received(deliveries) if deliveries.is_empty() => head(NOTHING_RECEIVED, 0),
        Reply::Received(_) => (),
        Reply::Handles(results) => {
            for (place, code) in &results.failures {
                let (place, code) = (u64::from(*place), u64::from(code.number()));
                head(HANDLE_FAILED, place | code << 16);
            }
        }
        Reply::Done => head(DONE, 0),
        Reply::Purged(count) => head(PURGED, *count),
        Reply::RedriveBegun(job) => head(REDRIVE_BEGUN, *job),
        Reply::Redrive(redrive) => {
            head(REDRIVE, redrive.job);
            let mut row = Vec::new();
            redrive.encode(&mut row);
            hash.fold_bytes(&row);
        }
        Reply::Rewound(count) => head(REWOUND, *count),
        Reply::Refused(refusal) => head(REFUSED, refusal.code.number().into()),
        Reply::Catalog(record) => {
            head(CATALOG, record.queue.0);
            let mut row = Vec::new();
            record.encode(&mut row);
            hash.fold_bytes(&row);
        }
        Reply::Node(record) => {
            head(NODE, record.node);
            let mut row = Vec::new();
            record.encode(&mut row);
            hash.fold_bytes(&row);
        }
    }
}
