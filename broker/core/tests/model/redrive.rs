//! Redrives as one would write them in an hour, and a leader that goes through the messages, but
//! repeats old steps, makes up some, and begins and ends jobs at any time.

use std::collections::VecDeque;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use sampan_core::limits::REDRIVE_SPAN_MAX;
use sampan_core::{Broker, Command, Peek, Peeked, Redrive, RedriveOrder, RedriveStep, Reply};
use sampan_protocol::{
    ErrorCode, MessageId, PeekOf, QueueId, RedriveFilter, RedriveState, Timestamp,
};

use crate::naive::{Naive, State, assert_refused};
use crate::{Stored, other};

impl Naive {
    pub(crate) fn redrive_begin(&mut self, order: &RedriveOrder, reply: &Reply) {
        if self.redrive.as_ref().is_some_and(is_running) {
            return assert_refused(reply, ErrorCode::RedriveRunning);
        }
        let job = self.redrive.as_ref().map_or(1, |before| before.job + 1);
        assert_eq!(*reply, Reply::RedriveBegun(job));
        self.redrive = Some(Redrive {
            job,
            order: order.clone(),
            state: RedriveState::Running,
            cursor: MessageId(0),
            ends: [self.next, self.next_delayed].map(MessageId),
            looked: 0,
            moved: 0,
            skipped: 0,
            begun_at: Timestamp(self.now),
            ended_at: Timestamp(0),
        });
    }

    pub(crate) fn redrive_cancel(&mut self, reply: &Reply) {
        let Some(newest) = &mut self.redrive else {
            return assert_refused(reply, ErrorCode::NoRedrive);
        };
        if is_running(newest) {
            newest.state = RedriveState::Cancelled;
            newest.ended_at = Timestamp(self.now);
        }
        assert_eq!(*reply, Reply::Redrive(Box::new(newest.clone())));
    }

    pub(crate) fn redrive_step(&mut self, step: &RedriveStep, reply: &Reply) {
        assert_eq!(*reply, Reply::Done);
        let is_ahead = |it: &Redrive| it.job == step.job && it.cursor < step.cursor;
        let Some(mut newest) = self.redrive.clone().filter(is_running).filter(is_ahead) else {
            return;
        };
        self.lay_into_pages(step.cursor.0.min(newest.ends[0].0 - 1));
        for (id, target) in &step.picks {
            let message = self.messages.get(&id.0);
            let state = message.map(|message| message.state);
            if state == Some(State::Ready { is_fresh: false }) {
                newest.moved += 1;
                self.redrive_one(id.0, *target);
            }
        }
        newest.cursor = step.cursor;
        newest.looked += step.picks.len() as u64 + u64::from(step.skipped);
        newest.skipped += u64::from(step.skipped);
        if step.is_last {
            newest.state = RedriveState::Done;
            newest.ended_at = Timestamp(self.now);
        }
        self.redrive = Some(newest);
    }

    /// Fresh messages up to `last` are from then on received before what is fresh.
    fn lay_into_pages(&mut self, last: u64) {
        let fresh = self.ready.range((true, 0)..=(true, last));
        let fresh: Vec<u64> = fresh.map(|(_, id)| *id).collect();
        let first = fresh.first().copied().unwrap_or(last);
        if last + 1 - first > REDRIVE_SPAN_MAX {
            return;
        }
        for id in fresh {
            self.leave(id);
            let gained = self.gained;
            self.enter(id, State::Ready { is_fresh: false });
            self.gained = gained;
        }
    }

    fn redrive_one(&mut self, id: u64, target: QueueId) {
        let letter = self.mail.given_up.remove(&id);
        let letter = letter.unwrap_or_else(|| panic!("{id} to {target} is not on its way"));
        assert_eq!((letter.reason, letter.dead_at), (None, Timestamp(self.now)));
        assert_eq!(letter.receive_count, self.messages[&id].receive_count);
        self.leave(id);
        let number = letter.number;
        self.enter(id, State::Moving { number });
    }

    /// What a redrive finds behind its cursor.
    fn behind(&self, redrive: &Redrive) -> Vec<u64> {
        let [immediate, delayed] = redrive.ends.map(|end| end.0);
        let is_there = |id: &u64| *id < immediate || (MessageId::DELAYED_BIT..delayed).contains(id);
        let ready = self.ready.iter().map(|(_, id)| *id);
        let mut ids: Vec<u64> = ready
            .filter(|id| *id > redrive.cursor.0 && is_there(id))
            .collect();
        ids.sort_unstable();
        ids
    }
}

fn is_running(redrive: &Redrive) -> bool {
    redrive.state == RedriveState::Running
}

/// Drives the jobs of one queue.
#[derive(Debug, Default)]
pub(crate) struct Driver {
    proposed: VecDeque<Command>,
}

impl Driver {
    pub(crate) fn command(
        &mut self,
        random: &mut StdRng,
        queue: QueueId,
        plain: &Broker,
        stored: &mut Stored,
        naive: &Naive,
    ) -> Option<Command> {
        let newest = plain.redrive(queue).filter(|newest| is_running(newest));
        let command = match (random.random_range(0..24), newest) {
            (0, _) => Command::RedriveCancel { queue },
            (1, _) => {
                return self
                    .proposed
                    .iter()
                    .collect::<Vec<_>>()
                    .choose(random)
                    .copied()
                    .cloned();
            }
            (2, Some(newest)) => made_up(random, queue, newest, naive),
            (2 | 3, None) | (3, Some(_)) => begin(random, queue),
            (4..18, Some(newest)) => next(random, queue, newest, (plain, stored, naive)),
            _ => return None,
        };
        self.proposed.push_back(command.clone());
        if self.proposed.len() > 20 {
            self.proposed.pop_front();
        }
        Some(command)
    }
}

fn begin(random: &mut StdRng, queue: QueueId) -> Command {
    let order = RedriveOrder {
        target: Some(other(queue)).filter(|_| random.random()),
        target_name: "o".repeat(random.random_range(0..3)),
        filter: RedriveFilter {
            since: Timestamp(random.random_range(0..9)),
            header_name: "n".repeat(random.random_range(0..3)),
            ..RedriveFilter::default()
        },
        rate: random.random_range(0..5),
    };
    Command::RedriveBegin { queue, order }
}

/// Looks as the leader does; what it finds is what the model has there.
fn next(
    random: &mut StdRng,
    queue: QueueId,
    newest: &Redrive,
    (plain, stored, naive): (&Broker, &mut Stored, &Naive),
) -> Command {
    let ask = Peek {
        of: PeekOf::Ready,
        id: newest.cursor,
        count_max: *[1, 7, 256, 256].choose(random).unwrap(),
        len_max: *[1 << 22, 1 << 22, 10_000].choose(random).unwrap(),
    };
    let found = plain.look_by_id(queue, &ask, newest.ends, &[]).unwrap();
    assert_eq!(found, stored.look_by_id(queue, &ask, newest.ends));
    let ids: Vec<u64> = found.iter().map(|message| message.id.0).collect();
    let behind = naive.behind(newest);
    assert_eq!(ids, behind[..ids.len().min(behind.len())]);
    assert_eq!(ids.is_empty(), behind.is_empty());
    let share = *[0, 1, 3, 4, 4].choose(random).unwrap();
    let picks: Vec<MessageId> = found
        .iter()
        .map(|message: &Peeked| message.id)
        .filter(|_| random.random_range(0..4) < share)
        .collect();
    let step = RedriveStep {
        job: newest.job,
        cursor: found.last().map_or(MessageId((1 << 63) - 1), |it| it.id),
        skipped: u32::try_from(found.len() - picks.len()).unwrap(),
        picks: picks.into_iter().map(|id| (id, other(queue))).collect(),
        is_last: found.is_empty(),
    };
    Command::RedriveStep { queue, step }
}

/// A step that no leader would propose.
fn made_up(random: &mut StdRng, queue: QueueId, newest: &Redrive, naive: &Naive) -> Command {
    let bit = MessageId::DELAYED_BIT * u64::from(random.random_ratio(1, 4));
    let first = bit + newest.cursor.0 % MessageId::DELAYED_BIT;
    let span = *[3, 300, 9_000].choose(random).unwrap();
    let mut ids: Vec<u64> = (0..random.random_range(0..40))
        .map(|_| first + random.random_range(1..span))
        .collect();
    ids.extend(naive.messages.keys().take(3).filter(|_| random.random()));
    ids.sort_unstable();
    ids.dedup();
    let last = ids.last().map_or(first, |id| *id);
    let step = RedriveStep {
        job: newest.job + u64::from(random.random_ratio(1, 9)),
        cursor: MessageId(last + random.random_range(0..3)),
        picks: ids
            .into_iter()
            .map(|id| (MessageId(id), other(queue)))
            .collect(),
        skipped: random.random_range(0..5),
        is_last: random.random_ratio(1, 5),
    };
    Command::RedriveStep { queue, step }
}
