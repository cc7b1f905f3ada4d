//! A set on this node: its applied state, the driver that proposes to it, and the way to ask it.

mod answers;
mod checkpoints;
mod driver;
mod gather;
mod handle;
mod reads;
mod receives;
mod request;
mod state;
mod ticket;

pub(crate) use checkpoints::{CheckpointPolicy, Checkpointer};
pub(crate) use driver::{Driver, DriverParts};
pub use handle::SetHandle;
pub use request::{
    Answer, BodyRun, Client, ClientId, Origin, Outcome, Receive, Received, Refused, SetRequest,
    Shown,
};
pub use state::OpenStateError;
pub(crate) use state::SetState;
