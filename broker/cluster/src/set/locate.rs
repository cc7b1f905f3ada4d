//! Where the bodies of messages are that go out to a client: in memory, or on disk.

use sampan_core::{Delivery, Peeked};
use sampan_protocol::{MessageId, QueueId};
use sampan_storage::store::InMemory;

use super::request::{BodyRun, PeekedMessages, Received};
use super::state::SetState;

impl SetState {
    /// Where the bodies of `deliveries` are.
    pub(crate) fn locate(&self, queue: QueueId, deliveries: Vec<Delivery>) -> Received {
        let bodies = self.bodies_of(queue, &deliveries, |delivery| delivery.id);
        Received {
            queue,
            deliveries,
            bodies,
        }
    }

    /// Where the bodies of messages that were looked at are.
    pub(crate) fn locate_peeked(&self, queue: QueueId, messages: Vec<Peeked>) -> PeekedMessages {
        let bodies = self.bodies_of(queue, &messages, |message| message.id);
        PeekedMessages {
            queue,
            messages,
            bodies,
        }
    }

    fn bodies_of<T>(
        &self,
        queue: QueueId,
        messages: &[T],
        id: impl Fn(&T) -> MessageId,
    ) -> Vec<BodyRun> {
        let mut bodies = Vec::new();
        for run in messages.chunk_by(|one, next| id(one).plus(1) == id(next)) {
            let count = u32::try_from(run.len()).expect("there are at most 256 messages");
            match &self.store {
                Some(store) => store.lookup(queue, id(&run[0]), count, |_, found| {
                    push_body(&mut bodies, found);
                }),
                None => bodies.push(BodyRun::Disk { count: run.len() }),
            }
        }
        bodies
    }
}

fn push_body(bodies: &mut Vec<BodyRun>, found: Option<InMemory<'_>>) {
    match (bodies.last_mut(), found) {
        (
            Some(BodyRun::Memory {
                batch,
                sent_at,
                places,
            }),
            Some(found),
        ) if batch.as_bytes().as_ptr() == found.batch.as_bytes().as_ptr()
            && *sent_at == found.sent_at =>
        {
            places.push((found.record, found.start));
        }
        (_, Some(found)) => bodies.push(BodyRun::Memory {
            batch: found.batch.clone(),
            sent_at: found.sent_at,
            places: vec![(found.record, found.start)],
        }),
        (Some(BodyRun::Disk { count }), None) => *count += 1,
        (_, None) => bodies.push(BodyRun::Disk { count: 1 }),
    }
}
