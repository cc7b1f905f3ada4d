//! Where queues are led, as far as the client knows, and what it is finding out.
//!
//! A queue lives in a set, and a set is led by a server. Nothing is asked before a server refuses
//! something: a queue of which nothing is known goes to any server, which is right for one node and
//! costs one refusal per set otherwise. From the refusal on until a leader with a connection is
//! found there is a **query**, and requests for the queue wait.
//!
//! The answer of a node may be old. It is believed when its term is not below what was heard
//! before, or when a whole round of servers had nothing newer; whether it is true shows when the
//! leader that it names is asked.
//!
//! Invariants: one query per set, and one per queue whose set is not known; at most [`ROUTES_MAX`]
//! queues are remembered. The catalog is the queue with the empty name, in set 0.
//! Spec: spec/wire.md, "Route".

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Queues whose sets are remembered; all are forgotten when there are more.
const ROUTES_MAX: usize = 10_000;
/// Shortest time between two questions about one queue.
pub(crate) const ASK_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// Longest time between two questions about one queue.
const ASK_INTERVAL_MAX: Duration = Duration::from_millis(200);
/// Questions under way at one time; further ones wait.
const QUESTIONS_MAX: usize = 64;
/// After so many questions in a row, servers that refused before are tried again.
const REFUSALS_KEPT_ROUNDS: u32 = 8;
/// After so many questions in a row, half a second, those who were asked are not the ones to know.
const LOSS_COUNT: u32 = 8;

/// The catalog's place among the queues.
pub(crate) const CATALOG: &str = "";

/// What is known of a queue's leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing: any server may be asked.
    Unknown,
    /// It is being found out.
    Asking,
    /// A slot, live or not.
    Leader(usize),
}

#[derive(Debug, Default)]
struct SetRoute {
    leader: Option<usize>,
    term: u64,
    is_asked: bool,
    /// Slots that refused as not leading, a bit for each.
    refused: u64,
}

/// One thing that is being found out.
#[derive(Debug)]
pub(crate) struct Query {
    set: Option<u32>,
    is_under_way: bool,
    ask_at: Instant,
    failed_count: u32,
    /// What an answer named as leader and has no connection yet: set, slot, term.
    candidate: Option<(u32, usize, u64)>,
    /// A node was not sure that there is such a queue; the catalog's leader is.
    asks_catalog: bool,
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    sets: BTreeMap<u32, SetRoute>,
    queues: BTreeMap<Arc<str>, u32>,
    queries: BTreeMap<Arc<str>, Query>,
    /// When each queue was asked about last.
    asked_at: BTreeMap<Arc<str>, Instant>,
}

impl Routes {
    fn set_of(&self, queue: &str) -> Option<u32> {
        match queue {
            CATALOG => Some(0),
            _ => self.queues.get(queue).copied(),
        }
    }

    pub(crate) fn find(&self, queue: &str) -> Found {
        let Some(set) = self.set_of(queue) else {
            return match self.queries.contains_key(queue) {
                true => Found::Asking,
                false => Found::Unknown,
            };
        };
        match self.sets.get(&set) {
            Some(route) if route.is_asked => Found::Asking,
            Some(SetRoute {
                leader: Some(slot), ..
            }) => Found::Leader(*slot),
            _ => Found::Unknown,
        }
    }

    /// A slot refused as not leading the queue's set.
    pub(crate) fn note_refusal(&mut self, queue: &str, slot: usize) {
        if let Some(set) = self.set_of(queue) {
            let route = self.sets.entry(set).or_default();
            route.refused |= 1 << slot;
            route.leader = None;
        }
    }

    /// Begins to find out where a queue is led, unless that is under way.
    pub(crate) fn begin(&mut self, queue: &str, now: Instant) {
        let set = self.set_of(queue);
        if let Some(set) = set {
            let route = self.sets.entry(set).or_default();
            if std::mem::replace(&mut route.is_asked, true) {
                return;
            }
        }
        let asked_at = self.asked_at.get(queue);
        let ask_at = asked_at.map_or(now, |at| (*at + ASK_INTERVAL_MIN).max(now));
        self.queries.entry(Arc::from(queue)).or_insert(Query {
            set,
            is_under_way: false,
            ask_at,
            failed_count: 0,
            candidate: None,
            asks_catalog: false,
        });
    }

    /// What is to be asked now; it counts as asked from here on.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<(Arc<str>, bool)> {
        let mut due = Vec::new();
        let mut room = QUESTIONS_MAX.saturating_sub(self.under_way_count());
        for (queue, query) in &mut self.queries {
            if room > 0 && !query.is_under_way && query.ask_at <= now {
                room -= 1;
                query.is_under_way = true;
                due.push((Arc::clone(queue), query.asks_catalog));
            }
        }
        if self.asked_at.len() + due.len() > ROUTES_MAX {
            self.asked_at.clear();
        }
        let asked = due.iter().map(|(queue, _)| (Arc::clone(queue), now));
        self.asked_at.extend(asked);
        due
    }

    /// When something is to be asked next.
    pub(crate) fn ask_at(&self) -> Option<Instant> {
        if self.under_way_count() >= QUESTIONS_MAX {
            // An answer, or the lack of one, makes room.
            return None;
        }
        let due = self.queries.values().filter(|query| !query.is_under_way);
        due.map(|query| query.ask_at).min()
    }

    fn under_way_count(&self) -> usize {
        let under_way = self.queries.values().filter(|query| query.is_under_way);
        under_way.count()
    }

    /// The question about a queue brought nothing that helps: asks again, somewhat later.
    pub(crate) fn ask_again(&mut self, queue: &str, now: Instant) {
        let Some(query) = self.queries.get_mut(queue) else {
            return;
        };
        let pause = ASK_INTERVAL_MIN * (1 << (query.failed_count.min(8) / 2));
        query.is_under_way = false;
        query.failed_count = query.failed_count.saturating_add(1);
        query.ask_at = now + pause.min(ASK_INTERVAL_MAX);
        if query.failed_count.is_multiple_of(REFUSALS_KEPT_ROUNDS)
            && let Some(route) = query.set.and_then(|set| self.sets.get_mut(&set))
        {
            route.refused = 0;
        }
    }

    /// Whether many questions about a queue brought nothing.
    pub(crate) fn is_at_a_loss(&self, queue: &str) -> bool {
        let query = self.queries.get(queue);
        query.is_some_and(|query| query.failed_count >= LOSS_COUNT)
    }

    /// From now on the catalog's leader is asked, who knows every queue.
    pub(crate) fn ask_catalog(&mut self, queue: &str, now: Instant) {
        if let Some(query) = self.queries.get_mut(queue) {
            query.asks_catalog = true;
        }
        self.ask_again(queue, now);
    }

    /// Whether an answer is not older than another that came before.
    pub(crate) fn is_news(&self, queue: &str, set: u32, term: u64, live_count: usize) -> bool {
        let known = self.sets.get(&set).map_or(0, |route| route.term);
        let tries = self
            .queries
            .get(queue)
            .map_or(0, |query| query.failed_count);
        term >= known || usize::try_from(tries).is_ok_and(|tries| tries >= live_count)
    }

    /// Notes which set a queue is in and who leads that. A query about it is over.
    pub(crate) fn learn(&mut self, queue: &str, set: u32, slot: usize, term: u64) {
        if queue != CATALOG && self.queues.get(queue) != Some(&set) {
            if self.queues.len() >= ROUTES_MAX {
                self.queues.clear();
            }
            self.queues.insert(Arc::from(queue), set);
        }
        self.end(queue);
        let route = self.sets.entry(set).or_default();
        route.leader = Some(slot);
        route.term = term;
    }

    /// A leader was named that has a connection: earlier refusals say nothing any more.
    pub(crate) fn forget_refusals(&mut self, set: u32) {
        self.sets.entry(set).or_default().refused = 0;
    }

    /// Whether a slot refused as not leading a set.
    pub(crate) fn has_refused(&self, set: u32, slot: usize) -> bool {
        let refused = self.sets.get(&set).map_or(0, |route| route.refused);
        refused & (1 << slot) != 0
    }

    /// Notes the leader that an answer named while it has no connection.
    pub(crate) fn await_leader(&mut self, queue: &str, set: u32, slot: usize, term: u64) {
        if let Some(query) = self.queries.get_mut(queue) {
            query.candidate = Some((set, slot, term));
        }
    }

    /// A slot got its connection: what was waiting for it is found.
    pub(crate) fn on_connected(&mut self, slot: usize) {
        let found: Vec<_> = self
            .queries
            .iter()
            .filter_map(|(queue, query)| Some((Arc::clone(queue), query.candidate?)))
            .filter(|(_, (_, candidate, _))| *candidate == slot)
            .collect();
        for (queue, (set, slot, term)) in found {
            self.learn(&queue, set, slot, term);
            self.forget_refusals(set);
        }
    }

    /// Ends the query about a queue.
    pub(crate) fn end(&mut self, queue: &str) {
        let query = self.queries.remove(queue);
        if let Some(route) = query
            .and_then(|query| query.set)
            .and_then(|set| self.sets.get_mut(&set))
        {
            route.is_asked = false;
        }
    }

    /// Ends all queries: nobody waits for an answer.
    pub(crate) fn end_all(&mut self) {
        self.queries.clear();
        for route in self.sets.values_mut() {
            route.is_asked = false;
        }
    }

    pub(crate) fn has_query(&self, queue: &str) -> bool {
        self.queries.contains_key(queue)
    }

    pub(crate) fn is_asking(&self) -> bool {
        !self.queries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_question_serves_all_queues_of_a_set_and_a_second_waits_its_turn() {
        let now = Instant::now();
        let mut routes = Routes::default();
        assert_eq!(routes.find("a"), Found::Unknown);
        for queue in ["a", "b"] {
            routes.learn(queue, 3, 0, 7);
            assert_eq!(routes.find(queue), Found::Leader(0));
        }
        routes.note_refusal("a", 0);
        routes.begin("a", now);
        routes.begin("b", now);
        assert_eq!(routes.take_due(now).len(), 1);
        assert_eq!(
            (routes.find("a"), routes.find("b")),
            (Found::Asking, Found::Asking)
        );
        assert!(routes.take_due(now).is_empty(), "it is under way");
        routes.learn("a", 3, 1, 8);
        assert_eq!(routes.find("b"), Found::Leader(1));

        routes.note_refusal("a", 1);
        routes.begin("a", now);
        assert!(routes.take_due(now).is_empty());
        assert_eq!(routes.take_due(now + ASK_INTERVAL_MIN).len(), 1);
    }

    #[test]
    fn an_old_answer_is_believed_only_when_nobody_knows_better() {
        let now = Instant::now();
        let mut routes = Routes::default();
        routes.learn("a", 3, 0, 7);
        routes.note_refusal("a", 0);
        routes.begin("a", now);
        assert!(!routes.is_news("a", 3, 6, 2));
        assert!(routes.is_news("a", 3, 7, 2));
        routes.ask_again("a", now);
        routes.ask_again("a", now);
        assert!(routes.is_news("a", 3, 6, 2));
    }

    #[test]
    fn a_leader_that_gets_its_connection_ends_the_query() {
        let now = Instant::now();
        let mut routes = Routes::default();
        routes.begin("a", now);
        routes.await_leader("a", 2, 5, 1);
        routes.on_connected(4);
        assert_eq!(routes.find("a"), Found::Asking);
        routes.on_connected(5);
        assert_eq!(routes.find("a"), Found::Leader(5));
        assert!(!routes.is_asking());
    }
}
