//! What bad input gets: on the wire, from the command line, and in the data folder.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "bad_input/batches.rs"]
mod batches;
#[path = "support/broker.rs"]
mod broker;
#[path = "support/cli.rs"]
mod cli;
#[path = "bad_input/connections.rs"]
mod connections;
#[path = "bad_input/disk_full.rs"]
mod disk_full;
#[path = "support/first_line.rs"]
mod first_line;
#[path = "support/folder.rs"]
mod folder;
#[path = "bad_input/folders.rs"]
mod folders;
#[path = "bad_input/handles.rs"]
mod handles;
#[path = "bad_input/queues.rs"]
mod queues;
#[path = "bad_input/receives.rs"]
mod receives;
#[path = "support/refused.rs"]
mod refused;
#[path = "support/segments.rs"]
mod segments;
#[path = "bad_input/sends.rs"]
mod sends;
#[path = "support/terminate.rs"]
mod terminate;
#[path = "support/waiting.rs"]
mod waiting;
#[path = "support/wire.rs"]
mod wire;
#[path = "bad_input/wrong_frames.rs"]
mod wrong_frames;
