//! Where frames go, and what happens when that changes: connections come and go, leaders change.
//!
//! All of it is rare, so it walks over lanes and frames instead of keeping lists of what belongs
//! where: such lists would have to be kept up with every message.
//!
//! Invariants: those of `State`. A frame that moves keeps its order among those of its queue that
//! move with it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::outgoing::Outgoing;
use crate::routes::{CATALOG, Found};
use crate::state::State;

impl State {
    /// The server that takes what is for a queue, when one is known and has a connection. `None` as
    /// queue: any server will do.
    pub(crate) fn place_of(&mut self, queue: Option<&str>) -> Option<usize> {
        let Some(queue) = queue else {
            return self.servers.home();
        };
        match self.routes.find(queue) {
            Found::Unknown => self.servers.home(),
            Found::Asking => None,
            Found::Leader(slot) if self.servers.is_live(slot) => Some(slot),
            Found::Leader(_) => {
                if self.servers.any_live() {
                    self.routes.begin(queue, Instant::now());
                    self.needs_attention = true;
                }
                None
            }
        }
    }

    /// A server got its connection.
    pub(crate) fn open_slot(&mut self, slot: usize) {
        self.servers.on_connected(slot);
        self.routes.on_connected(slot);
        self.place_held();
    }

    /// A server lost its connection: what was to go there goes elsewhere, or waits.
    pub(crate) fn close_slot(&mut self, slot: usize, now: Instant) {
        self.servers.on_disconnected(slot, now);
        self.servers.outbox(slot).sleeper = None;
        self.replace(slot);
        // Repeats that only the lost connection's timer knew of get another.
        self.stir();
    }

    /// A server refused something for a queue because of the state it is in, not of the request's.
    pub(crate) fn unroute(&mut self, queue: Option<&str>, slot: usize, now: Instant) {
        let Some(queue) = queue else { return };
        if matches!(self.routes.find(queue), Found::Leader(leader) if leader != slot) {
            // A late answer of a former leader; the new one is known.
            return self.replace(slot);
        }
        self.routes.note_refusal(queue, slot);
        self.routes.begin(queue, now);
        self.needs_attention = true;
        self.replace(slot);
    }

    /// Finds a place for all that lies with a server and does not belong there any more.
    fn replace(&mut self, slot: usize) {
        let queues: Vec<_> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.place == Some(slot))
            .map(|(queue, _)| Arc::clone(queue))
            .collect();
        for queue in queues {
            let place = self.place_of(Some(&queue));
            self.move_lane(&queue, place);
        }
        let mut taken = Vec::new();
        self.servers.outbox(slot).take_if(|_| true, &mut taken);
        for outgoing in taken {
            if !outgoing.is_pinned() {
                self.put_ready(outgoing);
            } else if self.servers.is_live(slot) {
                self.put_at(slot, outgoing);
            }
            // What asks a lost connection something is dropped; who asked hears that it is lost.
        }
    }

    fn move_lane(&mut self, queue: &Arc<str>, place: Option<usize>) {
        let Some(lane) = self.lanes.get_mut(queue) else {
            return;
        };
        let before = std::mem::replace(&mut lane.place, place);
        if before == place || !lane.is_listed() {
            return;
        }
        if let Some(slot) = before {
            self.servers.outbox(slot).forget_open(queue);
        }
        match place {
            Some(slot) => {
                self.servers.outbox(slot).open.push_back(Arc::clone(queue));
                self.dirty |= 1 << slot;
            }
            None => self.needs_attention = true,
        }
    }

    /// Takes what has waited for `patience` to be sent while nobody was known to lead its queue,
    /// for all that was asked. What was sent before has a deadline of its own.
    pub(crate) fn take_leaderless(&mut self, now: Instant, patience: Duration) -> Vec<Outgoing> {
        if !self.servers.any_live() {
            return Vec::new();
        }
        let held = self.held.iter().filter_map(Outgoing::queue);
        let queues = self.lanes.keys().map(|queue| &**queue).chain(held);
        let is_asked = |queue: &&str| matches!(self.routes.find(queue), Found::Asking);
        let leaderless: BTreeSet<String> = queues.filter(is_asked).map(str::to_owned).collect();
        if leaderless.is_empty() {
            return Vec::new();
        }
        let is_due = |outgoing: &Outgoing| {
            let since = outgoing.refused_since.unwrap_or(outgoing.created_at);
            let is_unsent = outgoing.number().is_none() && !outgoing.repeated;
            let queue = outgoing.queue().filter(|queue| leaderless.contains(*queue));
            is_unsent && queue.is_some() && since + patience <= now
        };
        let mut taken = self.take_if(&is_due);
        for queue in &leaderless {
            let queue = Arc::from(queue.as_str());
            if !self.lanes.contains_key(&queue) {
                continue;
            }
            self.change_lane(&queue, |lane| {
                lane.line.retain(|outgoing| match is_due(&outgoing) {
                    true => {
                        taken.push(outgoing);
                        None
                    }
                    false => Some(outgoing),
                });
            });
            self.drop_lane_if_empty(&queue);
        }
        taken
    }

    /// The server that leads the catalog, when it is known and has a connection.
    pub(crate) fn catalog_leader(&self) -> Option<usize> {
        match self.routes.find(CATALOG) {
            Found::Leader(slot) => Some(slot).filter(|slot| self.servers.is_live(*slot)),
            _ => None,
        }
    }

    /// Finds a place for what has none, as far as there is one now.
    pub(crate) fn place_held(&mut self) {
        for outgoing in std::mem::take(&mut self.held) {
            self.put_ready(outgoing);
        }
        let queues: Vec<_> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.place.is_none())
            .map(|(queue, _)| Arc::clone(queue))
            .collect();
        for queue in queues {
            let place = self.place_of(Some(&queue));
            self.move_lane(&queue, place);
        }
    }
}
