//! Applying an entry: first what it needs, then time, then its commands, then who is to be told.
//!
//! The match over commands is here, and so is every list the broker keeps over its queues; what a
//! command does to a queue is in `queue`. Spec: spec/semantics.md.

use std::collections::{BTreeMap, BTreeSet};

use sampan_protocol::limits::{
    BATCH_COUNT_MAX, QUEUE_COUNT_MAX, RECEIVE_LEN_DEFAULT, RECEIVE_LEN_MAX,
    VISIBILITY_TIMEOUT_MAX_MS, VISIBILITY_TIMEOUT_MIN_MS,
};
use sampan_protocol::{ErrorCode, Handles, QueueId, Timestamp};

use super::outcome::fold_outcome;
use super::{Broker, Need};
use crate::command::Command;
use crate::effect::Effect;
use crate::entry::Entry;
use crate::limits::DUE_WORK_MAX;
use crate::queue::{Needs, Queue};
use crate::reply::{Refusal, Reply};
use crate::row_key::RowKey;

impl Broker {
    /// Carries out an entry: one reply per command, in order, and the effects of all of them.
    ///
    /// # Errors
    ///
    /// Rows are missing; then nothing was changed and nothing was added to the lists.
    pub fn apply(
        &mut self,
        entry: &Entry,
        effects: &mut Vec<Effect>,
        replies: &mut Vec<Reply>,
    ) -> Result<(), Need> {
        let now = self.now.max(entry.stamp);
        let missing = self.missing_rows(entry, now);
        if !missing.is_empty() {
            return Err(Need(missing));
        }
        self.now = now;
        self.hash.fold(now.0);
        self.run_due(effects);
        for command in &entry.commands {
            let reply = self.carry_out(command, effects);
            let reply = reply.unwrap_or_else(Reply::Refused);
            fold_outcome(&mut self.hash, command, &reply);
            replies.push(reply);
        }
        self.announce(effects);
        self.evict_supplied();
        Ok(())
    }

    /// The rows that the entry could touch and that are not here.
    fn missing_rows(&self, entry: &Entry, now: Timestamp) -> Vec<RowKey> {
        if self.evicted.is_empty() {
            return Vec::new();
        }
        let mut needs: BTreeMap<QueueId, Needs> = BTreeMap::new();
        for id in &self.evicted {
            if let Some(queue) = self.queues.get(id) {
                queue.need_for_due(now, needs.entry(*id).or_default());
            }
        }
        for command in &entry.commands {
            let queue = command.queue().filter(|id| self.evicted.contains(id));
            let Some((id, queue)) = queue.and_then(|id| Some((id, self.queues.get(&id)?))) else {
                continue;
            };
            let needs = needs.entry(id).or_default();
            match command {
                Command::Send { batch, .. } | Command::Deliver { batch, .. } => {
                    queue.need_for_send(batch, now, needs);
                }
                Command::QueueSet { attributes, .. } => queue.need_for_set(attributes, needs),
                Command::Rewind { .. } => queue.need_for_rewind(needs),
                Command::Receive { count_max, .. } => {
                    queue.need_for_receive(*count_max, now, needs)
                }
                Command::ChangeVisibility { handles, .. } | Command::Release { handles, .. } => {
                    queue.need_for_handles(handles, needs);
                }
                Command::Purge { .. } => queue.need_for_purge(needs),
                Command::RedriveStep { step, .. } => queue.need_for_redrive(step, needs),
                Command::Settle { fates, .. } => queue.need_for_fates(fates, needs),
                Command::Reschedule { id, .. } => queue.need_for_message(*id, needs),
                _ => (),
            }
        }
        let rows = needs.into_iter().flat_map(|(queue, needs)| {
            let key = move |(kind, number)| RowKey {
                queue,
                kind,
                number,
            };
            needs.rows.into_iter().map(key)
        });
        rows.collect()
    }

    fn run_due(&mut self, effects: &mut Vec<Effect>) {
        let mut work = DUE_WORK_MAX;
        while work > 0
            && let Some(&(_, id)) = self.deadlines.first().filter(|(at, _)| *at <= self.now)
        {
            let ran = self.on_queue(id, |queue, now| {
                queue.run_due(now, &mut work, effects);
                Ok(())
            });
            ran.expect("a deadline belongs to a queue");
        }
    }

    fn carry_out(
        &mut self,
        command: &Command,
        effects: &mut Vec<Effect>,
    ) -> Result<Reply, Refusal> {
        match command {
            Command::Send {
                queue,
                producer,
                batch,
            } => self
                .on_queue(*queue, |queue, now| {
                    queue.send(*producer, batch, now, effects)
                })
                .map(Reply::Sent),
            Command::Receive {
                queue,
                count_max,
                len_max,
                visibility_timeout_ms,
            } => self.receive(*queue, *count_max, *len_max, *visibility_timeout_ms),
            Command::Delete { queue, handles } => self.on_queue(*queue, |queue, now| {
                Ok(Reply::Handles(queue.delete(handles, now, effects)))
            }),
            Command::ChangeVisibility {
                queue,
                visibility_timeout_ms,
                handles,
            } => self.change_visibility(*queue, *visibility_timeout_ms, handles, effects),
            Command::Release { queue, handles } => self.on_queue(*queue, |queue, now| {
                Ok(Reply::Handles(queue.release(handles, now, effects)))
            }),
            Command::Purge { queue } => self.on_queue(*queue, |queue, now| {
                Ok(Reply::Purged(queue.purge(now, effects)))
            }),
            Command::Rewind { queue, to } => self.on_queue(*queue, |queue, now| {
                Ok(Reply::Rewound(queue.rewind(*to, now)?))
            }),
            Command::Reschedule {
                queue,
                id,
                delay_ms,
            } => self.on_queue(*queue, |queue, now| {
                queue.reschedule(*id, *delay_ms, now, effects)?;
                Ok(Reply::Done)
            }),
            Command::QueueCreate { .. } => self.queue_create(command),
            Command::QueueSet { queue, attributes } => self.on_queue(*queue, |queue, now| {
                queue.set_attributes(*attributes, now, effects);
                Ok(Reply::Done)
            }),
            Command::Deliver {
                queue,
                source,
                arrivals,
                batch,
            } => self.on_queue(*queue, |queue, now| {
                queue.deliver(*source, arrivals, batch, now, effects)?;
                Ok(Reply::Done)
            }),
            Command::Settle { queue, fates } => {
                self.check_settlements()?;
                self.on_queue(*queue, |queue, now| {
                    queue.settle(fates, now, effects);
                    Ok(Reply::Done)
                })
            }
            Command::RedriveBegin { queue, order } => self
                .on_queue(*queue, |queue, now| {
                    queue.redrive_begin(order, now, effects)
                })
                .map(Reply::RedriveBegun),
            Command::RedriveStep { queue, step } => self.on_queue(*queue, |queue, now| {
                queue.redrive_step(step, now, effects)?;
                Ok(Reply::Done)
            }),
            Command::RedriveCancel { queue } => self.on_queue(*queue, |queue, now| {
                let redrive = queue.redrive_cancel(now)?;
                Ok(Reply::Redrive(Box::new(redrive.clone())))
            }),
            Command::QueueDelete { queue } => Ok(self.queue_delete(*queue, effects)),
            Command::HoldSettlements { token, for_ms } => self.hold_settlements(*token, *for_ms),
            Command::Catalog(command) => {
                let reply = self.catalog.carry_out(command, self.now);
                self.catalog_changed |= !matches!(reply, Reply::Refused(_));
                Ok(reply)
            }
            #[cfg(feature = "next-version")]
            Command::Note { .. } => Ok(Reply::Done),
        }
    }

    /// Lets `work` change a queue, and then puts it on the lists where it belongs.
    fn on_queue<R>(
        &mut self,
        id: QueueId,
        work: impl FnOnce(&mut Queue, Timestamp) -> Result<R, Refusal>,
    ) -> Result<R, Refusal> {
        let queue = self.queues.get_mut(&id).ok_or(ErrorCode::QueueNotFound)?;
        let result = work(queue, self.now);
        if let Some(trace) = queue.take_trace() {
            self.hash.fold(trace ^ id.0);
        }
        let deadline = queue.next_deadline();
        let (is_mailing, is_redriving) = (queue.has_letters(), queue.is_redriving());
        let flags = &mut queue.flags;
        if !flags.changed {
            flags.changed = true;
            self.changed.push(id);
        }
        if flags.gained && !flags.listed {
            flags.listed = true;
            self.gained.push(id);
        }
        list(&mut self.mailing, id, &mut flags.mailing, is_mailing);
        list(&mut self.redriving, id, &mut flags.redriving, is_redriving);
        if flags.indexed != deadline {
            if let Some(at) = flags.indexed {
                self.deadlines.remove(&(at, id));
            }
            self.deadlines.extend(deadline.map(|at| (at, id)));
            flags.indexed = deadline;
        }
        result
    }

    fn receive(
        &mut self,
        queue: QueueId,
        count_max: u16,
        len_max: u32,
        visibility_timeout_ms: Option<u32>,
    ) -> Result<Reply, Refusal> {
        if !(1..=BATCH_COUNT_MAX).contains(&usize::from(count_max)) || len_max > RECEIVE_LEN_MAX {
            let text = format!(
                "a receive takes 1 to {BATCH_COUNT_MAX} messages, at most {RECEIVE_LEN_MAX} bytes"
            );
            return Err(Refusal::with_text(ErrorCode::ReceiveOutOfRange, text));
        }
        if let Some(timeout_ms) = visibility_timeout_ms {
            check_visibility_timeout(timeout_ms)?;
        }
        let len_max = if len_max == 0 {
            RECEIVE_LEN_DEFAULT
        } else {
            len_max
        };
        self.on_queue(queue, |queue, now| {
            if queue.in_flight_room() == 0 && queue.receivable_count() > 0 {
                return Err(ErrorCode::TooManyInFlight.into());
            }
            let own = queue.attributes().visibility_timeout_ms;
            let visible_at = now.after_ms(visibility_timeout_ms.unwrap_or(own).into());
            Ok(Reply::Received(
                queue.receive(count_max, len_max, visible_at, now),
            ))
        })
    }

    fn change_visibility(
        &mut self,
        queue: QueueId,
        timeout_ms: u32,
        handles: &Handles,
        effects: &mut Vec<Effect>,
    ) -> Result<Reply, Refusal> {
        if timeout_ms != 0 {
            check_visibility_timeout(timeout_ms)?;
        }
        self.on_queue(queue, |queue, now| {
            let visible_at = (timeout_ms != 0).then(|| now.after_ms(timeout_ms.into()));
            Ok(Reply::Handles(
                queue.change_visibility(handles, visible_at, now, effects),
            ))
        })
    }

    fn queue_create(&mut self, command: &Command) -> Result<Reply, Refusal> {
        let Command::QueueCreate {
            queue: id,
            name,
            attributes,
            secret,
        } = command
        else {
            return Err(ErrorCode::Internal.into());
        };
        if self.queues.contains_key(id) {
            return Ok(Reply::Done);
        }
        if self.queues.len() >= QUEUE_COUNT_MAX {
            return Err(ErrorCode::TooManyQueues.into());
        }
        self.queues
            .insert(*id, Queue::new(*id, name.clone(), *attributes, *secret));
        self.on_queue(*id, |_, _| Ok(Reply::Done))
    }

    fn queue_delete(&mut self, id: QueueId, effects: &mut Vec<Effect>) -> Reply {
        if let Some(queue) = self.queues.remove(&id) {
            queue.row_keys(&mut self.gone);
            if let Some(at) = queue.flags.indexed {
                self.deadlines.remove(&(at, id));
            }
            self.evicted.remove(&id);
            self.mailing.remove(&id);
            self.redriving.remove(&id);
            effects.push(Effect::QueueRemoved { queue: id });
        }
        Reply::Done
    }

    /// Tells which queues have ready messages that were not ready before the entry.
    fn announce(&mut self, effects: &mut Vec<Effect>) {
        for id in self.gained.drain(..) {
            let Some(queue) = self.queues.get_mut(&id) else {
                continue;
            };
            queue.flags.gained = false;
            queue.flags.listed = false;
            if queue.receivable_count() > 0 {
                effects.push(Effect::Ready { queue: id });
            }
        }
        if std::mem::take(&mut self.catalog_changed) {
            effects.push(Effect::CatalogChanged);
        }
    }
}

/// Puts a queue on a list, or takes it off, unless it stands right already.
fn list(queues: &mut BTreeSet<QueueId>, id: QueueId, is_listed: &mut bool, belongs: bool) {
    if *is_listed != belongs {
        *is_listed = belongs;
        match belongs {
            true => queues.insert(id),
            false => queues.remove(&id),
        };
    }
}

fn check_visibility_timeout(timeout_ms: u32) -> Result<(), Refusal> {
    if (VISIBILITY_TIMEOUT_MIN_MS..=VISIBILITY_TIMEOUT_MAX_MS).contains(&timeout_ms) {
        return Ok(());
    }
    let text = format!(
        "a visibility timeout of {timeout_ms} ms is outside {VISIBILITY_TIMEOUT_MIN_MS} to \
         {VISIBILITY_TIMEOUT_MAX_MS} ms"
    );
    Err(Refusal::with_text(
        ErrorCode::VisibilityTimeoutOutOfRange,
        text,
    ))
}
