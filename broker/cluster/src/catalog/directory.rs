//! Where a queue lives, by name: what a connection needs to hand a request to the right set.
//!
//! Cores read it without a lock: a new directory replaces the old one, and shares the shards that
//! did not change with it, so that a change costs one shard, not all queues.
//!
//! Invariant: a queue is listed from the moment its set knows it until its deletion begins.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use sampan_core::{Catalog, QueueState};
use sampan_protocol::{QueueAttributes, QueueId, SetId, Timestamp};
use tokio::sync::watch;

use super::map::ClusterMap;

const SHARD_COUNT: usize = 64;

/// A queue as requests find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Its name as it was created.
    pub name: String,
    /// Its id.
    pub queue: QueueId,
    /// The set that holds it.
    pub set: SetId,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its attributes.
    pub attributes: QueueAttributes,
    /// The name of its dead-letter queue; empty without one.
    pub dead_letter_queue: String,
}

type Shard = BTreeMap<Box<str>, Arc<Route>>;

/// Every queue of the node's cluster by name, without regard to letter case.
#[derive(Clone, Debug)]
pub struct Directory {
    shards: Vec<Arc<Shard>>,
    map: Arc<ClusterMap>,
}

impl Default for Directory {
    fn default() -> Self {
        Directory {
            shards: vec![Arc::default(); SHARD_COUNT],
            map: Arc::default(),
        }
    }
}

impl Directory {
    /// Whether this node knows the cluster: before that, no queue is known to be missing.
    pub fn is_known(&self) -> bool {
        self.map.cluster.is_some()
    }

    /// The nodes, and where sets are wanted.
    pub(crate) fn map(&self) -> &Arc<ClusterMap> {
        &self.map
    }

    /// Where clients reach the nodes, by id.
    pub fn client_addresses(&self) -> Vec<(u64, String)> {
        let nodes = self.map.nodes.iter();
        nodes
            .map(|record| (record.node, record.client_address.clone()))
            .collect()
    }

    /// Every queue, in no order.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    /// The queue of a name.
    pub fn find(&self, name: &str) -> Option<&Arc<Route>> {
        let shard = &self.shards[shard_of(name)];
        if let Some(route) = shard.get(name) {
            return Some(route);
        }
        shard.get(name.to_ascii_lowercase().as_str())
    }

    /// How many queues each of the first `set_count` sets holds.
    pub fn count_by_set(&self, set_count: usize) -> Vec<usize> {
        let mut counts = vec![0; set_count];
        for route in self.shards.iter().flat_map(|shard| shard.values()) {
            if let Some(count) = counts.get_mut(route.set.0 as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// Up to `count_max` names that begin with `prefix`, after `after`, in order; and whether there
    /// are more. Letter case does not matter.
    pub fn list(&self, prefix: &str, after: &str, count_max: usize) -> (Vec<String>, bool) {
        let (prefix, after) = (prefix.to_ascii_lowercase(), after.to_ascii_lowercase());
        let start = if after > prefix {
            Bound::Excluded(after.as_str())
        } else if after == prefix && !after.is_empty() {
            Bound::Excluded(prefix.as_str())
        } else {
            Bound::Included(prefix.as_str())
        };
        let mut found = BTreeMap::new();
        for shard in &self.shards {
            let range = shard.range::<str, _>((start, Bound::Unbounded));
            let matching = range.take_while(|(name, _)| name.starts_with(&prefix));
            found.extend(matching.take(count_max + 1));
        }
        let more = found.len() > count_max;
        let names = found
            .values()
            .take(count_max)
            .map(|route| route.name.clone());
        (names.collect(), more)
    }
}

/// Names are few and short; the shard only has to spread them.
fn shard_of(name: &str) -> usize {
    let sum = name.bytes().fold(0u32, |sum, byte| {
        sum.wrapping_mul(31)
            .wrapping_add(u32::from(byte.to_ascii_lowercase()))
    });
    sum as usize % SHARD_COUNT
}

/// Puts what set 0 has applied into the directory.
pub(crate) struct DirectoryPublisher {
    sender: watch::Sender<Arc<Directory>>,
}

impl DirectoryPublisher {
    pub(crate) fn new(sender: watch::Sender<Arc<Directory>>) -> Self {
        DirectoryPublisher { sender }
    }

    /// Publishes the records that changed; a record that is gone or not usable is taken out.
    pub(crate) fn publish(&mut self, catalog: &Catalog) {
        let mut directory = Directory::clone(&self.sender.borrow());
        let mut seen: Vec<Shard> = vec![Shard::new(); SHARD_COUNT];
        for record in catalog.records() {
            if !matches!(record.state, QueueState::Ready | QueueState::Changing) {
                continue;
            }
            let key = record.name.to_ascii_lowercase().into_boxed_str();
            let target = catalog.record(QueueId(record.attributes.dead_letter_queue));
            let route = Route {
                name: record.name.clone(),
                queue: record.queue,
                set: record.set,
                created_at: record.created_at,
                attributes: record.attributes,
                dead_letter_queue: target.map_or_else(String::new, |it| it.name.clone()),
            };
            seen[shard_of(&key)].insert(key, Arc::new(route));
        }
        for (shard, new) in directory.shards.iter_mut().zip(seen) {
            if **shard != new {
                *shard = Arc::new(new);
            }
        }
        directory.map = Arc::new(ClusterMap::new(catalog));
        self.sender.send_replace(Arc::new(directory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(names: &[&str]) -> Directory {
        let mut directory = Directory::default();
        for (number, name) in names.iter().enumerate() {
            let route = Route {
                name: (*name).to_owned(),
                queue: QueueId(number as u64),
                set: SetId(0),
                created_at: Timestamp(0),
                attributes: QueueAttributes::default(),
                dead_letter_queue: String::new(),
            };
            let key = name.to_ascii_lowercase().into_boxed_str();
            Arc::make_mut(&mut directory.shards[shard_of(name)]).insert(key, Arc::new(route));
        }
        directory
    }

    #[test]
    fn a_queue_is_found_in_any_letter_case() {
        let directory = directory(&["Orders"]);
        for name in ["Orders", "orders", "ORDERS"] {
            assert_eq!(directory.find(name).unwrap().name, "Orders");
        }
        assert!(directory.find("order").is_none());
    }

    #[test]
    fn pages_of_a_list_cover_each_name_once_in_order() {
        let names: Vec<String> = (0..257)
            .map(|number| format!("queue-{number:03}"))
            .collect();
        let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
        all.extend(["other", "zebra"]);
        let directory = directory(&all);
        let (mut listed, mut after) = (Vec::new(), String::new());
        loop {
            let (page, more) = directory.list("queue-", &after, 10);
            after = page.last().cloned().unwrap_or_default();
            listed.extend(page);
            if !more {
                break;
            }
        }
        assert_eq!(listed, names);
    }

    #[test]
    fn a_page_after_a_name_that_equals_the_prefix_does_not_repeat_it() {
        let directory = directory(&["a", "ab", "b"]);
        assert_eq!(directory.list("a", "", 10).0, ["a", "ab"]);
        assert_eq!(directory.list("a", "a", 10).0, ["ab"]);
    }
}
