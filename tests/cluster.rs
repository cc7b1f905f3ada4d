//! A cluster of real processes, as operators and clients see it. Faults under load are in
//! `faults.rs`; here is what must be said and done in each single case.

#[path = "cluster"]
mod claims {
    pub(crate) mod backups;
    pub(crate) mod damage;
    pub(crate) mod forming;
    pub(crate) mod intruders;
    pub(crate) mod inviting;
    pub(crate) mod leaders;
    pub(crate) mod operators;
    pub(crate) mod support;
}
#[path = "support/cluster/mod.rs"]
mod cluster;
#[path = "support/proxy.rs"]
mod proxy;
