//! What a receiver does with what it holds: delete, change of visibility, release.
//!
//! Each handle is judged by itself; the others of the request are carried out.
//! Spec: spec/semantics.md, "Receipt handles".

use sampan_protocol::{DeathReason, HandleResults, Handles, MessageId, Timestamp};

use super::Queue;
use super::room::all_marks;
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
        if self.attributes.rewind_ms > 0 {
            return self.delete_and_keep(handles, now, effects);
        }
        let (mut failures, mut grouped) = (Vec::new(), Vec::new());
        let marks = all_marks(&mut self.immediate, &mut self.grouped, &mut self.delayed);
        let mut removals = Removals::new(&mut self.trace, effects, self.id).with_shares(marks);
        self.leases.for_each(
            handles,
            now,
            |chunk, offset, slot| {
                let id = slot.value.id;
                chunk.take(offset);
                removals.push(id);
                grouped.extend(Some(id).filter(|id| id.is_grouped()));
            },
            |place, code| failures.push((place, code)),
        );
        removals.finish();
        grouped.into_iter().for_each(|id| self.let_go(id));
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
            return self.give_back(handles, now, effects, Queue::come_back_unhandled);
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
        self.give_back(handles, now, effects, |queue, lease, now, effects| {
            let receive_count = lease.receive_count - 1;
            let past = (receive_count > 0).then(|| Received {
                receive_count,
                ..past_of(lease)
            });
            queue.come_back(lease.id, past, now, effects);
        })
    }

    fn give_back(
        &mut self,
        handles: &Handles,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        come_back: impl Fn(&mut Queue, &Lease, Timestamp, &mut Vec<Effect>),
    ) -> HandleResults {
        let mut failures = Vec::new();
        let mut back: Vec<Lease> = Vec::new();
        self.leases.for_each(
            handles,
            now,
            |chunk, offset, slot| {
                chunk.take(offset);
                back.push(slot.value);
            },
            |place, code| failures.push((place, code)),
        );
        for lease in &back {
            come_back(self, lease, now, effects);
        }
        HandleResults { failures }
    }

    /// A message is no longer hidden: it is ready, or given up for its age, or gone when its
    /// retention has passed.
    pub(super) fn come_back(
        &mut self,
        id: MessageId,
        received: Option<Received>,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        if self.space_of(id).has_expired(id) {
            self.let_go(id);
            self.remove(id, 1, effects);
        } else if self.is_too_old(id, now) {
            self.let_go(id);
            self.bury(id, received, DeathReason::Age, now, effects);
        } else if id.is_grouped() {
            self.trace.on_return(id);
            self.in_groups(|groups| groups.come_back(id, received));
        } else {
            self.trace.on_return(id);
            self.pages.put(id, received);
            self.flags.gained = true;
        }
    }

    /// A message that was in flight or rested is gone: its group, if it has one, may be served
    /// again.
    pub(super) fn let_go(&mut self, id: MessageId) {
        if id.is_grouped() {
            self.in_groups(|groups| groups.let_go(id));
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
