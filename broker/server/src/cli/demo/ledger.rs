//! What was sent and what came back: finds loss, damage, and messages that should not be there.
//!
//! Counts only what is proven: a message is sent when its send was confirmed. A send whose outcome
//! is unknown even to the SDK is made again, so one more copy of its number may exist for each such
//! send; any other second copy is an error of the broker, and so is a message that comes back after
//! its delete was confirmed. A message that is received again under the same id was merely
//! redelivered, as a queue that delivers at least once may do.
//!
//! Invariant: everything is indexed by the number in the body or the id, and bounded by the number
//! of messages plus that of repeated sends.

use std::collections::HashMap;

use sampan_client::MessageId;

use super::body;

/// What is known of one number.
#[derive(Clone, Copy, Debug, Default)]
struct Numbered {
    confirmed: bool,
    /// Sends of it with an unknown outcome.
    unknown_count: u32,
    /// Different messages with it that were received.
    copy_count: u32,
}

/// What is known of one message id that was received.
#[derive(Clone, Copy, Debug)]
struct Received {
    number: u64,
    deleted: bool,
}

/// See the head of the file.
#[derive(Debug)]
pub(super) struct Ledger {
    body_len: usize,
    numbers: Vec<Numbered>,
    received: HashMap<MessageId, Received>,
    counts: Counts,
}

/// The result; see [`Counts::is_good`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Numbers with a confirmed send.
    pub(super) sent: u64,
    /// Numbers that were received at least once.
    pub(super) received: u64,
    /// Numbers that were sent and never received.
    pub(super) lost: u64,
    /// Receives of a message that had been received before.
    pub(super) redelivered: u64,
    /// Sends with an unknown outcome.
    pub(super) unknown: u64,
    /// Further copies of a number that sends with an unknown outcome explain.
    pub(super) duplicates: u64,
    /// Further copies that nothing explains.
    pub(super) duplicates_wrong: u64,
    /// Bodies that differ from what was sent.
    pub(super) differing: u64,
    /// Receives of a message whose delete had been confirmed.
    pub(super) undeleted: u64,
}

impl Counts {
    /// Whether the broker kept every promise.
    pub(super) fn is_good(&self) -> bool {
        self.lost == 0 && self.differing == 0 && self.duplicates_wrong == 0 && self.undeleted == 0
    }
}

impl Ledger {
    pub(super) fn new(message_count: u32, body_len: usize) -> Self {
        let count = usize::try_from(message_count).expect("usize has at least 32 bits here");
        Ledger {
            body_len,
            numbers: vec![Numbered::default(); count],
            received: HashMap::with_capacity(count),
            counts: Counts::default(),
        }
    }

    /// A send of `number` was confirmed.
    pub(super) fn on_sent(&mut self, number: u64) {
        if let Some(numbered) = slot(&mut self.numbers, number)
            && !numbered.confirmed
        {
            numbered.confirmed = true;
            self.counts.sent += 1;
        }
    }

    /// A send of `number` failed, and may have been carried out.
    pub(super) fn on_unknown(&mut self, number: u64) {
        if let Some(numbered) = slot(&mut self.numbers, number) {
            numbered.unknown_count += 1;
            self.counts.unknown += 1;
        }
    }

    /// A message was received. Returns whether its number came for the first time.
    pub(super) fn on_received(&mut self, id: MessageId, bytes: &[u8]) -> bool {
        let number = body::check(bytes, self.body_len);
        let Some(number) = number.filter(|number| slot(&mut self.numbers, *number).is_some())
        else {
            self.counts.differing += 1;
            return false;
        };
        if let Some(earlier) = self.received.get(&id) {
            self.counts.redelivered += 1;
            self.counts.undeleted += u64::from(earlier.deleted);
            self.counts.differing += u64::from(earlier.number != number);
            return false;
        }
        self.received.insert(
            id,
            Received {
                number,
                deleted: false,
            },
        );
        self.count_copy(number)
    }

    fn count_copy(&mut self, number: u64) -> bool {
        let Some(numbered) = slot(&mut self.numbers, number) else {
            return false;
        };
        numbered.copy_count += 1;
        let first = numbered.copy_count == 1;
        if first {
            self.counts.received += 1;
        } else if numbered.copy_count <= 1 + numbered.unknown_count {
            self.counts.duplicates += 1;
        } else {
            self.counts.duplicates_wrong += 1;
        }
        first
    }

    /// The delete of a received message was confirmed.
    pub(super) fn on_deleted(&mut self, id: MessageId) {
        if let Some(received) = self.received.get_mut(&id) {
            received.deleted = true;
        }
    }

    /// How many numbers have a confirmed send.
    pub(super) fn sent_count(&self) -> u64 {
        self.counts.sent
    }

    /// Whether every number was sent and received.
    pub(super) fn is_complete(&self) -> bool {
        self.numbers
            .iter()
            .all(|numbered| numbered.confirmed && numbered.copy_count > 0)
    }

    /// The result so far; what was sent and not received counts as lost.
    pub(super) fn counts(&self) -> Counts {
        let lost = self
            .numbers
            .iter()
            .filter(|numbered| numbered.confirmed && numbered.copy_count == 0);
        Counts {
            lost: u64::try_from(lost.count()).unwrap_or(u64::MAX),
            ..self.counts
        }
    }
}

fn slot(numbers: &mut [Numbered], number: u64) -> Option<&mut Numbered> {
    usize::try_from(number)
        .ok()
        .and_then(|number| numbers.get_mut(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = 32;

    fn receive(ledger: &mut Ledger, id: u64, number: u64) -> bool {
        ledger.on_received(MessageId(id), &body::make(number, LEN))
    }

    /// Two messages, both sent.
    fn two_sent() -> Ledger {
        let mut ledger = Ledger::new(2, LEN);
        ledger.on_sent(0);
        ledger.on_sent(1);
        ledger
    }

    #[test]
    fn all_sent_and_received_once_is_good() {
        let mut ledger = two_sent();
        assert!(receive(&mut ledger, 1, 0) && !ledger.is_complete());
        assert!(receive(&mut ledger, 2, 1) && ledger.is_complete());
        let counts = ledger.counts();
        assert!(counts.is_good());
        assert_eq!((counts.sent, counts.received, counts.lost), (2, 2, 0));
    }

    #[test]
    fn a_confirmed_message_that_never_comes_is_lost() {
        let mut ledger = two_sent();
        receive(&mut ledger, 1, 0);
        let counts = ledger.counts();
        assert_eq!(counts.lost, 1);
        assert!(!counts.is_good() && !ledger.is_complete());
    }

    #[test]
    fn a_message_that_was_never_confirmed_is_not_lost_but_not_complete_either() {
        let mut ledger = Ledger::new(1, LEN);
        ledger.on_unknown(0);
        assert!(ledger.counts().is_good());
        assert!(receive(&mut ledger, 1, 0));
        assert!(!ledger.is_complete());
    }

    #[test]
    fn a_changed_body_and_a_foreign_number_are_found() {
        let mut ledger = two_sent();
        let mut bytes = body::make(0, LEN).to_vec();
        bytes[20] ^= 0x80;
        assert!(!ledger.on_received(MessageId(1), &bytes));
        assert!(!receive(&mut ledger, 2, 2));
        assert_eq!(ledger.counts().differing, 2);
        assert!(!ledger.counts().is_good());
    }

    #[test]
    fn the_same_message_again_is_redelivered_and_no_duplicate() {
        let mut ledger = two_sent();
        receive(&mut ledger, 1, 0);
        assert!(!receive(&mut ledger, 1, 0));
        receive(&mut ledger, 2, 1);
        let counts = ledger.counts();
        assert_eq!(
            (counts.redelivered, counts.duplicates, counts.received),
            (1, 0, 2)
        );
        assert!(counts.is_good());
    }

    #[test]
    fn one_id_with_two_bodies_is_found() {
        let mut ledger = two_sent();
        receive(&mut ledger, 1, 0);
        receive(&mut ledger, 1, 1);
        assert_eq!(ledger.counts().differing, 1);
    }

    #[test]
    fn a_second_copy_is_allowed_only_after_a_send_with_unknown_outcome() {
        let mut ledger = two_sent();
        ledger.on_unknown(0);
        receive(&mut ledger, 1, 0);
        receive(&mut ledger, 2, 0);
        assert_eq!(
            (ledger.counts().duplicates, ledger.counts().duplicates_wrong),
            (1, 0)
        );
        receive(&mut ledger, 3, 0);
        assert_eq!(
            ledger.counts().duplicates_wrong,
            1,
            "one unknown send explains one copy"
        );
        receive(&mut ledger, 4, 1);
        receive(&mut ledger, 5, 1);
        assert_eq!(
            ledger.counts().duplicates_wrong,
            2,
            "number 1 had no unknown send"
        );
        assert!(!ledger.counts().is_good());
    }

    #[test]
    fn a_message_that_comes_back_after_its_confirmed_delete_is_found() {
        let mut ledger = two_sent();
        receive(&mut ledger, 1, 0);
        receive(&mut ledger, 2, 1);
        ledger.on_deleted(MessageId(1));
        receive(&mut ledger, 2, 1);
        assert!(ledger.counts().is_good());
        receive(&mut ledger, 1, 0);
        assert_eq!(ledger.counts().undeleted, 1);
        assert!(!ledger.counts().is_good());
    }
}
