//! Goal: whatever is done to a store, it holds what a plain map holds.
//! Method: random operations on both, checkpoints and restarts in between; every message that ever
//! was is compared, content and all.

use proptest::prelude::*;
use sampan_protocol::{MessageId, QueueId};
use sampan_storage::io::SimulatedDisk;
use sampan_storage::store::Store;

use crate::support::{Harness, IDENTITY, OPTIONS, Row, chunks, receive, row_key};

#[derive(Clone, Debug)]
enum Step {
    Insert {
        queue: u64,
        count: u32,
        len: usize,
        is_delayed: bool,
    },
    Remove {
        queue: u64,
        back: u64,
        count: u64,
        is_delayed: bool,
    },
    RemoveEvery {
        queue: u64,
        nth: u64,
    },
    RemoveQueue {
        queue: u64,
    },
    Checkpoint {
        rows: Vec<(u64, u64, Option<u8>)>,
    },
    BeginCheckpoint,
    RunCheckpoint,
    Restart,
    /// A snapshot goes to an empty node, which carries on in place of this one.
    Transfer,
    Compare,
}

fn step() -> impl Strategy<Value = Step> {
    let queue = 1u64..4;
    let rows = prop::collection::vec((1u64..4, 0u64..20, prop::option::of(any::<u8>())), 0..6);
    prop_oneof![
        6 => (queue.clone(), 1u32..40, 0usize..3_000, prop::bool::weighted(0.2)).prop_map(
            |(queue, count, len, is_delayed)| Step::Insert { queue, count, len, is_delayed }
        ),
        5 => (queue.clone(), 1u64..150, 1u64..60, prop::bool::weighted(0.2)).prop_map(
            |(queue, back, count, is_delayed)| Step::Remove { queue, back, count, is_delayed }
        ),
        1 => (queue.clone(), 2u64..5).prop_map(|(queue, nth)| Step::RemoveEvery { queue, nth }),
        1 => (queue,).prop_map(|(queue,)| Step::RemoveQueue { queue }),
        3 => rows.prop_map(|rows| Step::Checkpoint { rows }),
        1 => Just(Step::BeginCheckpoint),
        2 => Just(Step::RunCheckpoint),
        2 => Just(Step::Restart),
        1 => Just(Step::Transfer),
        1 => Just(Step::Compare),
    ]
}

/// The harness with queue numbers that move on when a queue is removed, for ids are never reused.
struct Run {
    disk: SimulatedDisk,
    harness: Harness,
    generation: [u64; 4],
    job: Option<sampan_storage::store::CheckpointJob>,
}

impl Run {
    fn new() -> Self {
        let disk = SimulatedDisk::new();
        let harness = Harness::open(disk.root()).unwrap();
        Run {
            disk,
            harness,
            generation: [0; 4],
            job: None,
        }
    }

    fn queue(&self, queue: u64) -> QueueId {
        QueueId(queue + 10 * self.generation[usize::try_from(queue).unwrap()])
    }

    fn carry_out(&mut self, step: Step) {
        match step {
            Step::Insert {
                queue,
                count,
                len,
                is_delayed,
            } => {
                self.harness
                    .insert(self.queue(queue), count, len, is_delayed);
            }
            Step::Remove {
                queue,
                back,
                count,
                is_delayed,
            } => {
                self.remove(self.queue(queue), back, count, is_delayed);
            }
            Step::RemoveEvery { queue, nth } => {
                self.harness
                    .remove_living(self.queue(queue), |id| id % nth == 0);
            }
            Step::RemoveQueue { queue } => {
                self.harness.remove_queue(self.queue(queue));
                self.generation[usize::try_from(queue).unwrap()] += 1;
            }
            Step::Checkpoint { rows } => {
                self.finish();
                let rows = self.rows(rows);
                self.harness.checkpoint(rows).unwrap();
                self.harness.assert_disk_holds_exactly();
            }
            Step::BeginCheckpoint => {
                if self.job.is_none() {
                    self.job = Some(self.harness.begin(Vec::new()).unwrap());
                }
            }
            Step::RunCheckpoint => self.finish(),
            Step::Restart => {
                self.job = None;
                // The old handle stays on the old disk, as that of a killed process is gone.
                self.disk = self.disk.after_crash(1);
                self.harness.reopen(self.disk.root()).unwrap();
                self.harness.assert_holds();
            }
            Step::Transfer => self.transfer(),
            Step::Compare => self.harness.assert_holds(),
        }
    }

    fn remove(&mut self, queue: QueueId, back: u64, count: u64, is_delayed: bool) {
        let base = if is_delayed {
            MessageId::DELAYED_BIT
        } else {
            0
        };
        let mut given = self
            .harness
            .given
            .range((queue, base)..(queue, base + (1 << 62)));
        let end = given.next_back().map_or(base, |(_, id)| id + 1);
        let first = end.saturating_sub(back).max(base + 1);
        self.harness.remove(queue, first, count);
    }

    fn rows(&self, rows: Vec<(u64, u64, Option<u8>)>) -> Vec<Row> {
        let row = |(queue, number, content): (u64, u64, Option<u8>)| {
            let key = row_key(self.queue(queue), number);
            (
                key,
                content.map(|byte| vec![byte; 1 + usize::from(byte) * 9]),
            )
        };
        rows.into_iter().map(row).collect()
    }

    fn transfer(&mut self) {
        self.finish();
        self.harness.checkpoint(Vec::new()).unwrap();
        let (id, chunks) = chunks(&self.harness.store);
        let disk = SimulatedDisk::new();
        let (store, _) = Store::open(disk.root(), IDENTITY, OPTIONS).unwrap();
        let incoming = receive(disk.root(), &id, &chunks).unwrap();
        let (store, recovered) = incoming.install(store.retire()).unwrap();
        self.harness = Harness::adopt(store, &recovered, &self.harness);
        self.disk = disk;
    }

    fn finish(&mut self) {
        if let Some(job) = self.job.take() {
            self.harness.run(job).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_store_holds_what_a_plain_map_holds(steps in prop::collection::vec(step(), 1..50)) {
        let mut run = Run::new();
        steps.into_iter().for_each(|step| run.carry_out(step));
        run.finish();
        run.harness.checkpoint(Vec::new()).unwrap();
        run.harness.assert_disk_holds_exactly();
        let report = sampan_storage::store::check(&run.disk.root()).unwrap();
        prop_assert_eq!(report.finding_count, 0, "{:?}", report.findings);
        prop_assert_eq!(report.message_count, run.harness.model.messages.len() as u64);
    }
}
