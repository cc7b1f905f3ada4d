//! A set on this node: its applied state, the driver that proposes to it, and the way to ask it.

mod absolution;
mod answers;
mod bodies;
mod checkpoints;
mod completions;
mod driver;
mod dry_runs;
mod durability;
mod gather;
mod guard;
mod handle;
mod hold;
mod intake;
mod leadership;
mod locate;
mod members;
#[cfg(feature = "next-version")]
mod notes;
mod outgoing;
mod peeks;
mod reads;
mod receives;
mod redrive;
mod relay;
mod replica;
mod request;
mod state;
mod ticket;
mod trial;

pub(crate) use checkpoints::{CheckpointPolicy, Checkpointer};
pub(crate) use driver::{Driver, DriverParts};
pub(crate) use dry_runs::dry_runs;
pub(crate) use guard::LogGuard;
pub use handle::SetHandle;
pub(crate) use intake::Intake;
#[cfg(feature = "next-version")]
pub(crate) use notes::write_notes;
pub(crate) use outgoing::Sender;
pub(crate) use redrive::redrive;
pub(crate) use relay::{Relay, relay};
pub(crate) use replica::{REPLICA_WAITING_MAX, Replica, ToReplica, serve};
pub use request::{
    Answer, BodyRun, Client, ClientId, CountsOfSet, Origin, Outcome, PeekRequest, PeekedMessages,
    Receive, Received, RedriveAsk, RedriveShown, Refused, SetRequest, Shown,
};
pub use state::OpenStateError;
#[cfg(test)]
pub(crate) use state::membership_of;
pub(crate) use state::{SetState, encode_stored_membership};
