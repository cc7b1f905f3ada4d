//! What comes of proposed entries: each reply to whoever asked, in order.
//!
//! An entry that is not applied here ends in one refusal for all of its askers; which one tells
//! them whether it can still be carried out. What was received for somebody who waits no longer is
//! released. Spec: spec/semantics.md, "Leaders".

use openraft::errors::ClientWriteError;
use sampan_core::{Redrive, Reply};
use sampan_protocol::{Durability, ErrorCode, QueueId};

use super::driver::Driver;
use super::gather::Asker;
use super::request::{Outcome, RedriveShown, Refused};
use super::ticket::{Askers, Completion};

impl Driver {
    pub(super) fn on_completion(&mut self, completion: Completion) {
        let Completion { entry, result } = completion;
        match result {
            Some(Ok(response)) => self.on_applied(entry, response.data.0),
            // Refused before it was in the log.
            Some(Err(ClientWriteError::ForwardToLeader(_))) => {
                let refused = self.no_leader();
                self.refuse(entry, &refused);
            }
            // Another leader may carry it out, or not.
            Some(Err(ClientWriteError::LogEntryDiscarded(_))) | None => {
                self.refuse(entry, &Refused::new(ErrorCode::OutcomeUnknown));
            }
            Some(Err(error)) => {
                tracing::error!(set = %self.set, %error, "an entry was not accepted");
                self.refuse(entry, &Refused::new(ErrorCode::Internal));
            }
        }
    }

    fn on_applied(&mut self, entry: Askers, replies: Vec<Reply>) {
        self.gather.settle(&entry.expected);
        if entry.askers.is_empty() {
            return self.release_unasked(&entry.queues, replies);
        }
        let askers = entry.askers.into_iter().zip(entry.queues);
        for ((asker, queue), reply) in askers.zip(replies) {
            self.on_reply(asker, queue, reply, entry.durability);
        }
    }

    /// What was received for somebody who waits no longer goes back to its queue.
    fn release_unasked(&mut self, queues: &[Option<QueueId>], replies: Vec<Reply>) {
        for (queue, reply) in queues.iter().zip(replies) {
            if let (Some(queue), Reply::Received(deliveries)) = (queue, reply) {
                self.release_handles(*queue, &deliveries);
            }
        }
    }

    /// Refuses what was gathered and not yet proposed.
    pub(super) fn refuse_gathered(&mut self) {
        while let Some(gathered) = self.gather.pop() {
            let refused = self.no_leader();
            let expected = gathered.expected;
            self.gather.settle(&expected);
            self.refuse_askers(gathered.askers, &refused);
        }
    }

    fn on_reply(
        &mut self,
        asker: Asker,
        queue: Option<QueueId>,
        reply: Reply,
        durability: Durability,
    ) {
        match (asker, reply) {
            (Asker::Node(done), reply) => drop(done.send(Ok(reply))),
            (Asker::Waiter(waiter), reply) => self.on_receive_reply(waiter, queue, reply),
            (Asker::VisibilityClient(origin), Reply::Handles(results)) => {
                self.answers
                    .push(origin, Outcome::VisibilityChanged(results));
            }
            (Asker::Client(origin) | Asker::VisibilityClient(origin), reply) => {
                let outcome = match reply {
                    Reply::Sent(sent) => Outcome::Sent(sent.acknowledged(durability)),
                    Reply::Handles(results) => Outcome::Deleted(results),
                    Reply::Purged(count) => Outcome::Purged(count),
                    Reply::RedriveBegun(job) => Outcome::RedriveBegun(job),
                    Reply::Redrive(redrive) => self.redrive_cancelled(queue, *redrive),
                    Reply::Rewound(count) => Outcome::Rewound(count),
                    // Of the commands of clients only a reschedule is answered so.
                    Reply::Done => Outcome::Rescheduled,
                    Reply::Refused(refusal) => Outcome::Refused(refusal.into()),
                    other => {
                        tracing::error!(?other, "a reply that no client asks for");
                        Outcome::Refused(Refused::new(ErrorCode::Internal))
                    }
                };
                self.answers.push(origin, outcome);
            }
            (Asker::Nobody, _) => {}
        }
    }

    fn redrive_cancelled(&self, queue: Option<QueueId>, redrive: Redrive) -> Outcome {
        let state = self.state.borrow();
        let counts = queue.and_then(|queue| state.broker.counts(queue));
        let moving = counts.map_or(0, |counts| counts.moving);
        Outcome::RedriveCancelled(Box::new(RedriveShown { redrive, moving }))
    }

    /// Answers everybody who waits for the entry with one refusal.
    pub(super) fn refuse(&mut self, entry: Askers, refused: &Refused) {
        self.gather.settle(&entry.expected);
        self.refuse_askers(entry.askers, refused);
    }

    pub(super) fn refuse_askers(&mut self, askers: Vec<Asker>, refused: &Refused) {
        for asker in askers {
            match asker {
                Asker::Client(origin) | Asker::VisibilityClient(origin) => {
                    self.answers.push(origin, Outcome::Refused(refused.clone()));
                }
                Asker::Waiter(waiter) => self.refuse_waiter(waiter, refused),
                Asker::Node(done) => drop(done.send(Err(refused.clone()))),
                Asker::Nobody => {}
            }
        }
    }

    /// Gives the answers to their clients; what nobody takes goes back to its queue.
    pub(super) fn hand_out(&mut self) {
        for received in self.answers.deliver(self.set) {
            self.release(received);
        }
    }
}
