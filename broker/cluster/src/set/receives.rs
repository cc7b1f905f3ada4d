//! Receives of a set: parked until there is something for them, then proposed, then answered.
//!
//! Every receive is parked first, so that the order of coming is kept. It is proposed as soon as
//! the messages that are ready, or will be once everything gathered is applied, are more than the
//! receives before it claim. So a send takes its waiter's receive along in the same entry, and an
//! idle poller writes nothing to the log.
//!
//! Invariants: a proposed receive is not proposed again before its result. What nobody takes is
//! released, and that receive does not count. Spec: spec/semantics.md, "Waiting".

use std::collections::BTreeMap;

use sampan_core::{Answer, Command, Delivery, Proposal, Reply, WaiterId, WaiterRequest, Waiters};
use sampan_protocol::limits::BATCH_COUNT_MAX;
use sampan_protocol::{ErrorCode, Handles, QueueId};

use super::driver::Driver;
use super::gather::{Asker, Expected};
use super::leadership::NO_LEADER_RETRY_MS;
use super::request::{ClientId, Origin, Outcome, Receive, Received, Refused};

/// The receives of one set that are not answered yet, and who asked.
#[derive(Default)]
pub(super) struct Receives {
    waiters: Waiters,
    origins: BTreeMap<WaiterId, (Origin, QueueId)>,
    /// Receives that came so far. A client uses its number again once it has an answer, while what
    /// was proposed for that receive may still be on its way; so waiters are counted here.
    count: u64,
}

impl Receives {
    /// Lets a receive wait.
    fn park(
        &mut self,
        origin: Origin,
        queue: QueueId,
        request: WaiterRequest,
        deadline_ms: u64,
    ) -> Result<(), (Origin, ErrorCode)> {
        let id = WaiterId {
            client: origin.client.id().0,
            request: self.count,
        };
        self.count += 1;
        match self.waiters.park(id, queue, request, deadline_ms) {
            Ok(()) => {
                self.origins.insert(id, (origin, queue));
                Ok(())
            }
            Err(code) => Err((origin, code)),
        }
    }

    /// Ends every wait. The parked ones are told `code`; of the proposed ones nobody knows whether
    /// they were carried out.
    fn end_all(&mut self, code: ErrorCode) -> Vec<(Origin, ErrorCode)> {
        let mut told = Vec::new();
        for ended in self.waiters.end_all() {
            if let Some((origin, _)) = self.origins.remove(&ended.id) {
                let code = match ended.is_proposed {
                    true => ErrorCode::OutcomeUnknown,
                    false => code,
                };
                told.push((origin, code));
            }
        }
        told
    }

    /// The client is gone: its parked receives end, what its proposed ones get is released.
    pub(super) fn forget(&mut self, client: ClientId) {
        self.waiters.cancel_client(client.0);
        let first = WaiterId {
            client: client.0,
            request: 0,
        };
        let last = WaiterId {
            client: client.0,
            request: u64::MAX,
        };
        let gone: Vec<_> = self
            .origins
            .range(first..=last)
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.origins.remove(&id);
        }
    }

    /// When the next wait ends, by the monotonic clock.
    pub(super) fn next_end_ms(&self) -> Option<u64> {
        self.waiters.next_deadline()
    }

    fn take_origin(&mut self, id: WaiterId) -> Option<(Origin, QueueId)> {
        self.origins.remove(&id)
    }
}

impl Driver {
    pub(super) fn on_receive(&mut self, origin: Origin, receive: Receive) {
        if let Some(refused) = self.refusal() {
            self.answers.push(origin, Outcome::Refused(refused));
            return;
        }
        let queue = receive.queue;
        let exists = self.state.borrow().broker.attributes(queue).is_some();
        if !exists {
            let refused = missing(self.clock.is_some());
            self.answers.push(origin, Outcome::Refused(refused));
            return;
        }
        let request = WaiterRequest {
            count_max: receive.count_max,
            len_max: receive.len_max,
            visibility_timeout_ms: receive.visibility_timeout_ms,
        };
        let deadline_ms = self.time.read().monotonic_ms + u64::from(receive.wait_ms);
        match self.receives.park(origin, queue, request, deadline_ms) {
            Ok(()) => self.serve(queue),
            Err((origin, code)) => self
                .answers
                .push(origin, Outcome::Refused(Refused::new(code))),
        }
    }

    /// Proposes the receives of `queue` that there is something for.
    pub(super) fn serve(&mut self, queue: QueueId) {
        if !self.receives.waiters.has_parked(queue) {
            return;
        }
        let ready_count = self.state.borrow().broker.receivable_count(queue);
        let mut available = self.gather.available(queue, ready_count);
        for Proposal { id, request } in self.receives.waiters.take_for(queue, available) {
            let claimed = available.min(u64::from(request.count_max));
            available -= claimed;
            let command = Command::Receive {
                queue,
                count_max: request.count_max,
                len_max: request.len_max,
                visibility_timeout_ms: request.visibility_timeout_ms,
            };
            let expected = Expected { sent: 0, claimed };
            self.gather.push(command, Asker::Waiter(id), Some(expected));
        }
    }

    /// What came of a proposed receive.
    pub(super) fn on_receive_reply(&mut self, id: WaiterId, queue: Option<QueueId>, reply: Reply) {
        let deliveries = match reply {
            Reply::Received(deliveries) => deliveries,
            Reply::Refused(refusal) => return self.refuse_waiter(id, &refusal.into()),
            other => {
                tracing::error!(?other, "a reply that no receive asks for");
                return self.refuse_waiter(id, &Refused::new(ErrorCode::Internal));
            }
        };
        let queue = queue.expect("a receive names its queue");
        match self.receives.waiters.answered(id, deliveries.len()) {
            Answer::Deliver => self.deliver(id, queue, deliveries),
            // Its turn may have come again while it was on its way.
            Answer::ParkedAgain => self.serve(queue),
            Answer::Empty => self.confirm_empty(id),
            Answer::Release => self.release_handles(queue, &deliveries),
            Answer::Forget => drop(self.receives.take_origin(id)),
        }
    }

    pub(super) fn refuse_waiter(&mut self, id: WaiterId, refused: &Refused) {
        let is_told = self.receives.waiters.refused(id);
        let origin = self.receives.take_origin(id);
        if let (true, Some((origin, _))) = (is_told, origin) {
            self.answers.push(origin, Outcome::Refused(refused.clone()));
        }
    }

    /// Ends the waits whose time is over.
    pub(super) fn end_expired_waits(&mut self, now_ms: u64) {
        for id in self.receives.waiters.expire(now_ms) {
            self.confirm_empty(id);
        }
    }

    /// Ends every wait, for a reason that those are told who are not proposed.
    pub(super) fn end_waits(&mut self, code: ErrorCode) {
        // Their turn had come, and nothing has left this node for them. What a later proposal
        // brings is released.
        let gathered: Vec<_> = self.gather.waiters().collect();
        for id in gathered {
            self.refuse_waiter(id, &Refused::new(code));
        }
        for (origin, code) in self.receives.end_all(code) {
            self.answers
                .push(origin, Outcome::Refused(Refused::new(code)));
        }
    }

    /// Ends the waits at a queue that is gone.
    pub(super) fn end_waits_at(&mut self, queue: QueueId) {
        for id in self.receives.waiters.end_queue(queue) {
            if let Some((origin, _)) = self.receives.take_origin(id) {
                let refused = Refused::new(ErrorCode::QueueNotFound);
                self.answers.push(origin, Outcome::Refused(refused));
            }
        }
    }

    /// What nobody took goes back to its queue, and does not count as received.
    pub(super) fn release(&mut self, received: Received) {
        self.release_handles(received.queue, &received.deliveries);
    }

    fn deliver(&mut self, id: WaiterId, queue: QueueId, deliveries: Vec<Delivery>) {
        match self.receives.take_origin(id) {
            Some((origin, _)) => {
                let received = self.state.borrow().locate(queue, deliveries);
                self.answers.push(origin, Outcome::Received(received));
            }
            None => self.release_handles(queue, &deliveries),
        }
    }

    pub(super) fn release_handles(&mut self, queue: QueueId, deliveries: &[Delivery]) {
        for chunk in deliveries.chunks(BATCH_COUNT_MAX) {
            let handles = Handles::from_iter(chunk.iter().map(|delivery| delivery.handle));
            self.gather
                .push(Command::Release { queue, handles }, Asker::Nobody, None);
        }
    }

    /// A wait is over: a majority must agree that there is nothing before it is said.
    fn confirm_empty(&mut self, id: WaiterId) {
        if let Some((origin, queue)) = self.receives.take_origin(id) {
            self.reads.empty(origin, queue);
        }
    }

    pub(super) fn answer_empty(&mut self, origin: Origin, queue: QueueId) {
        let received = Received {
            queue,
            deliveries: Vec::new(),
            bodies: Vec::new(),
        };
        self.answers.push(origin, Outcome::Received(received));
    }
}

/// The refusal of a receive from a queue that the state does not have. While this node is only
/// about to lead, its state lacks what is committed and not applied yet, so it does not know.
fn missing(leads: bool) -> Refused {
    match leads {
        true => Refused::new(ErrorCode::QueueNotFound),
        false => Refused::retry_after(ErrorCode::NoLeader, NO_LEADER_RETRY_MS),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sampan_protocol::{Applied, SetId};

    use super::*;
    use crate::set::request::{Answer as Answered, Client};

    const QUEUE: QueueId = QueueId(7);

    struct Someone;

    impl Client for Someone {
        fn id(&self) -> ClientId {
            ClientId(1)
        }

        fn answer(&self, _: SetId, _: Vec<Answered>) -> Vec<Received> {
            Vec::new()
        }
    }

    fn park(receives: &mut Receives, request_id: u64) {
        let origin = Origin {
            client: Arc::new(Someone),
            request_id,
            len: 0,
        };
        let request = WaiterRequest {
            count_max: 1,
            len_max: 0,
            visibility_timeout_ms: None,
        };
        receives.park(origin, QUEUE, request, 100).unwrap();
    }

    fn propose(receives: &mut Receives) -> WaiterId {
        receives.waiters.take_for(QUEUE, 1)[0].id
    }

    fn end_all(receives: &mut Receives) -> Vec<(u64, ErrorCode)> {
        let told = receives.end_all(ErrorCode::LeaderChanged);
        told.into_iter()
            .map(|(origin, code)| (origin.request_id, code))
            .collect()
    }

    #[test]
    fn a_queue_is_missing_only_for_a_node_that_has_applied_all() {
        assert_eq!(missing(true).code, ErrorCode::QueueNotFound);
        let refused = missing(false);
        assert_eq!(refused.code, ErrorCode::NoLeader);
        assert!(refused.retry_after_ms > 0);
    }

    #[test]
    fn what_comes_late_for_a_receive_is_not_given_to_the_next_of_its_number() {
        let mut receives = Receives::default();
        park(&mut receives, 5);
        let first = propose(&mut receives);
        assert_eq!(end_all(&mut receives), [(5, ErrorCode::OutcomeUnknown)]);
        park(&mut receives, 5);
        let second = propose(&mut receives);
        assert_eq!(receives.waiters.answered(first, 1), Answer::Release);
        assert_eq!(receives.waiters.answered(second, 1), Answer::Deliver);
    }

    #[test]
    fn only_receives_that_were_not_proposed_are_told_that_nothing_was_done() {
        let mut receives = Receives::default();
        (1..=2).for_each(|request_id| park(&mut receives, request_id));
        propose(&mut receives);
        let told = end_all(&mut receives);
        let applied = told.iter().map(|(_, code)| code.applied());
        let expected = [Applied::Unknown, Applied::No];
        assert_eq!(applied.collect::<Vec<_>>(), expected);
        assert!(receives.origins.is_empty());
    }

    #[test]
    fn a_client_that_goes_takes_all_its_receives_along() {
        let mut receives = Receives::default();
        (1..=3).for_each(|request_id| park(&mut receives, request_id));
        let proposed = propose(&mut receives);
        receives.forget(ClientId(1));
        assert!(receives.origins.is_empty());
        assert_eq!(receives.waiters.answered(proposed, 1), Answer::Release);
    }
}
