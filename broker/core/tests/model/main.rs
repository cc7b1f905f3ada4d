//! Goal: the broker does what the naive model does, whatever it keeps in ranges, pages and chunks.
//!
//! Method: random entries go to three of them: a broker that is never frozen, one that is frozen,
//! evicted and restored at random moments, and the naive model. Every reply, every effect, every
//! count, the next deadline and the state hash are compared.
//!
//! `SAMPAN_MODEL_CASES=20000` makes a deep run; `SAMPAN_MODEL_SEED=n` repeats one case.

#![allow(clippy::unwrap_used, reason = "a test panics")]

mod groups;
mod keys;
mod looking;
mod mail;
mod naive;
mod operations;
mod producers;
mod redrive;
mod rewinding;
mod room;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mail::Relay;
use naive::Naive;
use operations::Profile;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use redrive::Driver;
use sampan_core::limits::DUE_WORK_MAX;
use sampan_core::{Broker, Command, Effect, Entry, Fate, Need, Reply, RowKey};
use sampan_protocol::{QueueId, RedriveState, Timestamp, WhenFull};

const ENTRY_COUNT: usize = 300;
const SOURCE: QueueId = QueueId(3);
const DEAD_LETTERS: QueueId = QueueId(9);
const QUEUES: [QueueId; 2] = [SOURCE, DEAD_LETTERS];

/// A broker with a disk: frozen, evicted and restored at any time.
struct Stored {
    broker: Broker,
    rows: BTreeMap<RowKey, Vec<u8>>,
    needs: usize,
}

impl Stored {
    fn checkpoint(&mut self, resident_count_max: usize) {
        for (key, row) in self.broker.freeze().into_rows() {
            match row {
                Some(row) => drop(self.rows.insert(key, row)),
                None => drop(self.rows.remove(&key)),
            }
        }
        self.broker.checkpointed_with(resident_count_max);
    }

    fn restore(&mut self, with_pages: bool) {
        let rows = self
            .rows
            .iter()
            .filter(|(key, _)| with_pages || !key.is_paged());
        let rows = rows.map(|(key, row)| (*key, Bytes::copy_from_slice(row)));
        self.broker = Broker::restore(rows).unwrap();
    }

    fn apply(&mut self, entry: &Entry) -> (Vec<Effect>, Vec<Reply>) {
        let (mut effects, mut replies) = (Vec::new(), Vec::new());
        let before = (
            self.broker.now(),
            QUEUES.map(|queue| self.broker.counts(queue)),
        );
        if let Err(Need(keys)) = self.broker.apply(entry, &mut effects, &mut replies) {
            assert!(effects.is_empty() && replies.is_empty());
            assert_eq!(
                before,
                (
                    self.broker.now(),
                    QUEUES.map(|queue| self.broker.counts(queue))
                )
            );
            self.needs += 1;
            for key in keys {
                self.broker.supply(key, &self.rows[&key]).unwrap();
            }
            let again = self.broker.apply(entry, &mut effects, &mut replies);
            assert_eq!(again, Ok(()), "the first answer named every row");
        }
        (effects, replies)
    }
}

/// The one that a queue's messages go to, and come from.
fn other(queue: QueueId) -> QueueId {
    match queue {
        SOURCE => DEAD_LETTERS,
        _ => SOURCE,
    }
}

struct Run {
    /// By the queue that messages leave.
    relays: BTreeMap<QueueId, Relay>,
    redrives: BTreeMap<QueueId, Driver>,
    plain: Broker,
    stored: Stored,
    naive: BTreeMap<QueueId, Naive>,
    now: u64,
}

impl Run {
    fn new(random: &mut StdRng) -> Self {
        let stored = Stored {
            broker: Broker::new(),
            rows: BTreeMap::new(),
            needs: 0,
        };
        let mut run = Run {
            relays: QUEUES.map(|queue| (queue, Relay::default())).into(),
            redrives: QUEUES.map(|queue| (queue, Driver::default())).into(),
            plain: Broker::new(),
            stored,
            naive: BTreeMap::new(),
            now: 1_000_000_000_000,
        };
        let mut commands = Vec::new();
        for queue in QUEUES {
            let attributes = operations::attributes(random, None);
            run.naive.insert(queue, Naive::new(attributes));
            let name = format!("queue-{queue}");
            commands.push(Command::QueueCreate {
                queue,
                name,
                attributes,
                secret: random.random(),
            });
        }
        let entry = Entry {
            stamp: Timestamp(run.now),
            commands,
            ..Entry::default()
        };
        let replies = run.apply_to_both(&entry).1;
        assert!(replies.iter().all(|reply| *reply == Reply::Done));
        run
    }

    fn apply_to_both(&mut self, entry: &Entry) -> (Vec<Effect>, Vec<Reply>) {
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        assert_eq!(bytes.len(), entry.encoded_len());
        assert_eq!(Entry::decode(bytes.into()).as_ref(), Ok(entry));
        let (mut effects, mut replies) = (Vec::new(), Vec::new());
        self.plain.apply(entry, &mut effects, &mut replies).unwrap();
        assert_eq!(self.stored.apply(entry), (effects.clone(), replies.clone()));
        assert_eq!(self.plain.state_hash(), self.stored.broker.state_hash());
        assert_eq!(
            self.plain.next_deadline(),
            self.stored.broker.next_deadline()
        );
        (effects, replies)
    }

    /// Empty entries until nothing is due: when there may be more of it than one entry does.
    fn catch_up(&mut self) {
        let held = |naive: &Naive| naive.count() + naive.buried.len() + naive.kept.messages.len();
        let could_be_due: usize = self.naive.values().map(held).sum();
        // Marks that expire are work as well; there are fewer than the other half.
        if could_be_due as u64 > DUE_WORK_MAX / 2 {
            self.come_to_rest();
        }
    }

    fn come_to_rest(&mut self) {
        let effects = self.run_due();
        self.on_time(&effects);
        self.naive
            .values_mut()
            .for_each(|naive| naive.gained = false);
    }

    /// What a rewind brings back is there when nothing is due any more.
    fn finish_rewind(&mut self) {
        let effects = self.run_due();
        for (queue, naive) in &mut self.naive {
            let letters = self.plain.letters(*queue, DEAD_LETTERS, usize::MAX);
            naive.take_note(&letters);
            naive.finish_rewind(&self.plain, *queue);
        }
        self.on_time(&effects);
        self.naive
            .values_mut()
            .for_each(|naive| naive.gained = false);
    }

    fn run_due(&mut self) -> Vec<Effect> {
        let entry = Entry {
            stamp: Timestamp(self.now),
            commands: Vec::new(),
            ..Entry::default()
        };
        let mut effects = self.apply_to_both(&entry).0;
        while self
            .plain
            .next_deadline()
            .is_some_and(|at| at <= self.plain.now())
        {
            effects.extend(self.apply_to_both(&entry).0);
        }
        effects
    }

    fn on_time(&mut self, effects: &[Effect]) {
        for (queue, naive) in &mut self.naive {
            let letters = self.plain.letters(*queue, other(*queue), usize::MAX);
            naive.take_note(&letters);
            naive.on_time(self.now, removed(effects, *queue));
        }
    }

    fn step(&mut self, random: &mut StdRng, profile: &Profile) {
        self.now += profile.pause(random);
        self.catch_up();
        let mut commands: Vec<Command> = (0..random.random_range(0..5))
            .map(|_| {
                let queue = QUEUES[usize::from(random.random_ratio(1, 4))];
                let naive = &self.naive[&queue];
                let producer = naive.producers.random(random, self.now);
                let target = Some(DEAD_LETTERS).filter(|target| *target != queue);
                let id = naive.random_id(random);
                let handles = &naive.handles;
                let profile = profile.within(naive.attributes.retention_ms);
                operations::command(random, &profile, queue, target, producer, handles, id)
            })
            .collect();
        for (from, relay) in &mut self.relays {
            let lane = (*from, other(*from));
            let letters = self.plain.letters(lane.0, lane.1, 256);
            commands.extend(relay.command(random, lane, &letters, &self.naive[from]));
        }
        for (queue, driver) in &mut self.redrives {
            let (plain, naive) = (&self.plain, &self.naive[queue]);
            let command = driver.command(random, *queue, plain, &mut self.stored, naive);
            commands.extend(command);
        }
        commands.shuffle(random);
        self.leave_one_that_makes_room(&mut commands);
        let purges = |command: &Command| matches!(command, Command::Purge { .. });
        let has_purge = commands.iter().any(purges);
        if has_purge {
            // What a purge removes could not be told from what expires.
            self.come_to_rest();
            commands.retain(|command| !gives_back(command));
        }
        let rewinds = random.random_ratio(1, 12);
        if rewinds {
            // What it brings back must be told from what is ready before.
            self.come_to_rest();
            let queue = QUEUES[usize::from(random.random_ratio(1, 4))];
            commands.push(self.naive[&queue].random_rewind(random, queue));
        }
        let entry = Entry {
            stamp: Timestamp(self.now),
            commands,
            ..Entry::default()
        };
        let (effects, replies) = self.apply_to_both(&entry);
        for (queue, naive) in &mut self.naive {
            let letters = self.plain.letters(*queue, other(*queue), usize::MAX);
            naive.take_note(&letters);
            let removed = removed(&effects, *queue);
            match has_purge {
                true => naive.on_entry(self.now, removed),
                false => naive.on_time(self.now, removed),
            }
        }
        for (command, reply) in entry.commands.iter().zip(&replies) {
            self.follow(command, reply);
        }
        self.compare(&effects);
        if rewinds {
            if random.random() {
                self.stored.checkpoint(random.random_range(0..3));
                self.stored.restore(random.random());
            }
            self.finish_rewind();
        }
    }

    /// Of two sends in one entry, nobody could tell which one made how much room; but a group that
    /// the first one empties and fills again has another turn than one that the second one does.
    fn leave_one_that_makes_room(&self, commands: &mut Vec<Command>) {
        let changes = |queue, command: &Command| {
            command.queue() == Some(queue) && matches!(command, Command::QueueSet { .. })
        };
        let mut stored = Vec::new();
        for (queue, naive) in &self.naive {
            let drops = naive.attributes.when_full == WhenFull::DropOldestToDeadLetter;
            if drops || commands.iter().any(|command| changes(*queue, command)) {
                stored.push((*queue, false));
            }
        }
        commands.retain(|command| {
            let stores = matches!(command, Command::Send { .. } | Command::Deliver { .. });
            let queue = command.queue().filter(|_| stores);
            let seen = stored.iter_mut().find(|(other, _)| Some(*other) == queue);
            seen.is_none_or(|(_, seen)| !std::mem::replace(seen, true))
        });
    }

    fn follow(&mut self, command: &Command, reply: &Reply) {
        let queue = command.queue().unwrap();
        let naive = self.naive.get_mut(&queue).unwrap();
        match command {
            Command::Send {
                producer, batch, ..
            } => naive.send(*producer, batch, reply),
            Command::Receive {
                count_max,
                len_max,
                visibility_timeout_ms,
                ..
            } => {
                let len_max = if *len_max == 0 {
                    4 << 20
                } else {
                    u64::from(*len_max)
                };
                naive.receive(*count_max, len_max, *visibility_timeout_ms, reply);
            }
            Command::Delete { handles, .. } => naive.delete(handles, reply),
            Command::ChangeVisibility {
                handles,
                visibility_timeout_ms,
                ..
            } => {
                naive.change_visibility(handles, *visibility_timeout_ms, reply);
            }
            Command::Release { handles, .. } => naive.release(handles, reply),
            Command::Purge { .. } => naive.purge(reply),
            Command::Rewind { to, .. } => naive.rewind(to.0, reply, &self.plain, queue),
            Command::Reschedule { id, delay_ms, .. } => naive.reschedule(id.0, *delay_ms, reply),
            Command::QueueSet { attributes, .. } => naive.set_attributes(*attributes),
            Command::Deliver {
                arrivals, batch, ..
            } => {
                naive.deliver(arrivals, batch, reply);
                let relay = self.relays.get_mut(&other(queue)).unwrap();
                relay.on_delivered(arrivals, reply);
            }
            Command::Settle { fates, .. } => naive.settle(fates),
            Command::RedriveBegin { order, .. } => naive.redrive_begin(order, reply),
            Command::RedriveStep { step, .. } => naive.redrive_step(step, reply),
            Command::RedriveCancel { .. } => naive.redrive_cancel(reply),
            other => panic!("{other:?} is not generated"),
        }
    }

    fn compare(&mut self, effects: &[Effect]) {
        for (queue, naive) in &mut self.naive {
            assert_eq!(naive.removed, BTreeSet::new(), "removed without a reason");
            if self.plain.next_deadline() > Some(self.plain.now()) {
                assert_eq!(naive.buried, BTreeSet::new(), "purged, and kept");
                naive.check_window();
            }
            assert_eq!(self.plain.redrive(*queue), naive.redrive.as_ref());
            assert_eq!(self.stored.broker.redrive(*queue), naive.redrive.as_ref());
            let redriving = [&self.plain, &self.stored.broker].map(Broker::redriving);
            let listed = redriving.map(|mut listed| listed.any(|other| other == *queue));
            let newest = naive.redrive.as_ref();
            let goes_on = newest.is_some_and(|it| it.state == RedriveState::Running);
            assert_eq!(listed, [goes_on; 2]);
            let counts = self.plain.counts(*queue).unwrap();
            assert_eq!(
                (counts.ready, counts.delayed, counts.in_flight),
                naive.counts()
            );
            assert_eq!(counts.locked, naive.locked_count());
            assert_eq!(counts.rewindable, naive.kept.messages.len() as u64);
            let [least, most] = naive.bytes_of(naive.count() as u64);
            let bytes = counts.bytes;
            assert!(
                (least..=most).contains(&bytes),
                "{bytes} of {least} to {most}"
            );
            assert_eq!(
                self.stored.broker.counts(*queue).map(|it| it.bytes),
                Some(bytes)
            );
            let letters = self.plain.letters(*queue, other(*queue), usize::MAX);
            naive.compare_mail(&letters, (counts.moving, counts.undeliverable));
            let receivable = if naive.attributes.is_paused {
                0
            } else {
                counts.ready - counts.locked
            };
            assert_eq!(self.stored.broker.receivable_count(*queue), receivable);
            let told = [counts.due_at, counts.visible_at];
            assert_eq!(told.map(|at| at.map(|at| at.0)), naive.next_ready());
            match (counts.oldest_at, naive.oldest_ready()) {
                (Some(told), Some(oldest)) => {
                    assert!(told.0 <= oldest && oldest - told.0 <= naive.tolerance());
                }
                (told, oldest) => assert_eq!(told.map(|told| told.0), oldest),
            }
            let announced = effects
                .iter()
                .filter(|effect| **effect == Effect::Ready { queue: *queue });
            let gained = std::mem::take(&mut naive.gained) && receivable > 0;
            assert_eq!(announced.count(), usize::from(gained));
        }
    }
}

/// Whether a message that comes back by the command may turn out to have expired.
fn gives_back(command: &Command) -> bool {
    match command {
        Command::ChangeVisibility { .. } | Command::Release { .. } | Command::Reschedule { .. } => {
            true
        }
        Command::Settle { fates, .. } => {
            let mut fates = fates.iter();
            fates.any(|(_, fate)| *fate == Fate::Undeliverable)
        }
        _ => false,
    }
}

/// The ids of a queue that the effects remove, each once.
fn removed(effects: &[Effect], of: QueueId) -> BTreeSet<u64> {
    let mut ids = BTreeSet::new();
    for effect in effects {
        if let Effect::Removed {
            queue,
            first,
            count,
        } = effect
            && *queue == of
        {
            for id in first.0..first.0 + count {
                assert!(ids.insert(id), "removed twice");
            }
        }
    }
    ids
}

fn run_case(seed: u64) -> usize {
    let mut random = StdRng::seed_from_u64(seed);
    let profile = Profile::random(&mut random);
    let mut run = Run::new(&mut random);
    for _ in 0..ENTRY_COUNT {
        run.step(&mut random, &profile);
        if random.random_ratio(1, 8) {
            let queue = QUEUES[usize::from(random.random::<bool>())];
            let naive = &run.naive[&queue];
            run.stored.compare_look(&mut random, queue, naive);
        }
        if random.random_ratio(1, 6) {
            run.stored.checkpoint(random.random_range(0..3));
            if random.random_ratio(1, 3) {
                run.stored.restore(random.random());
            }
        }
    }
    run.stored.needs
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

#[test]
fn the_broker_does_what_the_naive_model_does() {
    if let Some(seed) = number("SAMPAN_MODEL_SEED") {
        run_case(seed);
        return;
    }
    let mut needs = 0;
    for seed in 0..number("SAMPAN_MODEL_CASES").unwrap_or(200) {
        let case = std::panic::catch_unwind(|| run_case(seed));
        needs += case.unwrap_or_else(|_| {
            panic!("repeat with: SAMPAN_MODEL_SEED={seed} cargo test -p sampan-core --test model")
        });
    }
    assert!(needs > 0, "no case ever needed an evicted row");
}
