//! The log as a naive model: maps and nothing else. Every call makes a new state, and all states
//! are kept, so that a test can ask whether what it found is one of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use sampan_protocol::SetId;
use sampan_storage::log::{LogEntry, LogId, SetLogState, Vote};

use crate::support::{Outcome, Stepped, entry, id};

/// A call to the log. Indexes are relative to what is there, so that any sequence makes sense.
#[derive(Clone, Debug)]
pub(crate) enum Call {
    Append {
        set: SetId,
        term_step: u64,
        payloads: Vec<Bytes>,
    },
    /// The same term, and done when written.
    AppendLazily {
        set: SetId,
        payloads: Vec<Bytes>,
    },
    Vote(SetId, Vote),
    /// Cuts off so many entries.
    Truncate {
        set: SetId,
        back: u64,
    },
    /// Keeps so many entries; beyond the end if negative.
    Purge {
        set: SetId,
        keep: i64,
    },
    /// Begins again behind this index.
    Reset {
        set: SetId,
        at: Option<u64>,
    },
}

/// What one set holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelSet {
    pub(crate) state: SetLogState,
    pub(crate) entries: BTreeMap<u64, LogEntry<Bytes>>,
}

/// What all sets hold.
pub(crate) type Model = BTreeMap<SetId, ModelSet>;

/// Makes `call` on the log and on the model.
pub(crate) fn make(call: &Call, log: &Stepped, model: &mut Model) -> Outcome {
    match call {
        Call::Append {
            set,
            term_step,
            payloads,
        } => {
            let (term, first) = model.entry(*set).or_default().append(*term_step, payloads);
            log.append(*set, term, first, payloads)
        }
        Call::AppendLazily { set, payloads } => {
            let (term, first) = model.entry(*set).or_default().append(0, payloads);
            log.append_lazily(*set, term, first, payloads)
        }
        Call::Vote(set, vote) => {
            model.entry(*set).or_default().state.vote = Some(*vote);
            log.vote(*set, *vote)
        }
        Call::Truncate { set, back } => {
            let index = model.entry(*set).or_default().truncate(*back);
            log.truncate(*set, index)
        }
        Call::Purge { set, keep } => {
            let upto = model.entry(*set).or_default().purge(*keep);
            log.purge(*set, upto)
        }
        Call::Reset { set, at } => {
            let set_model = model.entry(*set).or_default();
            let at = at.map(|index| id(index % 4, index));
            set_model.entries.clear();
            (set_model.state.purged, set_model.state.last) = (at, at);
            log.reset(*set, at)
        }
    }
}

impl Call {
    /// Whether it is done before it is synced.
    pub(crate) fn is_lazy(&self) -> bool {
        matches!(self, Call::AppendLazily { payloads, .. } if !payloads.is_empty())
    }
}

impl ModelSet {
    /// Returns term and index of the first entry.
    fn append(&mut self, term_step: u64, payloads: &[Bytes]) -> (u64, u64) {
        let last = self.state.last;
        let term = last.map_or(1, |last| last.term) + term_step;
        let first = last.map_or(0, |last| last.index + 1);
        for (payload, index) in payloads.iter().zip(first..) {
            self.entries.insert(index, entry(term, index, payload));
            self.state.last = Some(id(term, index));
        }
        (term, first)
    }

    fn truncate(&mut self, back: u64) -> Option<u64> {
        let keep = self.entries.len().saturating_sub(back as usize);
        let cut = self.entries.keys().nth(keep).copied();
        if let Some(cut) = cut {
            self.entries.split_off(&cut);
            let last = self.entries.values().next_back().map(|entry| entry.id);
            self.state.last = last.or(self.state.purged);
        }
        self.state.last.map(|last| last.index)
    }

    fn purge(&mut self, keep: i64) -> LogId {
        let place = self.entries.len() as i64 - keep - 1;
        let known = usize::try_from(place)
            .ok()
            .and_then(|place| self.entries.values().nth(place));
        let upto = match known {
            Some(entry) => entry.id,
            // Beyond the end, or nothing left to purge.
            None if keep < 0 => {
                let last = self.state.last.unwrap_or(id(1, 0));
                id(last.term + 1, last.index + keep.unsigned_abs())
            }
            None => {
                let first = self.entries.values().next().map(|entry| entry.id);
                self.state.purged.or(first).unwrap_or(id(1, 0))
            }
        };
        self.entries = self.entries.split_off(&(upto.index + 1));
        if self
            .state
            .purged
            .is_none_or(|purged| purged.index < upto.index)
        {
            self.state.purged = Some(upto);
        }
        if self.state.last.is_none_or(|last| last.index < upto.index) {
            self.state.last = Some(upto);
        }
        upto
    }
}

/// What the log holds, read back from it.
pub(crate) fn read_back(log: &Stepped) -> Model {
    let read = |set: SetId| {
        let entries = log
            .entries(set)
            .into_iter()
            .map(|entry| (entry.id.index, entry))
            .collect();
        (
            set,
            ModelSet {
                state: log.log.state(set),
                entries,
            },
        )
    };
    log.log
        .sets()
        .into_iter()
        .map(read)
        .filter(|(_, set)| *set != ModelSet::default())
        .collect()
}

/// The model without sets that hold nothing.
pub(crate) fn trimmed(model: &Model) -> Model {
    let kept = model.iter().filter(|(_, set)| **set != ModelSet::default());
    kept.map(|(set, model)| (*set, model.clone())).collect()
}
