//! What was promised by a broker, and what came of it: finds every broken promise.
//!
//! Each number is sent once. Confirmed, it must come back; refused with "nothing was changed", it
//! must not; with an unknown outcome it may, once. Whoever received a message holds it until its
//! visibility ends: judged by the broker's own stamps, and by the clock of this process as well,
//! where the time between asking for the first receive and having the second is an upper bound of
//! the time between the two. So a slow machine can hide a fault but never invent one.
//!
//! Receives are told apart by the receive count, for the replies of two receives can reach this
//! ledger in either order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use sampan_client::{Applied, Delivery, Error, ErrorCode, MessageId};

use super::body;

/// How long each received message stays hidden.
pub(crate) const VISIBILITY: Duration = Duration::from_secs(30);
/// The clock of a set may be slewed by a tenth, and stamps are whole milliseconds.
const CERTAINLY_HIDDEN: Duration = Duration::from_secs(26);
/// Faults that are told one by one.
const FAULT_COUNT_MAX: usize = 20;

/// What is known of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    OnItsWay,
    Confirmed,
    Unknown,
    Refused,
}

/// The latest receive of a message.
struct Receive {
    number: u64,
    receive_count: u32,
    asked_at: Instant,
    visible_at_ms: u64,
    /// Given back before its time.
    released: bool,
    deleted: bool,
}

/// See the head of the file.
#[derive(Default)]
pub(crate) struct Ledger {
    sent: BTreeMap<u64, Sent>,
    received: BTreeMap<MessageId, Receive>,
    received_numbers: BTreeSet<u64>,
    confirmed_count: usize,
    unknown_count: usize,
    redelivered_count: usize,
    deleted_count: usize,
    faults: Vec<String>,
}

impl Ledger {
    /// The number of the next message.
    pub(crate) fn next_number(&mut self) -> u64 {
        let number = self.sent.len() as u64;
        self.sent.insert(number, Sent::OnItsWay);
        number
    }

    /// How many messages are known to wait in the queue, about.
    pub(crate) fn backlog(&self) -> usize {
        self.confirmed_count
            .saturating_sub(self.received_numbers.len())
    }

    /// How a send ended.
    pub(crate) fn on_sent(&mut self, number: u64, outcome: Result<MessageId, Error>) {
        let sent = match outcome {
            Ok(_) => {
                self.confirmed_count += 1;
                Sent::Confirmed
            }
            Err(error) => match error.applied() {
                Applied::No => Sent::Refused,
                Applied::Yes | Applied::Unknown => {
                    self.unknown_count += 1;
                    Sent::Unknown
                }
            },
        };
        self.sent.insert(number, sent);
    }

    /// A message was received by a request that was made at `asked_at`.
    pub(crate) fn on_received(&mut self, delivery: &Delivery, asked_at: Instant) {
        let id = delivery.id;
        let Some(number) = body::check(&delivery.body) else {
            return self.fault(format!("message {id}: the body is not what was sent"));
        };
        if !self.sent.contains_key(&number) {
            return self.fault(format!("message {id}: number {number} was never sent"));
        }
        let receive = Receive {
            number,
            receive_count: delivery.receive_count,
            asked_at,
            visible_at_ms: delivery.visible_at.0,
            released: false,
            deleted: false,
        };
        let Some(earlier) = self.received.get(&id) else {
            if !self.received_numbers.insert(number) {
                self.fault(format!(
                    "number {number} is stored twice, once as message {id}"
                ));
            }
            self.received.insert(id, receive);
            return;
        };
        self.redelivered_count += 1;
        let (fault, is_later) = (
            conflict(earlier, &receive),
            earlier.receive_count < receive.receive_count,
        );
        if let Some(fault) = fault {
            self.fault(format!("message {id}: {fault}"));
        }
        if is_later {
            self.received.insert(id, receive);
        }
    }

    /// How a delete ended.
    pub(crate) fn on_deleted(&mut self, delivery: &Delivery, outcome: Result<(), Error>) {
        let id = delivery.id;
        match outcome {
            Ok(()) => self.on_delete_confirmed(delivery),
            Err(error) if error.applied() == Applied::No => self.on_not_deleted(delivery, &error),
            // It may be gone, or come back when its time is up.
            Err(_) if self.received.contains_key(&id) => {}
            Err(error) => self.fault(format!("delete of {id}, never received: {error}")),
        }
    }

    fn on_delete_confirmed(&mut self, delivery: &Delivery) {
        let id = delivery.id;
        let receive = self
            .received
            .get_mut(&id)
            .expect("what is deleted was received");
        if receive.receive_count == delivery.receive_count {
            receive.deleted = true;
            self.deleted_count += 1;
            return;
        }
        let fault = format!("message {id}: deleted by an earlier receive's handle");
        self.fault(fault);
    }

    fn on_not_deleted(&mut self, delivery: &Delivery, error: &Error) {
        let receive = self
            .received
            .get(&delivery.id)
            .expect("what is deleted was received");
        let is_ours = receive.receive_count == delivery.receive_count && !receive.released;
        let too_early = receive.asked_at.elapsed() < CERTAINLY_HIDDEN;
        if error.code() == Some(ErrorCode::ReceiptExpired) && is_ours && too_early {
            self.fault(format!(
                "message {}: its receipt expired too early",
                delivery.id
            ));
        }
    }

    /// A message is about to be given back.
    pub(crate) fn on_releasing(&mut self, delivery: &Delivery) {
        let receive = self
            .received
            .get_mut(&delivery.id)
            .expect("what is held was received");
        if receive.receive_count == delivery.receive_count {
            receive.released = true;
        }
    }

    /// Something that must not happen did.
    pub(crate) fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULT_COUNT_MAX {
            self.faults.push(fault);
        }
    }

    /// Adds what only the end shows, and fails if there was any fault.
    pub(crate) fn check(mut self) {
        let lost: Vec<u64> = self.numbers(Sent::Confirmed, false);
        let refused: Vec<u64> = self.numbers(Sent::Refused, true);
        if !lost.is_empty() {
            self.fault(format!(
                "{} confirmed and never received: {:?}",
                lost.len(),
                head(&lost)
            ));
        }
        if !refused.is_empty() {
            let few = head(&refused);
            self.fault(format!(
                "{} refused and received all the same: {few:?}",
                refused.len()
            ));
        }
        println!(
            "sent {} (confirmed {}, unknown {}), received {}, redelivered {}, deleted {}",
            self.sent.len(),
            self.confirmed_count,
            self.unknown_count,
            self.received.len(),
            self.redelivered_count,
            self.deleted_count,
        );
        assert!(
            self.faults.is_empty(),
            "promises were broken:\n{}",
            self.faults.join("\n")
        );
        assert!(self.deleted_count > 0, "nothing was tried");
    }

    fn numbers(&self, sent: Sent, received: bool) -> Vec<u64> {
        let with = |(_, is): &(&u64, &Sent)| **is == sent;
        let numbers = self.sent.iter().filter(with).map(|(number, _)| *number);
        numbers
            .filter(|number| self.received_numbers.contains(number) == received)
            .collect()
    }
}

/// What is wrong about receiving a message that had been received before.
fn conflict(earlier: &Receive, receive: &Receive) -> Option<String> {
    if earlier.number != receive.number {
        return Some(format!(
            "numbers {} and {} under one id",
            earlier.number, receive.number
        ));
    }
    if earlier.receive_count == receive.receive_count {
        return Some(format!(
            "received twice as receive number {}",
            receive.receive_count
        ));
    }
    if receive.receive_count < earlier.receive_count {
        // The reply of an earlier receive came in late.
        return None;
    }
    if earlier.deleted {
        return Some("received after its delete was confirmed".to_owned());
    }
    if earlier.released {
        return None;
    }
    let visibility_ms = u64::try_from(VISIBILITY.as_millis()).expect("half a minute");
    let received_at_ms = receive.visible_at_ms - visibility_ms;
    if received_at_ms < earlier.visible_at_ms {
        let early = earlier.visible_at_ms - received_at_ms;
        return Some(format!(
            "handed out {early} ms before its visibility ended, by the stamps"
        ));
    }
    let apart = earlier.asked_at.elapsed();
    (apart < CERTAINLY_HIDDEN).then(|| format!("handed out twice within {apart:?}"))
}

fn head(numbers: &[u64]) -> &[u64] {
    &numbers[..numbers.len().min(10)]
}
