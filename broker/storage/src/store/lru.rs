//! A map with a limit to its weight, which lets go what was used longest ago.
//!
//! Invariant: the weight of all values is at most the limit, unless a single one is heavier.

use std::collections::BTreeMap;

/// Values by key, with a weight each.
#[derive(Debug)]
pub(super) struct Lru<K, V> {
    values: BTreeMap<K, Slot<V>>,
    /// Key by the moment of its last use; one per value.
    order: BTreeMap<u64, K>,
    uses: u64,
    weight: usize,
    weight_max: usize,
}

#[derive(Debug)]
struct Slot<V> {
    value: V,
    weight: usize,
    used: u64,
}

impl<K: Ord + Clone, V> Lru<K, V> {
    /// An empty map for values of `weight_max` together.
    pub(super) fn new(weight_max: usize) -> Self {
        let (values, order) = (BTreeMap::new(), BTreeMap::new());
        Lru {
            values,
            order,
            uses: 0,
            weight: 0,
            weight_max,
        }
    }

    /// The value, which counts as used now.
    pub(super) fn find(&mut self, key: &K) -> Option<&V> {
        let slot = self.values.get_mut(key)?;
        self.order.remove(&slot.used);
        self.uses += 1;
        slot.used = self.uses;
        self.order.insert(self.uses, key.clone());
        Some(&slot.value)
    }

    /// Takes a value in, in place of an older one under the same key.
    pub(super) fn insert(&mut self, key: K, value: V, weight: usize) {
        self.remove(&key);
        self.uses += 1;
        self.weight += weight;
        self.order.insert(self.uses, key.clone());
        self.values.insert(
            key,
            Slot {
                value,
                weight,
                used: self.uses,
            },
        );
        while self.weight > self.weight_max && self.values.len() > 1 {
            let Some((_, oldest)) = self.order.first_key_value() else {
                break;
            };
            let oldest = oldest.clone();
            self.remove(&oldest);
        }
    }

    /// Lets a value go.
    pub(super) fn remove(&mut self, key: &K) {
        if let Some(slot) = self.values.remove(key) {
            self.order.remove(&slot.used);
            self.weight -= slot.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let mut cache = Lru::new(10);
        cache.insert("a", 1, 4);
        cache.insert("b", 2, 4);
        assert_eq!(cache.find(&"a"), Some(&1));
        cache.insert("c", 3, 4);
        assert_eq!(cache.find(&"b"), None);
        assert_eq!(cache.find(&"a"), Some(&1));
        assert_eq!(cache.find(&"c"), Some(&3));
        cache.insert("c", 4, 1);
        assert_eq!((cache.weight, cache.order.len()), (5, 2));
    }

    #[test]
    fn a_value_heavier_than_the_limit_stands_alone() {
        let mut cache = Lru::new(10);
        cache.insert(1, "small", 4);
        cache.insert(2, "huge", 40);
        assert_eq!(cache.find(&1), None);
        assert_eq!(cache.find(&2), Some(&"huge"));
    }
}
