//! The nodes of a cluster: how they come in, who may speak, who votes where, how they go.
//!
//! The catalog in set 0 says who belongs to the cluster. [`gate`] lets peers speak by it,
//! [`joining`] brings this node in, [`planner`] (at the leader of set 0) makes the sets'
//! memberships what the catalog wants, and [`operator`] carries out what people ask.

mod gate;
mod joining;
mod node_service;
mod operator;
mod planner;

pub(crate) use gate::ClusterGate;
pub(crate) use joining::{Invitations, Joined, Joiner, NodeFacts, announce, check_addresses};
pub(crate) use node_service::{MemberService, NodePulses, NodeService};
pub(crate) use operator::{Operator, can_stop, leader_line};
pub(crate) use planner::Planner;
