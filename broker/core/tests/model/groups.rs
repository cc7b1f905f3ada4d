//! Groups as one would write them in an hour: for each key what is ready and what is held, and
//! since when it waits for its turn.
//!
//! In which order messages of several groups come back at one instant is the broker's choice: of
//! groups that wait equally long the model follows it.

use std::collections::{BTreeMap, BTreeSet};

use sampan_protocol::{GroupMode, MessageId};

use crate::naive::Naive;

#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    pub(crate) ready: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    /// In flight or resting.
    pub(crate) held: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    /// Since when keys with ready messages wait; those before turns began are not here.
    waits: BTreeMap<Vec<u8>, u64>,
    /// Counts what groups wait since.
    clock: u64,
    /// What comes back now comes at one instant.
    pub(crate) is_instant: bool,
    pub(crate) are_first: bool,
}

impl Groups {
    /// What comes back until `is_instant` is false again does so at one instant.
    pub(crate) fn begin_instant(&mut self) {
        self.clock += 1;
        self.is_instant = true;
    }

    pub(crate) fn add(&mut self, key: &[u8], id: u64) {
        let ids = self.ready.entry(key.to_vec()).or_default();
        if ids.is_empty() {
            self.clock += u64::from(!self.is_instant);
            self.waits.insert(key.to_vec(), self.clock);
        }
        assert!(ids.insert(id));
    }

    pub(crate) fn remove(&mut self, key: &[u8], id: u64) -> bool {
        let Some(ids) = self.ready.get_mut(key) else {
            return false;
        };
        let was_there = ids.remove(&id);
        if ids.is_empty() {
            self.ready.remove(key);
            self.waits.remove(key);
        }
        was_there
    }

    pub(crate) fn hold(&mut self, key: &[u8], id: u64) {
        assert!(self.held.entry(key.to_vec()).or_default().insert(id));
    }

    pub(crate) fn let_go(&mut self, key: &[u8], id: u64) -> bool {
        let Some(ids) = self.held.get_mut(key) else {
            return false;
        };
        let was_there = ids.remove(&id);
        if ids.is_empty() {
            self.held.remove(key);
        }
        was_there
    }

    pub(crate) fn ready_ids(&self) -> BTreeSet<u64> {
        self.ready.values().flatten().copied().collect()
    }

    fn front(&self, key: &[u8]) -> u64 {
        *self.ready[key].first().unwrap()
    }

    /// The key that is served next, when groups take turns; `told`: the one that was.
    fn next_in_turns(&self, told: Option<&Vec<u8>>) -> Option<Vec<u8>> {
        let place = |key: &Vec<u8>| match self.waits.get(key) {
            None => (0, self.front(key)),
            Some(since) => (*since, u64::from(Some(key) != told)),
        };
        self.ready.keys().min_by_key(|key| place(key)).cloned()
    }

    /// A message of the group was handed out: nobody waits shorter.
    fn on_served(&mut self, key: &[u8]) {
        self.waits.remove(key);
        if self.ready.contains_key(key) {
            self.clock += 1;
            self.waits.insert(key.to_vec(), self.clock);
        }
    }

    fn is_locked(&self, key: &[u8]) -> bool {
        self.held.contains_key(key)
    }
}

impl Naive {
    pub(crate) fn is_ordered(&self) -> bool {
        self.attributes.groups == GroupMode::Ordered
    }

    /// Ready messages whose groups are locked.
    pub(crate) fn locked_count(&self) -> u64 {
        let groups = &self.groups;
        let locked = groups.ready.iter();
        let locked = locked.filter(|(key, _)| self.is_ordered() && groups.is_locked(key));
        locked.map(|(_, ids)| ids.len() as u64).sum()
    }

    /// Ready messages of groups that a receive could get.
    pub(crate) fn receivable_of_groups(&self) -> u64 {
        let ready: usize = self.groups.ready.values().map(BTreeSet::len).sum();
        ready as u64 - self.locked_count()
    }

    /// Lets `work` change something; more that could be received is a gain.
    pub(crate) fn gaining<R>(&mut self, work: impl FnOnce(&mut Naive) -> R) -> R {
        let before = self.receivable_of_groups();
        let result = work(self);
        self.gained |= self.receivable_of_groups() > before;
        result
    }

    /// The rule changed: turns begin anew.
    pub(crate) fn on_rule(&mut self, before: GroupMode) {
        if (before == GroupMode::Ordered) != self.is_ordered() {
            self.groups.waits.clear();
        }
    }

    /// What a receive of `most` messages hands out of groups, if lengths do not matter. `told`:
    /// what it did hand out.
    pub(crate) fn expected_of_groups(&self, most: usize, told: &[u64]) -> Vec<u64> {
        let mut told = told.iter().filter(|id| MessageId(**id).is_grouped());
        let mut groups = self.groups.clone();
        let mut ids = Vec::new();
        if self.is_ordered() {
            let keys = groups.ready.keys().filter(|key| !groups.is_locked(key));
            let mut keys: Vec<_> = keys.collect();
            keys.sort_by_key(|key| groups.front(key));
            ids.extend(keys.into_iter().flat_map(|key| &groups.ready[key]));
        }
        while !self.is_ordered()
            && ids.len() < most
            && let told = told.next().and_then(|id| self.messages.get(id))
            && let Some(key) = groups.next_in_turns(told.map(|message| &message.group_key))
        {
            let id = groups.front(&key);
            ids.push(id);
            groups.remove(&key, id);
            groups.on_served(&key);
        }
        ids.truncate(most);
        ids
    }

    /// Checks, independent of what was expected, that these messages may go to one receiver.
    pub(crate) fn check_locks(&self, ids: &[u64]) {
        for id in ids.iter().filter(|id| MessageId(**id).is_grouped()) {
            let key = &self.messages[id].group_key;
            let is_locked = self.is_ordered() && self.groups.is_locked(key);
            assert!(!is_locked, "{id}: two receivers have messages of {key:?}");
        }
        let in_order = |key: &Vec<u8>| {
            let of_key = ids.iter().filter(|id| self.messages[id].group_key == *key);
            let of_key = of_key.filter(|id| MessageId(**id).is_grouped());
            let waiting = self.groups.ready[key].iter();
            of_key.clone().eq(waiting.take(of_key.count()))
        };
        assert!(!self.is_ordered() || self.groups.ready.keys().all(in_order));
    }

    pub(crate) fn on_handed_out(&mut self, id: u64) {
        if MessageId(id).is_grouped() && !self.is_ordered() {
            let key = self.messages[&id].group_key.clone();
            self.groups.on_served(&key);
        }
    }
}
