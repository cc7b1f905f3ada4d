//! The events of a history by what they are about.

use std::collections::BTreeMap;

use super::super::history::{Event, Kind, Outcome};

/// What happened to one message.
#[derive(Clone, Default)]
pub(super) struct Message<'a> {
    /// Successful receives, by receive count.
    pub(super) deliveries: Vec<&'a Event>,
    pub(super) deletes: Vec<&'a Event>,
    /// Extensions and releases.
    pub(super) changes: Vec<&'a Event>,
}

/// See the head of the file.
pub(super) struct Index<'a> {
    /// By queue and id.
    pub(super) messages: BTreeMap<(u16, u64), Message<'a>>,
    /// By number; a producer never uses one twice.
    pub(super) sends: BTreeMap<u64, &'a Event>,
    /// By queue, those that were not refused.
    rewinds: BTreeMap<u16, Vec<&'a Event>>,
}

impl<'a> Index<'a> {
    pub(super) fn new(events: &'a [Event]) -> Index<'a> {
        let mut index = Index {
            messages: BTreeMap::new(),
            sends: BTreeMap::new(),
            rewinds: BTreeMap::new(),
        };
        for event in events {
            if event.kind == Kind::Send {
                index.sends.insert(event.number, event);
                continue;
            }
            if event.kind == Kind::Rewind && event.outcome != Outcome::Refused {
                index.rewinds.entry(event.queue).or_default().push(event);
            }
            if event.message == 0 {
                continue;
            }
            let message = index
                .messages
                .entry((event.queue, event.message))
                .or_default();
            match event.kind {
                Kind::Receive => message.deliveries.push(event),
                Kind::Delete => message.deletes.push(event),
                Kind::Extend | Kind::Release => message.changes.push(event),
                Kind::Send | Kind::Rewind | Kind::Redrive => {}
            }
        }
        for message in index.messages.values_mut() {
            message
                .deliveries
                .sort_by_key(|event| (event.receive_count, event.start_us));
        }
        index
    }

    /// The rewinds of a queue that may have been carried out.
    pub(super) fn rewinds_of(&self, queue: u16) -> &[&'a Event] {
        self.rewinds.get(&queue).map_or(&[], Vec::as_slice)
    }
}
