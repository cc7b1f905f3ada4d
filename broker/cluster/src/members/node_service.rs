//! What peers ask of this node, handed to where it is answered: a set's replica, or the node's own
//! matters here.
//!
//! Runs on the thread of the peer connections; nothing here waits.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sampan_core::{CatalogCommand, Command, NodeJoin, Reply};
use sampan_protocol::{ErrorCode, SetId};
use tokio::sync::mpsc;

use super::joining::Invitations;
use crate::calls::{self, Admission, Method};
use crate::catalog::Catalog;
use crate::peer::{CallError, CallReply, Caller, IncomingAppends, PeerService, PulseSource};
use crate::reach::{Reach, to_call_error};
use crate::set::{Refused, ToReplica};
use crate::view::View;

/// See the module's documentation.
pub(crate) struct NodeService {
    pub(crate) replicas: Arc<[mpsc::Sender<ToReplica>]>,
    /// None for a node without a cluster.
    pub(crate) member: Option<MemberService>,
    pub(crate) invitations: Invitations,
}

/// What only a node of a cluster can do.
#[derive(Clone)]
pub(crate) struct MemberService {
    pub(crate) reach: Arc<OnceLock<Reach>>,
    pub(crate) catalog: Catalog,
    pub(crate) cluster: u128,
    pub(crate) set_count: u32,
}

impl PeerService for NodeService {
    fn call(
        &self,
        from: Caller,
        set: Option<SetId>,
        method: u16,
        payload: Bytes,
        reply: CallReply,
    ) {
        match set {
            Some(set) if from.is_member => self.call_set(set, method, payload, reply),
            Some(_) => reply.answer(Err(not_a_member())),
            None => self.call_node(from, method, payload, reply),
        }
    }

    fn open_append(&self, _from: u64, set: SetId, stream: IncomingAppends) {
        let Some(replica) = self.replicas.get(set.0 as usize) else {
            return stream.refuse(&unknown_set());
        };
        if let Err(error) = replica.try_send(ToReplica::Append(stream))
            && let ToReplica::Append(stream) = error.into_inner()
        {
            stream.refuse(&busy());
        }
    }
}

impl NodeService {
    fn call_set(&self, set: SetId, method: u16, payload: Bytes, reply: CallReply) {
        let Some(replica) = self.replicas.get(set.0 as usize) else {
            return reply.answer(Err(unknown_set()));
        };
        let message = ToReplica::Call {
            method,
            payload,
            reply,
        };
        if let Err(error) = replica.try_send(message)
            && let ToReplica::Call { reply, .. } = error.into_inner()
        {
            reply.answer(Err(busy()));
        }
    }

    fn call_node(&self, from: Caller, method: u16, payload: Bytes, reply: CallReply) {
        match (Method::from_number(method), &self.member) {
            (Some(Method::Join), Some(member)) => {
                let member = member.clone();
                tokio::task::spawn_local(async move {
                    let admitted = member.join(from, payload).await;
                    reply.answer(admitted.map_err(|refused| to_call_error(&refused)));
                });
            }
            (Some(Method::Catalog), Some(member)) if from.is_member => {
                let member = member.clone();
                tokio::task::spawn_local(async move {
                    let changed = member.change_catalog(payload).await;
                    reply.answer(changed.map_err(|refused| to_call_error(&refused)));
                });
            }
            (Some(Method::Invite), None) => {
                let taken = self.invitations.take(&payload);
                reply.answer(taken.map_err(|refused| to_call_error(&refused)));
            }
            (Some(Method::Invite), Some(_)) => {
                let text = "this node belongs to a cluster already";
                reply.answer(Err(refusal(ErrorCode::ClusterRefused, text)));
            }
            (Some(Method::Join), None) => {
                let text = "this node belongs to no cluster yet: `sampan cluster init` makes one";
                reply.answer(Err(refusal(ErrorCode::NoLeader, text)));
            }
            _ => reply.answer(Err(not_a_member())),
        }
    }
}

impl MemberService {
    /// Takes a node in, or tells it why not.
    async fn join(&self, from: Caller, payload: Bytes) -> Result<Bytes, Refused> {
        let join = own_join(from, payload)?;
        let reach = self
            .reach
            .get()
            .ok_or_else(|| Refused::new(ErrorCode::NoLeader))?;
        let node = join.node;
        let command = CatalogCommand::NodeJoin(join);
        let reply = reach.propose(SetId(0), Command::Catalog(command)).await?;
        if let Reply::Refused(refusal) = reply {
            tracing::error!(
                node,
                error = refusal.text.as_deref(),
                "a node that wants to join is refused"
            );
            return Err(refusal.into());
        }
        // Asked behind the joining: the other folder may have been retired just before it.
        reach.confirm(SetId(0)).await?;
        let is_replacement = reach.directory().map().is_replacement(node);
        let admission = Admission {
            cluster: self.cluster,
            set_count: self.set_count,
            is_replacement,
        };
        Ok(admission.encode())
    }

    /// A peer's client changes a queue.
    async fn change_catalog(&self, payload: Bytes) -> Result<Bytes, Refused> {
        let command = match calls::decode_command(payload) {
            Some(Command::Catalog(command)) => command,
            _ => return Err(Refused::new(ErrorCode::MalformedFrame)),
        };
        self.catalog.request_here(command).await?;
        Ok(Bytes::new())
    }
}

/// What the caller says of itself: nobody joins for another, or takes another's addresses away.
fn own_join(from: Caller, payload: Bytes) -> Result<NodeJoin, Refused> {
    let malformed = || Refused::new(ErrorCode::MalformedFrame);
    let join = calls::decode_join(payload).ok_or_else(malformed)?;
    if join.node != from.node {
        let text = format!("node {} cannot join as node {}", from.node, join.node);
        return Err(Refused {
            text,
            ..Refused::new(ErrorCode::ClusterRefused)
        });
    }
    Ok(join)
}

fn refusal(code: ErrorCode, text: &str) -> CallError {
    CallError {
        number: code.number(),
        text: text.to_owned(),
    }
}

fn not_a_member() -> CallError {
    CallError::new(
        CallError::NOT_A_MEMBER,
        "only members of the cluster may ask that",
    )
}

fn unknown_set() -> CallError {
    CallError::new(CallError::UNKNOWN_SET, "this node has no such set")
}

fn busy() -> CallError {
    refusal(
        ErrorCode::NoLeader,
        "the set has too much to do, or has stopped",
    )
}

/// What goes with the pulses between nodes.
pub(crate) struct NodePulses {
    pub(crate) view: View,
}

impl PulseSource for NodePulses {
    fn pulse(&self) -> Bytes {
        self.view.pulse()
    }

    fn on_pulse(&self, from: u64, content: Bytes) {
        self.view.on_pulse(from, content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::example_join;

    #[test]
    fn a_node_joins_for_itself_only() {
        let join = example_join(2, 7);
        let asked_by = |node| {
            let is_member = false;
            own_join(Caller { node, is_member }, calls::encode_join(join.clone()))
        };
        assert_eq!(asked_by(2).unwrap(), join);
        assert_eq!(asked_by(3).unwrap_err().code, ErrorCode::ClusterRefused);
        let caller = Caller {
            node: 2,
            is_member: false,
        };
        let refused = own_join(caller, Bytes::from_static(b"?")).unwrap_err();
        assert_eq!(refused.code, ErrorCode::MalformedFrame);
    }
}
