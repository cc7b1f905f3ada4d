//! What a broker does for those who use it well: commands, receives, restarts, and clients that
//! are slow, many or idle.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "behaviour/backups.rs"]
mod backups;
#[path = "support/broker.rs"]
mod broker;
#[path = "behaviour/calendar.rs"]
mod calendar;
#[path = "support/cli.rs"]
mod cli;
#[path = "support/client.rs"]
mod client;
#[path = "behaviour/commands.rs"]
mod commands;
#[path = "behaviour/dead_letters.rs"]
mod dead_letters;
#[path = "behaviour/deduplication.rs"]
mod deduplication;
#[path = "behaviour/durability.rs"]
mod durability;
#[path = "support/first_line.rs"]
mod first_line;
#[path = "support/folder.rs"]
mod folder;
#[path = "behaviour/full_queues.rs"]
mod full_queues;
#[path = "behaviour/full_storage.rs"]
mod full_storage;
#[path = "behaviour/groups.rs"]
mod groups;
#[path = "behaviour/heartbeat.rs"]
mod heartbeat;
#[path = "behaviour/idle.rs"]
mod idle;
#[path = "support/kill.rs"]
mod kill;
#[path = "behaviour/large_replies.rs"]
mod large_replies;
#[path = "behaviour/log_files.rs"]
mod log_files;
#[path = "behaviour/looking.rs"]
mod looking;
#[path = "behaviour/memory_pages.rs"]
mod memory_pages;
#[path = "behaviour/names.rs"]
mod names;
#[path = "support/process.rs"]
mod process;
#[path = "support/processor_time.rs"]
mod processor_time;
#[path = "behaviour/producers.rs"]
mod producers;
#[path = "support/queues.rs"]
mod queues;
#[path = "behaviour/receiving.rs"]
mod receiving;
#[path = "behaviour/redrive.rs"]
mod redrive;
#[path = "behaviour/restarts.rs"]
mod restarts;
#[path = "behaviour/rewinding.rs"]
mod rewinding;
#[path = "support/segments.rs"]
mod segments;
#[path = "behaviour/slow_reader.rs"]
mod slow_reader;
#[path = "behaviour/stopping.rs"]
mod stopping;
#[path = "support/terminate.rs"]
mod terminate;
#[path = "support/waiting.rs"]
mod waiting;
#[path = "support/wire.rs"]
mod wire;
