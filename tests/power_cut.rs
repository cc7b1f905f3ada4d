//! What was acknowledged was synced: a killed broker of this build loses what was not.
//!
//! Built with the feature `simulation`, the broker writes down how to take back every change of a
//! file or a folder until it is synced, and takes it back when it starts again after a kill. So
//! each SIGKILL is a power cut that leaves the least that a disk may keep.

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

/// Goal: no acknowledgement is taken back by a power cut. Method: that of the killed broker in
/// `durability.rs`, with fewer kills.
#[test]
fn a_broker_whose_power_is_cut_8_times_under_load_keeps_its_promises() {
    kills::run(
        8,
        "cargo test -p sampan --features simulation --test power_cut",
    );
}
