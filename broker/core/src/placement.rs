//! Which nodes are to vote in which set, and which of them is to lead: pure functions.
//!
//! Both begin with what is there and change as little as the rules allow, for each change of a
//! voter copies a set's data, and each change of a leader is a pause for its clients. Neither
//! decides when: the catalog's leader asks, and carries out what it gets at its own pace.
//!
//! Same arguments, same answer; a second call after the first one's answer was carried out changes
//! nothing once the rules are met. Spec: spec/semantics.md, "Nodes and sets".

mod leaders;
mod voters;

pub use leaders::{LeaderTransfer, SetLeadership, VoterState, leaders};
pub use voters::{PlacementNode, place};
