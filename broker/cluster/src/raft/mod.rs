//! openraft, and nothing else of the broker, is named here: its types, its storage adapters and
//! its network.
//!
//! The pieces: [`types`] fixes openraft's type parameters, [`runtime`] its executor, [`log_store`]
//! puts a set's share of the node's log behind openraft's log traits, [`machine`] puts a set's
//! state machine behind its state machine trait, [`network`] reaches the peers, [`timing`] says how
//! soon a leader is missed.

pub(crate) mod log_store;
pub(crate) mod machine;
pub(crate) mod network;
pub(crate) mod payload;
pub(crate) mod runtime;
pub(crate) mod timing;
pub(crate) mod types;
