//! A cluster of real processes, as operators and clients see it. Faults under load are in
//! `faults.rs`; here is what must be said and done in each single case.

#[path = "cluster"]
mod claims {
    pub(crate) mod backups;
    pub(crate) mod damage;
    pub(crate) mod dead_letters;
    pub(crate) mod durability;
    pub(crate) mod forming;
    pub(crate) mod intruders;
    pub(crate) mod inviting;
    pub(crate) mod leaders;
    pub(crate) mod operators;
    pub(crate) mod support;
    pub(crate) mod suspects;
}
#[path = "support/cluster/mod.rs"]
mod cluster;
#[path = "support/first_line.rs"]
mod first_line;
#[path = "support/log_batches.rs"]
mod log_batches;
#[path = "support/patience.rs"]
mod patience;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/sender.rs"]
mod sender;
#[path = "support/waiting.rs"]
mod waiting;
