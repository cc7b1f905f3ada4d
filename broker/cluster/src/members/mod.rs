//! The nodes of a cluster: how they come in, who may speak, who votes where, how they go.
//!
//! The catalog in set 0 says who belongs to the cluster. [`gate`] lets peers speak by it,
//! [`joining`] brings this node in, [`planner`] (at the leader of set 0) makes the sets'
//! memberships what the catalog wants, [`operator`] carries out what people ask, and [`soundness`]
//! says whether a set can do without a node.

mod gate;
mod joining;
mod node_service;
mod operator;
mod planner;
mod soundness;

pub(crate) use gate::ClusterGate;
pub(crate) use joining::{Invitations, Joined, Joiner, NodeFacts, announce, check_addresses};
pub(crate) use node_service::{MemberService, NodePulses, NodeService};
pub(crate) use operator::Operator;
pub(crate) use planner::Planner;
pub(crate) use soundness::{can_stop, could_lead, has_wrong_clock, leader_line};
