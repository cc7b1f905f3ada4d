//! What a receiver does with what it holds: delete, change of visibility, release.
//!
//! Each handle is judged by itself; the others of the request are carried out.
//! Spec: spec/semantics.md, "Receipt handles".

use sampan_protocol::{HandleResults, Handles, MessageId, Timestamp};

use super::Queue;
use super::trace::Removals;
use crate::effect::Effect;
use crate::leases::Lease;
use crate::page::Received;

impl Queue {
    pub(crate) fn delete(
        &mut self,
        handles: &Handles,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> HandleResults {
        let mut failures = Vec::new();
        let mut removals = Removals::new(&mut self.trace, effects, self.id);
        self.leases.for_each(
            handles,
            now,
            |chunk, offset, slot| {
                chunk.take(offset);
                removals.push(slot.value.id);
            },
            |place, code| failures.push((place, code)),
        );
        removals.finish();
        HandleResults { failures }
    }

    /// Hides messages from now on for as long as told. None: they are ready at once.
    pub(crate) fn change_visibility(
        &mut self,
        handles: &Handles,
        visible_at: Option<Timestamp>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> HandleResults {
        let Some(visible_at) = visible_at else {
            return self.give_back(handles, now, effects, |lease| Some(past_of(lease)));
        };
        self.trace.on_number(visible_at.0);
        let mut failures = Vec::new();
        self.leases.for_each(
            handles,
            now,
            |chunk, offset, _| chunk.move_to(offset, visible_at),
            |place, code| failures.push((place, code)),
        );
        HandleResults { failures }
    }

    /// Undoes a receive whose reply nobody got: as if it had not been.
    pub(crate) fn release(
        &mut self,
        handles: &Handles,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> HandleResults {
        self.give_back(handles, now, effects, |lease| {
            let receive_count = lease.receive_count - 1;
            (receive_count > 0).then(|| Received {
                receive_count,
                ..past_of(lease)
            })
        })
    }

    fn give_back(
        &mut self,
        handles: &Handles,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        past: impl Fn(&Lease) -> Option<Received>,
    ) -> HandleResults {
        let mut failures = Vec::new();
        let mut back = Vec::new();
        self.leases.for_each(
            handles,
            now,
            |chunk, offset, slot| {
                chunk.take(offset);
                back.push((slot.value.id, past(&slot.value)));
            },
            |place, code| failures.push((place, code)),
        );
        for (id, received) in back {
            self.come_back(id, received, effects);
        }
        HandleResults { failures }
    }

    /// A message leaves its lease: it is ready again, or gone when its retention has passed.
    pub(super) fn come_back(
        &mut self,
        id: MessageId,
        received: Option<Received>,
        effects: &mut Vec<Effect>,
    ) {
        if self.space_of(id).has_expired(id) {
            self.trace.on_removed(effects, self.id, id, 1);
        } else {
            self.trace.on_return(id);
            self.pages.put(id, received);
            self.flags.gained = true;
        }
    }

    /// Each message that these handles could give back.
    pub(super) fn messages_of<'a>(
        &'a self,
        handles: &'a Handles,
    ) -> impl Iterator<Item = MessageId> + 'a {
        handles
            .iter()
            .filter_map(|handle| self.leases.peek(handle))
            .map(|lease| lease.id)
    }
}

pub(super) fn past_of(lease: &Lease) -> Received {
    let Lease {
        receive_count,
        first_received_at,
        ..
    } = *lease;
    Received {
        receive_count,
        first_received_at,
    }
}
