//! Looks at what the broker holds, page by page and one by one, compared with the model.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use sampan_core::{Broker, Peek, PeekError, Peeked};
use sampan_protocol::{MessageId, PeekOf, QueueId};

use crate::Stored;
use crate::naive::Naive;

fn resident_counts(broker: &Broker) -> [usize; 2] {
    [broker.resident_page_count(), broker.resident_chunk_count()]
}

impl Stored {
    /// A look, with the rows that it asks for. Nothing is taken in by it.
    fn look(&mut self, queue: QueueId, ask: &Peek) -> Vec<Peeked> {
        let before = resident_counts(&self.broker);
        let looked = match self.broker.peek(queue, ask, &[]) {
            Err(PeekError::Need(need)) => {
                self.needs += 1;
                let row = |key| self.rows.get(&key).map(|row| row.clone().into());
                let rows: Vec<_> = need.0.into_iter().map(|key| (key, row(key))).collect();
                self.broker.peek(queue, ask, &rows)
            }
            looked => looked,
        };
        assert_eq!(resident_counts(&self.broker), before);
        looked.unwrap()
    }

    /// What a redrive finds.
    pub(crate) fn look_by_id(
        &mut self,
        queue: QueueId,
        ask: &Peek,
        ends: [MessageId; 2],
    ) -> Vec<Peeked> {
        let looked = match self.broker.look_by_id(queue, ask, ends, &[]) {
            Err(PeekError::Need(need)) => {
                let row = |key| self.rows.get(&key).map(|row| row.clone().into());
                let rows: Vec<_> = need.0.into_iter().map(|key| (key, row(key))).collect();
                self.broker.look_by_id(queue, ask, ends, &rows)
            }
            looked => looked,
        };
        looked.unwrap()
    }

    /// Every message of one state, in pages; and one message by its id.
    pub(crate) fn compare_look(&mut self, random: &mut StdRng, queue: QueueId, naive: &Naive) {
        let of = *[PeekOf::Ready, PeekOf::Delayed, PeekOf::InFlight]
            .choose(random)
            .unwrap();
        let mut ask = Peek {
            of,
            id: MessageId(0),
            count_max: *[1, 7, 256].choose(random).unwrap(),
            len_max: *[1 << 20, 1 << 20, 10_000].choose(random).unwrap(),
        };
        let mut seen = Vec::new();
        loop {
            let page = self.look(queue, &ask);
            assert!(page.len() <= usize::from(ask.count_max));
            let Some(last) = page.last() else { break };
            ask.id = last.id;
            seen.extend(page);
        }
        assert_eq!(seen, naive.look(of));
        let all = naive.look(PeekOf::Message);
        let one = all.choose(random);
        ask.of = PeekOf::Message;
        ask.id = one.map_or(MessageId(random.random_range(0..99)), |one| one.id);
        let expected = all.iter().find(|message| message.id == ask.id);
        assert_eq!(self.look(queue, &ask).first(), expected);
    }
}
