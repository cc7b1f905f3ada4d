//! Collects the answers of one burst and hands them to their clients, one call per client.

use std::sync::Arc;

use sampan_protocol::SetId;

use super::request::{Answer, Client, Origin, Outcome, Received};

/// Answers grouped by client, in the order they came.
#[derive(Default)]
pub(crate) struct Answers {
    by_client: Vec<(Arc<dyn Client>, Vec<Answer>)>,
}

impl Answers {
    /// Adds an answer. Few clients ask in one burst, so a search through them is the cheapest map.
    pub(crate) fn push(&mut self, origin: Origin, outcome: Outcome) {
        let answer = Answer {
            request_id: origin.request_id,
            len: origin.len,
            outcome,
        };
        let known = self
            .by_client
            .iter_mut()
            .find(|(client, _)| client.id() == origin.client.id());
        match known {
            Some((_, answers)) => answers.push(answer),
            None => self.by_client.push((origin.client, vec![answer])),
        }
    }

    /// Hands everything out. Returns the receives that nobody took.
    pub(crate) fn deliver(&mut self, set: SetId) -> Vec<Received> {
        let each = self.by_client.drain(..);
        each.flat_map(|(client, answers)| client.answer(set, answers))
            .collect()
    }
}
