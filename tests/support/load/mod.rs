//! Producers and consumers that keep a broker busy while it is killed, and account for everything.
//!
//! They run on a thread of their own, each with a connection of its own, until they are told to
//! finish: then the producers stop and the consumers go on until the queue is empty.

mod body;
mod consumer;
mod ledger;
mod producer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sampan_client::{Queue, QueueOptions};

use crate::client::{builder, connect};

pub(crate) use self::ledger::{Ledger, VISIBILITY};

/// The queue of the load.
pub(crate) const QUEUE: &str = "load";
const PRODUCER_COUNT: usize = 3;
const CONSUMER_COUNT: usize = 4;
/// A queue that is not empty by then never will be; only a bound for broken brokers.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// What producers and consumers share.
struct Shared {
    ledger: Mutex<Ledger>,
    /// No more sends.
    is_stopping: AtomicBool,
    /// No more receives either.
    is_drained: AtomicBool,
}

impl Shared {
    fn with_ledger<T>(&self, act: impl FnOnce(&mut Ledger) -> T) -> T {
        act(&mut self.ledger.lock().expect("no holder of the ledger panics"))
    }
}

/// A running load.
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Load {
    /// Starts a load on the broker of `env`, in a queue that is made for it.
    pub(crate) fn start(env: BTreeMap<String, String>, seed: u64) -> Load {
        let shared = Arc::new(Shared {
            ledger: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            is_drained: AtomicBool::new(false),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let queues = runtime.block_on(connected(&env));
        let run = {
            let shared = shared.clone();
            move || runtime.block_on(run(queues, seed, shared))
        };
        Load {
            shared,
            thread: std::thread::spawn(run),
        }
    }

    /// Whether it goes on; a load that has ended by itself has panicked.
    pub(crate) fn is_running(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Sends no more, receives and deletes all there is, and returns the accounts.
    pub(crate) fn finish(self) -> Ledger {
        self.shared.is_stopping.store(true, Ordering::Relaxed);
        self.thread.join().expect("the load does not panic");
        self.shared.with_ledger(std::mem::take)
    }
}

/// The queue of everybody by a connection of their own: nobody can connect for the first time
/// while the broker is away.
struct Queues {
    producers: Vec<Queue>,
    consumers: Vec<Queue>,
    watcher: Queue,
}

async fn connected(env: &BTreeMap<String, String>) -> Queues {
    let client = connect(env).await;
    let watcher = client
        .create_queue(QUEUE, QueueOptions::default())
        .await
        .expect("a new queue");
    let (mut producers, mut consumers) = (Vec::new(), Vec::new());
    for _ in 0..PRODUCER_COUNT {
        // A send that the SDK repeats may be stored twice; the ledger allows no such thing, so it
        // is told which ones nobody knows about.
        let client = builder(env).resend_unknown(false).connect().await;
        let client = client.expect("the broker is there");
        producers.push(client.queue(QUEUE));
    }
    for _ in 0..CONSUMER_COUNT {
        consumers.push(connect(env).await.queue(QUEUE));
    }
    Queues {
        producers,
        consumers,
        watcher,
    }
}

async fn run(queues: Queues, seed: u64, shared: Arc<Shared>) {
    let mut seeds = (1..).map(|number: u64| seed.wrapping_add(number));
    let mut seed = || seeds.next().expect("numbers do not end");
    let consumers: Vec<_> = queues
        .consumers
        .into_iter()
        .map(|queue| tokio::spawn(consumer::run(queue, seed(), shared.clone())))
        .collect();
    let producers: Vec<_> = queues
        .producers
        .into_iter()
        .map(|queue| tokio::spawn(producer::run(queue, seed(), shared.clone())))
        .collect();
    for producer in producers {
        producer.await.expect("a producer does not panic");
    }
    if !is_drained_in_time(&queues.watcher).await {
        shared.with_ledger(|ledger| ledger.fault("the queue never got empty".to_owned()));
    }
    shared.is_drained.store(true, Ordering::Relaxed);
    for consumer in consumers {
        consumer.await.expect("a consumer does not panic");
    }
}

async fn is_drained_in_time(queue: &Queue) -> bool {
    let began = Instant::now();
    while began.elapsed() < DRAIN_MAX {
        if let Ok(shown) = queue.client().show_queue(QUEUE).await
            && shown.counts.ready + shown.counts.delayed + shown.counts.in_flight == 0
        {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}
