//! What was acknowledged is on disk: seen in the system calls, and by killing the broker.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "support/broker.rs"]
mod broker;
#[path = "support/client.rs"]
mod client;
#[path = "support/first_line.rs"]
mod first_line;
#[path = "support/kill.rs"]
mod kill;
#[path = "support/kills.rs"]
mod kills;
#[path = "support/load/mod.rs"]
mod load;
#[path = "durability/strace.rs"]
mod strace;
#[path = "durability/synced_sends.rs"]
mod synced_sends;
#[path = "support/waiting.rs"]
mod waiting;
#[path = "support/wire.rs"]
mod wire;

/// Goal: no acknowledgement is taken back by a death of the process. Method: SIGKILL at random
/// moments under load over TLS, small checkpoints so that some kills hit one, and accounts of
/// everything (`load::Ledger`).
#[test]
fn a_broker_killed_20_times_under_load_keeps_its_promises() {
    kills::run(20, "cargo test -p sampan --test durability killed");
}
