//! Which entries the logs confirm before they are synced.
//!
//! An entry is lazy when each of its commands concerns an async queue only; with anything else in
//! it, or with nothing, it is synced, and so is then all that came before it. What another set
//! remembers (catalog, letters) is never lazy: were it lost here, the two would disagree.
//!
//! Letters are also made by time, and time moves with lazy entries too. So a letter is delivered
//! only when an entry behind the one that made it was synced: see `relay.rs`.
//!
//! Spec: spec/semantics.md, "Durability".

use sampan_core::{Broker, Command};
use sampan_protocol::Durability;

/// How durable an entry of these commands is to be, by the attributes that are in force here.
pub(super) fn of(commands: &[Command], broker: &Broker) -> Durability {
    let is_lazy = |command: &Command| {
        let queue = queue_alone(command).and_then(|queue| broker.attributes(queue));
        queue.is_some_and(|attributes| attributes.durability == Durability::Async)
    };
    match !commands.is_empty() && commands.iter().all(is_lazy) {
        true => Durability::Async,
        false => Durability::Sync,
    }
}

/// The queue of a command that concerns nothing else.
fn queue_alone(command: &Command) -> Option<sampan_protocol::QueueId> {
    match command {
        Command::Send { .. }
        | Command::Receive { .. }
        | Command::Delete { .. }
        | Command::ChangeVisibility { .. }
        | Command::Release { .. }
        | Command::Purge { .. }
        | Command::Reschedule { .. }
        | Command::Rewind { .. } => command.queue(),
        _ => None,
    }
}
