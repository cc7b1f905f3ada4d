//! Goal: the log holds what a naive model holds, whatever the calls. Method: random appends, votes,
//! cuts, purges, batches, idle times and reopenings on small files; after each of them everything
//! is read back and compared.

use crate::naive::{Call, Model, make, read_back, trimmed};
use crate::support::{A, B, Stepped, bytes, vote};
use proptest::prelude::*;
use sampan_protocol::SetId;
use sampan_storage::io::SimulatedDisk;
use sampan_storage::log::Step;

#[derive(Clone, Debug)]
enum Action {
    Call(Call),
    /// One batch, as far as it goes.
    Write,
    Settle,
    Idle,
    /// What was written is synced.
    Sync,
    Reopen,
}

fn set() -> impl Strategy<Value = SetId> {
    prop_oneof![3 => Just(A), 1 => Just(B)]
}

fn append() -> impl Strategy<Value = Call> {
    let payloads = prop::collection::vec((any::<u64>(), 0usize..5000), 0..4);
    (set(), 0u64..2, payloads).prop_map(|(set, term_step, payloads)| {
        let payloads = payloads
            .into_iter()
            .map(|(seed, len)| bytes(seed, len))
            .collect();
        Call::Append {
            set,
            term_step,
            payloads,
        }
    })
}

fn append_lazily() -> impl Strategy<Value = Call> {
    append().prop_map(|call| match call {
        Call::Append { set, payloads, .. } => Call::AppendLazily { set, payloads },
        other => other,
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => append().prop_map(Action::Call),
        6 => append_lazily().prop_map(Action::Call),
        2 => Just(Action::Sync),
        2 => (set(), 0u64..9).prop_map(|(set, term)| Action::Call(Call::Vote(set, vote(term)))),
        2 => (set(), 0u64..5).prop_map(|(set, back)| Action::Call(Call::Truncate { set, back })),
        3 => (set(), -2i64..8).prop_map(|(set, keep)| Action::Call(Call::Purge { set, keep })),
        2 => (set(), prop::option::of(0u64..60))
            .prop_map(|(set, at)| Action::Call(Call::Reset { set, at })),
        3 => Just(Action::Write),
        4 => Just(Action::Settle),
        1 => Just(Action::Idle),
        1 => Just(Action::Reopen),
    ]
}

fn run(actions: Vec<Action>) {
    let disk = SimulatedDisk::new();
    let mut log = Stepped::on(&disk).unwrap();
    let mut model = Model::new();
    let mut outcomes = Vec::new();
    for action in actions {
        match action {
            Action::Call(call) => outcomes.push(make(&call, &log, &mut model)),
            Action::Write => drop(log.writer.step()),
            Action::Settle => log.settle(),
            Action::Idle => {
                while log.writer.step() == Step::Wrote {}
                log.writer.step_idle();
            }
            Action::Sync => log.writer.step_sync(),
            Action::Reopen => {
                log.settle();
                assert!(outcomes.drain(..).all(|outcome| outcome.is_done()));
                drop(log);
                log = Stepped::on(&disk).unwrap();
                assert!(!log.recovery.cut_off);
            }
        }
        assert_eq!(read_back(&log), trimmed(&model));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 250, failure_persistence: None, ..Default::default()
    })]

    #[test]
    fn the_log_holds_what_the_model_holds(actions in prop::collection::vec(action(), 1..120)) {
        run(actions);
    }
}
