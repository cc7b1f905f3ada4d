//! A delete frame under construction: the receipt handles that wait for the connection.
//!
//! Invariant: 1 to `BATCH_COUNT_MAX` handles once it is sent. Spec: spec/wire.md, "Delete".

use std::sync::Arc;

use bytes::BytesMut;
use sampan_protocol::limits::BATCH_COUNT_MAX;
use sampan_protocol::{Delete, Handles, Name, ReceiptHandle, Request};

use crate::gate::Cost;
use crate::slot::{Outcome, SlotOwner, Ticket};

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct DeleteFrame {
    pub(crate) queue: Arc<str>,
    handles: Vec<ReceiptHandle>,
    slot: SlotOwner,
}

impl DeleteFrame {
    pub(crate) fn new(queue: Arc<str>) -> Self {
        DeleteFrame {
            queue,
            handles: Vec::new(),
            slot: SlotOwner::default(),
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.handles.len() == BATCH_COUNT_MAX
    }

    /// Adds a handle to a frame that is not full.
    pub(crate) fn push(&mut self, handle: ReceiptHandle) -> Ticket {
        let place = u16::try_from(self.handles.len()).expect("a frame has at most 256 handles");
        self.handles.push(handle);
        self.slot.ticket(place)
    }

    pub(crate) fn cost(&self) -> Cost {
        Cost {
            count: self.handles.len(),
            len: 0,
        }
    }

    pub(crate) fn encode(&self, request_id: u64, out: &mut BytesMut) {
        let handles = Handles::from_iter(self.handles.iter().copied());
        let delete = Delete {
            queue: Name::from(&*self.queue),
            handles,
        };
        Request::Delete(delete).encode(request_id, out);
    }

    pub(crate) fn resolve(self, outcome: Outcome) {
        self.slot.resolve(outcome);
    }
}
