//! Goal: whatever the moment of a power cut, what was done is there, what is there is what was
//! called up to some point, and the log goes on from there. Method: one script, run again and again
//! on a simulated disk that loses its power at each write, sync and change of names in turn; what
//! is left is chosen by several seeds; then a second cut during and after recovery; then random
//! scripts with random cuts.

use crate::naive::{Call, Model, make, read_back, trimmed};
use crate::support::{A, B, Outcome, Stepped, bytes, vote};
use proptest::prelude::*;
use sampan_storage::io::SimulatedDisk;

const SEEDS: u64 = 7;

/// Calls that turn the log over several times, with cuts, purges and votes between.
fn script() -> Vec<Call> {
    let mut calls = Vec::new();
    for round in 0..30u64 {
        let payloads = |count, len| (0..count).map(|n| bytes(round * 10 + n, len)).collect();
        calls.push(Call::Append {
            set: A,
            term_step: 0,
            payloads: payloads(2, 1900),
        });
        calls.push(Call::Append {
            set: B,
            term_step: round % 2,
            payloads: payloads(1, 700),
        });
        match round % 5 {
            1 => calls.push(Call::Vote(B, vote(round))),
            2 => calls.push(Call::Truncate { set: A, back: 1 }),
            3 => calls.push(Call::Purge { set: B, keep: 2 }),
            4 => calls.push(Call::Purge { set: A, keep: 3 }),
            _ => calls.push(Call::Append {
                set: A,
                term_step: 1,
                payloads: payloads(1, 6000),
            }),
        }
    }
    calls
}

/// What a follower's log goes through: leaders change and cut off the middle of what was appended,
/// others follow in its place, and a snapshot puts a set past its own end.
fn follower_script() -> Vec<Call> {
    let mut calls = Vec::new();
    for round in 0..24u64 {
        let payloads = |count, len| (0..count).map(|n| bytes(round * 50 + n, len)).collect();
        calls.push(Call::Append {
            set: A,
            term_step: round % 2,
            payloads: payloads(7, 1_300),
        });
        calls.push(Call::Truncate {
            set: A,
            back: round % 6,
        });
        calls.push(Call::Vote(A, vote(round)));
        calls.push(Call::Append {
            set: A,
            term_step: 1,
            payloads: payloads(2, 800),
        });
        match round % 4 {
            1 => calls.push(Call::Purge { set: B, keep: -9 }),
            2 => calls.push(Call::Purge { set: A, keep: 5 }),
            3 => calls.push(Call::Truncate { set: B, back: 2 }),
            _ => calls.push(Call::Append {
                set: B,
                term_step: 1,
                payloads: payloads(4, 500),
            }),
        }
    }
    calls.push(Call::Purge { set: A, keep: -3 });
    calls
}

/// What a log goes through whose stores are lost and filled anew: its sets begin again before what
/// they have purged, from nothing, or behind their end, with votes and purges between.
fn refilled_script() -> Vec<Call> {
    let mut calls = Vec::new();
    for round in 0..20u64 {
        for (set, count) in [(A, 5), (B, 2)] {
            let payloads = (0..count).map(|n| bytes(round * 70 + n, 2_500)).collect();
            calls.push(Call::Append {
                set,
                term_step: round % 2,
                payloads,
            });
        }
        let set = if round % 3 == 0 { B } else { A };
        calls.push(match round % 6 {
            0 | 3 => Call::Purge { set, keep: 1 },
            1 => Call::Reset { set, at: Some(3) },
            2 => Call::Vote(set, vote(round)),
            4 => Call::Reset { set, at: None },
            _ => Call::Reset {
                set,
                at: Some(1_000 + round),
            },
        });
    }
    calls
}

/// Runs of appends that are done when they are written, each in a batch of its own, with whatever
/// makes the log sync between.
fn lazy_script() -> Vec<Call> {
    let mut calls = Vec::new();
    for round in 0..16u64 {
        for number in 0..2 + round % 4 {
            let seed = round * 90 + number;
            let (set, count) = if seed % 3 == 0 { (B, 2) } else { (A, 1) };
            let payloads = (0..count).map(|n| bytes(seed + n * 7, 2_700)).collect();
            calls.push(Call::AppendLazily { set, payloads });
        }
        calls.push(match round % 5 {
            0 => Call::Vote(A, vote(round)),
            1 => Call::Truncate { set: A, back: 1 },
            2 => Call::Append {
                set: B,
                term_step: 1,
                payloads: vec![bytes(round, 900)],
            },
            3 => Call::Purge { set: A, keep: 2 },
            _ => Call::Purge { set: B, keep: 1 },
        });
    }
    calls
}

/// What was called, and what was done, when the power went.
#[derive(Default)]
struct Story {
    /// The state before the first call and after each one.
    states: Vec<Model>,
    outcomes: Vec<Outcome>,
    /// Calls that are known to be synced.
    synced_count: usize,
}

impl Story {
    fn done_count(&self) -> usize {
        let done = self
            .outcomes
            .iter()
            .filter(|outcome| outcome.is_done())
            .count();
        assert!(
            self.outcomes[..done].iter().all(Outcome::is_done),
            "done in order"
        );
        done
    }

    /// A call that is not lazy is synced when it is done, with all before it.
    fn note_synced(&mut self, calls: &[Call]) {
        let done = &calls[..self.done_count()];
        let synced = done.iter().rposition(|call| !call.is_lazy());
        self.synced_count = self.synced_count.max(synced.map_or(0, |last| last + 1));
    }

    /// Checks that the log holds the state after some call, and no earlier one than promised.
    fn check(&self, log: &Stepped, what: &str) -> Model {
        self.check_from(self.synced_count, log, what)
    }

    /// The same for a process that was killed: what was written is there.
    fn check_killed(&self, log: &Stepped, what: &str) -> Model {
        self.check_from(self.done_count(), log, what)
    }

    fn check_from(&self, count: usize, log: &Stepped, what: &str) -> Model {
        let found = read_back(log);
        let promised = &self.states[count..];
        assert!(
            promised.contains(&found),
            "{what}: something done is gone, or what is there is new"
        );
        found
    }
}

/// Runs the script until it ends or the power goes.
fn tell(disk: &SimulatedDisk, calls: &[Call]) -> Story {
    let mut story = Story {
        states: vec![Model::new()],
        outcomes: Vec::new(),
        synced_count: 0,
    };
    let Ok(mut log) = Stepped::on(disk) else {
        return story;
    };
    let mut model = Model::new();
    for (number, call) in calls.iter().enumerate() {
        story.outcomes.push(make(call, &log, &mut model));
        story.states.push(trimmed(&model));
        if number % 3 == 1 || call.is_lazy() {
            log.settle();
        }
        if number % 7 == 6 {
            log.settle();
            story.note_synced(calls);
            match number % 2 {
                0 => log.writer.step_idle(),
                _ => log.writer.step_sync(),
            }
            if !disk.is_crashed() {
                story.synced_count = story.done_count();
            }
        }
        story.note_synced(calls);
        if disk.is_crashed() {
            break;
        }
    }
    log.settle();
    story.note_synced(calls);
    story
}

/// A few more calls after a recovery, all of them done.
fn go_on(log: &mut Stepped, model: &mut Model) {
    for call in script().iter().take(12) {
        let outcome = make(call, log, model);
        log.settle();
        assert!(outcome.is_done());
    }
    assert_eq!(read_back(log), trimmed(model));
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_that_was_done() {
    cut_at_every_moment(&script(), 150);
}

#[test]
fn a_power_cut_of_a_follower_brings_nothing_back_that_was_cut_off() {
    cut_at_every_moment(&follower_script(), 100);
}

#[test]
fn a_power_cut_of_a_log_that_begins_again_brings_back_nothing_from_before() {
    cut_at_every_moment(&refilled_script(), 100);
}

#[test]
fn a_power_cut_takes_back_only_the_newest_of_what_was_not_synced() {
    cut_at_every_moment(&lazy_script(), 100);
}

#[test]
fn a_process_that_is_killed_loses_nothing_that_was_written() {
    let disk = SimulatedDisk::new();
    tell(&disk, &lazy_script());
    for number in 1..=disk.operation_count() {
        let disk = SimulatedDisk::new();
        disk.crash_at(number);
        let story = tell(&disk, &lazy_script());
        let what = format!("killed at {number}");
        let killed = disk.after_kill();
        let log = Stepped::on(&killed).unwrap_or_else(|error| panic!("{what}: {error}"));
        let found = story.check_killed(&log, &what);
        drop(log);
        // What the restart has seen is synced.
        let log = Stepped::on(&killed.after_crash(number)).unwrap();
        assert_eq!(read_back(&log), found, "{what}");
    }
}

fn cut_at_every_moment(calls: &[Call], operation_count_min: u64) {
    let disk = SimulatedDisk::new();
    let story = tell(&disk, calls);
    assert_eq!(story.done_count(), calls.len());
    let operation_count = disk.operation_count();
    assert!(operation_count > operation_count_min, "{operation_count}");
    for number in 1..=operation_count {
        let disk = SimulatedDisk::new();
        disk.crash_at(number);
        let story = tell(&disk, calls);
        for seed in 0..SEEDS {
            let what = format!("cut at {number}, seed {seed}");
            let left = disk.after_crash(seed * 1_000_003 + if seed > 1 { number } else { 0 });
            let mut log = Stepped::on(&left).unwrap_or_else(|error| panic!("{what}: {error}"));
            let mut model = story.check(&log, &what);
            let has_lost = !story.states[story.done_count()..].contains(&model);
            assert!(
                !(has_lost && log.recovery.clean),
                "{what}: lost without a word"
            );
            go_on(&mut log, &mut model);
            drop(log);
            let log = Stepped::on(&left).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(read_back(&log), trimmed(&model), "{what}");
        }
    }
}

#[test]
fn a_second_power_cut_during_or_after_recovery_does_no_harm_either() {
    cut_twice(&script());
}

#[test]
fn a_second_power_cut_brings_nothing_back_that_was_never_synced() {
    cut_twice(&lazy_script());
}

fn cut_twice(script: &[Call]) {
    let disk = SimulatedDisk::new();
    tell(&disk, script);
    for number in (1..=disk.operation_count()).step_by(3) {
        let disk = SimulatedDisk::new();
        disk.crash_at(number);
        let story = tell(&disk, script);
        for seed in 2..5 {
            for second in 1..=8 {
                let what = format!("cuts at {number} and {second}, seed {seed}");
                let left = disk.after_crash(seed * 7919 + number);
                left.crash_at(second);
                let before = Stepped::on(&left).ok().map(|mut log| {
                    let found = story.check(&log, &what);
                    // The same calls again, so that pages of the lost batch come back.
                    let mut model = found.clone();
                    let missing = story
                        .states
                        .iter()
                        .position(|state| *state == found)
                        .unwrap();
                    let mut states = vec![found];
                    for call in script.iter().skip(missing).take(4) {
                        make(call, &log, &mut model);
                        states.push(trimmed(&model));
                        log.settle();
                    }
                    states
                });
                let left = left.after_crash(seed + second);
                let log = Stepped::on(&left).unwrap_or_else(|error| panic!("{what}: {error}"));
                match before {
                    None => drop(story.check(&log, &what)),
                    Some(states) => assert!(states.contains(&read_back(&log)), "{what}"),
                }
            }
        }
    }
}

#[test]
fn a_power_cut_after_a_restart_takes_back_no_name_that_the_restart_relied_on() {
    let disk = SimulatedDisk::new();
    tell(&disk, &script());
    for number in 1..=disk.operation_count() {
        let disk = SimulatedDisk::new();
        disk.crash_at(number);
        let story = tell(&disk, &script());
        // Up to beyond the first file that is made ready after the restart.
        for second in (1..=20).step_by(1 + usize::try_from(number % 3).unwrap()) {
            let what = format!("killed at {number}, cut at {second}");
            let killed = disk.after_kill();
            killed.crash_at(second);
            let promised = restart(&killed, &story, &what);
            let left = killed.after_crash(0);
            let log = Stepped::on(&left).unwrap_or_else(|error| panic!("{what}: {error}"));
            match promised {
                None => drop(story.check(&log, &what)),
                Some(either) => assert!(either.contains(&read_back(&log)), "{what}"),
            }
        }
    }
}

/// Goes on until the power goes; what may be there then. `None`: the log was not opened.
fn restart(killed: &SimulatedDisk, story: &Story, what: &str) -> Option<[Model; 2]> {
    let mut log = Stepped::on(killed).ok()?;
    let mut model = story.check(&log, what);
    for call in script().iter().take(12) {
        let before = trimmed(&model);
        let outcome = make(call, &log, &mut model);
        log.settle();
        if !outcome.is_done() {
            return Some([before, trimmed(&model)]);
        }
    }
    Some([trimmed(&model), trimmed(&model)])
}

fn call() -> impl Strategy<Value = Call> {
    let set = || prop_oneof![2 => Just(A), 1 => Just(B)];
    let payloads = prop::collection::vec((any::<u64>(), 0usize..6000), 1..3);
    let append = (set(), 0u64..2, payloads).prop_map(|(set, term_step, payloads)| {
        let payloads = payloads
            .into_iter()
            .map(|(seed, len)| bytes(seed, len))
            .collect();
        Call::Append {
            set,
            term_step,
            payloads,
        }
    });
    prop_oneof![
        4 => append.clone(),
        4 => append.prop_map(|call| match call {
            Call::Append { set, payloads, .. } => Call::AppendLazily { set, payloads },
            other => other,
        }),
        1 => (set(), 0u64..9).prop_map(|(set, term)| Call::Vote(set, vote(term))),
        1 => (set(), 0u64..4).prop_map(|(set, back)| Call::Truncate { set, back }),
        2 => (set(), -1i64..6).prop_map(|(set, keep)| Call::Purge { set, keep }),
        1 => (set(), prop::option::of(0u64..40)).prop_map(|(set, at)| Call::Reset { set, at }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 150, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn random_calls_and_a_power_cut_lose_nothing_that_was_done(
        calls in prop::collection::vec(call(), 1..60),
        number in any::<u64>(),
        seed in 0u64..1000,
    ) {
        let disk = SimulatedDisk::new();
        tell(&disk, &calls);
        let number = number % disk.operation_count() + 1;
        let disk = SimulatedDisk::new();
        disk.crash_at(number);
        let story = tell(&disk, &calls);
        let left = disk.after_crash(seed);
        let mut log = Stepped::on(&left).unwrap();
        let mut model = story.check(&log, "a random cut");
        go_on(&mut log, &mut model);
    }
}
