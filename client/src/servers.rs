//! The servers that a client knows: those it was given, and those that the cluster told it of.
//!
//! A server has a number for as long as it is known, its **slot**; everything that waits for its
//! connection lies with it. What was given is never forgotten. What was told is forgotten when the
//! cluster stops naming it, it has no connection, and its slot is needed.
//!
//! While there is no connection at all, all servers are tried at once, each with its own back-off;
//! that is a **series**, and it ends with a connection or gives up. With one connection, others are
//! made only for what leads a set that is asked for, and for all when nobody who is connected knows
//! who does: a node may be cut off from the others.
//!
//! Invariants: at most [`CONNECTIONS_MAX`] slots; `home` is live.

use std::time::Duration;

use tokio::time::Instant;

use crate::address::Address;
use crate::backoff;
use crate::outbox::Outbox;

/// Servers that a client knows, and so connections that it has, at one time.
pub(crate) const CONNECTIONS_MAX: usize = 64;

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: Address,
    is_given: bool,
    /// Its id, once the cluster has told it.
    node: Option<u64>,
    pub(crate) outbox: Outbox,
    /// It has a connection.
    is_live: bool,
    /// An attempt to connect is under way.
    is_dialing: bool,
    /// It leads something that is asked for.
    is_wanted: bool,
    /// Failed attempts in a row.
    failed_count: u32,
    /// When the next attempt may begin.
    dial_at: Instant,
}

impl Server {
    fn new(address: Address, is_given: bool) -> Self {
        Server {
            address,
            is_given,
            node: None,
            outbox: Outbox::default(),
            is_live: false,
            is_dialing: false,
            is_wanted: false,
            failed_count: 0,
            dial_at: Instant::now(),
        }
    }
}

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct Servers {
    list: Vec<Server>,
    /// Where goes what may go anywhere.
    home: Option<usize>,
    /// Since when there has been no connection; `None` also after giving up.
    series: Option<Instant>,
    /// The slot that was asked last.
    asked: usize,
}

impl Servers {
    pub(crate) fn new(given: &[Address]) -> Self {
        let list = given.iter().cloned();
        Servers {
            list: list.map(|address| Server::new(address, true)).collect(),
            home: None,
            series: None,
            asked: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn is_live(&self, slot: usize) -> bool {
        self.list.get(slot).is_some_and(|server| server.is_live)
    }

    pub(crate) fn any_live(&self) -> bool {
        self.home.is_some()
    }

    pub(crate) fn home(&self) -> Option<usize> {
        self.home
    }

    /// From now on what may go anywhere goes there, if it can.
    pub(crate) fn set_home(&mut self, slot: usize) {
        if self.is_live(slot) {
            self.home = Some(slot);
        }
    }

    pub(crate) fn outbox(&mut self, slot: usize) -> &mut Outbox {
        &mut self.list[slot].outbox
    }

    pub(crate) fn outboxes(&self) -> impl Iterator<Item = &Outbox> {
        self.list.iter().map(|server| &server.outbox)
    }

    pub(crate) fn outboxes_mut(&mut self) -> impl Iterator<Item = &mut Outbox> {
        self.list.iter_mut().map(|server| &mut server.outbox)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Server> {
        self.list.iter()
    }

    pub(crate) fn live_slots(&self) -> impl Iterator<Item = usize> {
        (0..self.list.len()).filter(|slot| self.list[*slot].is_live)
    }

    /// Live slots in turn, beginning with the one after the last.
    pub(crate) fn next_to_ask(&mut self) -> Option<usize> {
        let count = self.list.len();
        let slot = (1..=count)
            .map(|step| (self.asked + step) % count)
            .find(|slot| self.list[*slot].is_live)?;
        self.asked = slot;
        Some(slot)
    }

    /// The slot of a node.
    pub(crate) fn slot_of(&self, node: u64) -> Option<usize> {
        let is_it = |server: &Server| server.node == Some(node);
        self.list.iter().position(is_it)
    }

    /// Nodes by id, with their addresses.
    pub(crate) fn nodes(&self) -> Vec<(u64, String)> {
        let node = |server: &Server| Some((server.node?, server.address.to_string()));
        let mut nodes: Vec<_> = self.list.iter().filter_map(node).collect();
        nodes.sort();
        nodes
    }

    /// Takes in what the cluster says of its nodes. Addresses that cannot be are passed over.
    pub(crate) fn learn(&mut self, nodes: &[(u64, String)]) {
        if nodes.is_empty() {
            return;
        }
        for server in &mut self.list {
            server.node = None;
        }
        for (node, address) in nodes {
            let Some(address) = self.list[0].address.sibling(address) else {
                continue;
            };
            if let Some(slot) = self.slot_for(address) {
                self.list[slot].node = Some(*node);
            }
        }
    }

    fn slot_for(&mut self, address: Address) -> Option<usize> {
        if let Some(slot) = self
            .list
            .iter()
            .position(|server| server.address == address)
        {
            return Some(slot);
        }
        if self.list.len() < CONNECTIONS_MAX {
            self.list.push(Server::new(address, false));
            return Some(self.list.len() - 1);
        }
        let is_forgotten = |server: &Server| {
            let is_used = server.is_given || server.is_live || server.is_dialing;
            !is_used && server.node.is_none()
        };
        let slot = self.list.iter().position(is_forgotten)?;
        self.list[slot] = Server::new(address, false);
        Some(slot)
    }

    pub(crate) fn on_connected(&mut self, slot: usize) {
        let server = &mut self.list[slot];
        server.is_live = true;
        server.is_dialing = false;
        server.is_wanted = false;
        server.failed_count = 0;
        self.home.get_or_insert(slot);
        self.series = None;
    }

    pub(crate) fn on_disconnected(&mut self, slot: usize, now: Instant) {
        self.list[slot].is_live = false;
        self.list[slot].dial_at = now + backoff::delay(0);
        if self.home == Some(slot) {
            self.home = self.next_to_ask();
        }
        if self.home.is_none() {
            self.begin_series(now);
        }
    }

    /// Tries everything again, from the shortest pause on.
    pub(crate) fn begin_series(&mut self, now: Instant) {
        self.series = Some(now);
        for server in &mut self.list {
            server.failed_count = 0;
            server.dial_at = now + backoff::delay(0);
        }
    }

    /// Whether there is no connection and none is looked for.
    pub(crate) fn has_given_up(&self) -> bool {
        self.home.is_none() && self.series.is_none()
    }

    /// Notes a failed attempt. Returns whether the series it belonged to has used up its limits.
    pub(crate) fn on_dial_failed(
        &mut self,
        slot: usize,
        now: Instant,
        attempts_max: u32,
        deadline: Duration,
    ) -> bool {
        let server = &mut self.list[slot];
        server.is_dialing = false;
        server.is_wanted = false;
        server.failed_count = server.failed_count.saturating_add(1);
        server.dial_at = now + backoff::delay(server.failed_count);
        let Some(since) = self.series else {
            return false;
        };
        let is_used_up = |server: &Server| server.failed_count >= attempts_max;
        self.list.iter().all(is_used_up) || now.saturating_duration_since(since) >= deadline
    }

    /// Stops looking for a connection until there is work again.
    pub(crate) fn give_up(&mut self) {
        self.series = None;
    }

    /// A connection to `slot` is needed. Returns whether the last attempt at one failed.
    pub(crate) fn want(&mut self, slot: usize) -> bool {
        let server = &mut self.list[slot];
        server.is_wanted = true;
        server.failed_count > 0
    }

    /// A connection to every server is needed.
    pub(crate) fn want_all(&mut self) {
        for server in &mut self.list {
            server.is_wanted = !server.is_live;
        }
    }

    /// Slots that are to be dialed now; they count as being dialed from here on.
    pub(crate) fn take_dials(&mut self, now: Instant) -> Vec<(usize, Address)> {
        let (any_live, in_series) = (self.any_live(), self.series.is_some());
        let mut dials = Vec::new();
        for (slot, server) in self.list.iter_mut().enumerate() {
            let is_idle = !server.is_live && !server.is_dialing;
            let is_asked_for = if any_live {
                server.is_wanted
            } else {
                in_series
            };
            if is_idle && is_asked_for && server.dial_at <= now {
                server.is_dialing = true;
                dials.push((slot, server.address.clone()));
            }
        }
        dials
    }

    /// When the next attempt may begin.
    pub(crate) fn dial_at(&self) -> Option<Instant> {
        let (any_live, in_series) = (self.any_live(), self.series.is_some());
        let is_due = |server: &&Server| {
            let is_idle = !server.is_live && !server.is_dialing;
            is_idle
                && if any_live {
                    server.is_wanted
                } else {
                    in_series
                }
        };
        let due = self.list.iter().filter(is_due);
        due.map(|server| server.dial_at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(count: usize) -> Servers {
        let address = |n| Address::parse(&format!("sampan+tcp://h{n}:1")).expect("good");
        Servers::new(&(0..count).map(address).collect::<Vec<_>>())
    }

    #[test]
    fn told_nodes_are_matched_with_given_addresses_and_the_rest_is_added() {
        let mut servers = servers(1);
        let told = |n: u64| (n, format!("h{}:1", n - 1));
        servers.learn(&[told(1), told(2), (3, "no address".to_owned())]);
        assert_eq!((servers.slot_of(1), servers.slot_of(2)), (Some(0), Some(1)));
        assert_eq!((servers.slot_of(3), servers.len()), (None, 2));
        servers.learn(&[]);
        assert_eq!(
            servers.nodes().len(),
            2,
            "an answer that knows nothing changes nothing"
        );
    }

    #[test]
    fn slots_are_bounded_and_those_of_gone_nodes_are_used_again() {
        let mut servers = servers(1);
        let nodes = |from: u64| {
            (from..from + 100)
                .map(|n| (n, format!("n{n}:1")))
                .collect::<Vec<_>>()
        };
        servers.learn(&nodes(1));
        assert_eq!(servers.len(), CONNECTIONS_MAX);
        servers.on_connected(5);
        servers.learn(&nodes(1_000));
        assert_eq!(servers.len(), CONNECTIONS_MAX);
        assert!(servers.slot_of(1_000).is_some());
        assert_eq!(servers.list[0].address.host, "h0", "what was given stays");
        assert_eq!(
            servers.list[5].address.host, "n5",
            "what is connected stays"
        );
    }

    #[test]
    fn with_a_connection_only_what_is_wanted_is_dialed_and_without_one_everything() {
        let mut servers = servers(3);
        let now = Instant::now();
        servers.on_connected(1);
        assert!(servers.take_dials(now + Duration::from_secs(9)).is_empty());
        servers.want(2);
        let slots = |servers: &mut Servers, at| -> Vec<usize> {
            servers
                .take_dials(at)
                .into_iter()
                .map(|(slot, _)| slot)
                .collect()
        };
        assert_eq!(slots(&mut servers, now + Duration::from_secs(9)), [2]);
        servers.on_disconnected(1, now);
        assert_eq!(slots(&mut servers, now + Duration::from_secs(9)), [0, 1]);
        let hour = Duration::from_secs(3_600);
        assert!(!servers.on_dial_failed(0, now, 1, hour));
        assert!(!servers.on_dial_failed(1, now, 1, hour));
        assert!(
            servers.on_dial_failed(2, now, 1, hour),
            "now all have failed once"
        );
    }
}
