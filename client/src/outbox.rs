//! What waits to be written to one server, and the task that will write it.
//!
//! Invariants: `open` names each queue whose open frame goes to this server once. Frames lie here
//! only while the server has a live connection; when it breaks they go back to `State`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use crate::outgoing::{Outgoing, Work};

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Queues with an open frame, the one that has waited longest first.
    pub(crate) open: VecDeque<Arc<str>>,
    ready: VecDeque<Outgoing>,
    /// Receives that are ready; apart, because they may wait at the broker for long and so get
    /// only part of the connection's request slots.
    receives: VecDeque<Outgoing>,
    /// The connection's task, when it sleeps.
    pub(crate) sleeper: Option<Waker>,
}

impl Outbox {
    pub(crate) fn push_back(&mut self, outgoing: Outgoing) {
        self.list(&outgoing).push_back(outgoing);
    }

    /// In front of all others of its kind.
    pub(crate) fn push_front(&mut self, outgoing: Outgoing) {
        self.list(&outgoing).push_front(outgoing);
    }

    fn list(&mut self, outgoing: &Outgoing) -> &mut VecDeque<Outgoing> {
        match &outgoing.work {
            Work::Call(call) if call.receives_from().is_some() => &mut self.receives,
            _ => &mut self.ready,
        }
    }

    pub(crate) fn pop_ready(&mut self) -> Option<Outgoing> {
        self.ready.pop_front()
    }

    pub(crate) fn pop_receive(&mut self) -> Option<Outgoing> {
        self.receives.pop_front()
    }

    /// A queue has no open frame any more.
    pub(crate) fn forget_open(&mut self, queue: &Arc<str>) {
        // The queue was used a moment ago, so it is near the end.
        if let Some(at) = self.open.iter().rposition(|open| open == queue) {
            self.open.remove(at);
        }
    }

    /// Takes every complete frame for which `wanted` holds.
    pub(crate) fn take_if(
        &mut self,
        mut wanted: impl FnMut(&Outgoing) -> bool,
        taken: &mut Vec<Outgoing>,
    ) {
        for list in [&mut self.ready, &mut self.receives] {
            take_if(list, &mut wanted, taken);
        }
    }

    /// The complete frames.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Outgoing> {
        self.ready.iter().chain(&self.receives)
    }
}

/// Takes out of `list` what is wanted; the rest keeps its order.
pub(crate) fn take_if(
    list: &mut VecDeque<Outgoing>,
    wanted: &mut impl FnMut(&Outgoing) -> bool,
    taken: &mut Vec<Outgoing>,
) {
    for outgoing in std::mem::take(list) {
        match wanted(&outgoing) {
            true => taken.push(outgoing),
            false => list.push_back(outgoing),
        }
    }
}
