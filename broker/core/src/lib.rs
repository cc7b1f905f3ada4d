//! The replicated state machine of a set, and the waiters of a node.
//!
//! - [`Broker`]: all queues of a set, and in set 0 the [`Catalog`]. [`Broker::apply`] takes an
//!   [`Entry`] and gives a [`Reply`] per command and [`Effect`]s; [`Broker::freeze`] and
//!   [`Broker::restore`] turn state into rows and back.
//! - [`placement`]: which nodes are to vote in a set, and which of them is to lead.
//! - [`Waiters`]: receives that wait for a message, of one node, not replicated.
//!
//! No I/O, no clock, no randomness, no logging, no await. Behaviour is specified in
//! `spec/semantics.md`, bytes in `spec/state.md`.

mod broker;
mod catalog;
mod chunk;
mod command;
mod effect;
mod entry;
mod fields;
mod frozen;
mod leases;
pub mod limits;
mod marks;
mod page;
mod pages;
pub mod placement;
mod queue;
mod reply;
mod row_changes;
mod row_key;
mod share;
mod state_hash;
mod timed;
mod waiters;

pub use broker::{Broker, Need, Outgoing, PeekError, RestoreError};
pub use catalog::{
    Catalog, CatalogCommand, CatalogRecord, ClusterRecord, NodeJoin, NodeRecord, NodeState,
    QueueState, SetRecord,
};
pub use command::Command;
pub use effect::Effect;
pub use entry::{Entry, EntryError, FORMAT_VERSION_MAX, FORMAT_VERSION_MIN};
pub use fields::FieldError;
pub use frozen::Frozen;
pub use limits::HOLD_MAX_MS;
pub use queue::{Arrival, Fate, Peek, Peeked, Redrive, RedriveOrder, RedriveStep};
pub use reply::{Delivery, Refusal, Reply};
pub use row_key::RowKey;
pub use waiters::{Answer, Ended, Proposal, WaiterId, WaiterRequest, Waiters};
