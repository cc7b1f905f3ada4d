//! The events of a history by what they are about.

use std::collections::BTreeMap;

use super::super::history::{Event, Kind};

/// What happened to one message.
#[derive(Default)]
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
}

impl<'a> Index<'a> {
    pub(super) fn new(events: &'a [Event]) -> Index<'a> {
        let mut index = Index {
            messages: BTreeMap::new(),
            sends: BTreeMap::new(),
        };
        for event in events {
            if event.kind == Kind::Send {
                index.sends.insert(event.number, event);
                continue;
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
                Kind::Send => {}
            }
        }
        for message in index.messages.values_mut() {
            message
                .deliveries
                .sort_by_key(|event| (event.receive_count, event.start_us));
        }
        index
    }
}
