//! Producers and consumers at a moderate, fixed rate, who write down everything they see.
//!
//! They run on a thread of their own, each with a client of its own, and go through the stages of a
//! round as they are told. Two producers per queue: one has the SDK number its sends and repeat
//! those of unknown outcome, the other one does neither.

pub(crate) mod body;
mod consumer;
mod overseer;
mod producer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sampan_client::{Client, Durability, GroupMode, Queue, QueueCounts, QueueOptions};
use tokio::sync::watch;

use super::history::History;
use crate::waiting::looks;

/// Longer than any fault lasts: no call gives up because of one.
const PATIENCE: Duration = Duration::from_secs(90);
/// Nobody is slower than this to finish what he does, unless the cluster is broken.
const STAGE_MAX: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);
const CONSUMER_COUNT: u64 = 2;

/// A queue of the load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueuePlan {
    pub(crate) name: &'static str,
    pub(crate) visibility: Duration,
    /// Whether its messages have delays of 1 to 3 s.
    pub(crate) is_delayed: bool,
    /// Whether it gives messages up to [`DEAD`] after the second receive.
    pub(crate) gives_up: bool,
    /// Whether what is deleted is kept for a rewind.
    pub(crate) is_kept: bool,
    /// Whether its messages are of [`GROUP_COUNT`] ordered groups, by their numbers.
    pub(crate) is_grouped: bool,
    /// Whether its durability is async.
    pub(crate) is_async: bool,
}

/// Long enough that a slewed clock is within the slack of the checker, short enough that what
/// lapses comes back within a round.
pub(crate) const QUEUES: [QueuePlan; 10] = [
    plan("first", 5),
    plan("second", 5),
    plan("hasty", 3),
    QueuePlan {
        is_delayed: true,
        ..plan("delayed", 4)
    },
    QueuePlan {
        gives_up: true,
        ..plan("failing", 3)
    },
    plan("dead", 5),
    plan("again", 5),
    QueuePlan {
        is_kept: true,
        ..plan("kept", 4)
    },
    QueuePlan {
        is_grouped: true,
        ..plan("grouped", 3)
    },
    QueuePlan {
        is_async: true,
        ..plan("lazy", 4)
    },
];
/// The place of the queue that takes what others give up; nobody sends to it.
pub(crate) const DEAD: u16 = 5;
/// The place of the one that takes what is redriven out of that; nobody sends to it either.
pub(crate) const AGAIN: u16 = 6;
/// The place of the one that is rewound.
pub(crate) const KEPT: u16 = 7;
/// The place of the one with ordered groups, and how many these are: some of them are locked most
/// of the time, and yet all of it is received within a round.
pub(crate) const GROUPED: u16 = 8;
pub(crate) const GROUP_COUNT: u64 = 32;
/// The place of the one whose acknowledgements promise less.
pub(crate) const LAZY: u16 = 9;
/// Longer than a round, and shorter than the retention.
const REWIND_WINDOW: Duration = Duration::from_secs(600);
/// Receives of a message that comes back before it is given up.
const RECEIVE_COUNT_MAX: u32 = 2;

const fn plan(name: &'static str, visibility_seconds: u64) -> QueuePlan {
    QueuePlan {
        name,
        visibility: Duration::from_secs(visibility_seconds),
        is_delayed: false,
        gives_up: false,
        is_kept: false,
        is_grouped: false,
        is_async: false,
    }
}

/// The queues that producers send to.
pub(crate) fn sent_to() -> impl Iterator<Item = (u16, QueuePlan)> {
    let queues = (0..).zip(QUEUES);
    queues.filter(|(index, _)| *index != DEAD && *index != AGAIN)
}

/// What everybody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Sending and receiving.
    Full,
    /// Consumers rest, so that messages pile up.
    OnlySend,
    /// Nobody does anything.
    Still,
    /// Consumers delete all there is.
    Drain,
    End,
}

/// What all of them share.
struct Shared {
    body_seed: u64,
    stage: watch::Receiver<Stage>,
    history: Arc<History>,
    /// Gives every message of a run its own number.
    numbers: Arc<AtomicU64>,
    /// Calls under way.
    active: AtomicUsize,
}

impl Shared {
    fn stage(&self) -> Stage {
        *self.stage.borrow()
    }
}

/// Counts as a call under way for as long as it lives.
struct Active<'a>(&'a AtomicUsize);

impl<'a> Active<'a> {
    fn new(shared: &'a Shared) -> Active<'a> {
        shared.active.fetch_add(1, Ordering::SeqCst);
        Active(&shared.active)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How a load is run.
#[derive(Clone)]
pub(crate) struct LoadOptions {
    /// Variables that name the cluster.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) seed: u64,
    /// Bodies follow from it and their number; rounds on one cluster share it, for a message may
    /// come in a later one.
    pub(crate) body_seed: u64,
    /// Calls a second, all producers together.
    pub(crate) rate: u32,
    pub(crate) history: Arc<History>,
    pub(crate) numbers: Arc<AtomicU64>,
}

/// A running load.
pub(crate) struct Load {
    stage: watch::Sender<Stage>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Makes the queues that are missing and starts everybody.
    pub(crate) fn start(options: LoadOptions) -> Load {
        let (stage, stages) = watch::channel(Stage::Full);
        let shared = Arc::new(Shared {
            body_seed: options.body_seed,
            stage: stages,
            history: options.history.clone(),
            numbers: options.numbers.clone(),
            active: AtomicUsize::new(0),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let thread = {
            let shared = shared.clone();
            std::thread::spawn(move || runtime.block_on(run(options, shared)))
        };
        Load {
            stage,
            shared,
            thread: Some(thread),
        }
    }

    /// Tells everybody what to do next.
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Waits until no call is under way; whether that came to be.
    pub(crate) fn wait_until_still(&self) -> bool {
        let is_still = || (self.shared.active.load(Ordering::SeqCst) == 0).then_some(());
        looks(STAGE_MAX, is_still).is_some()
    }

    /// Ends it.
    pub(crate) fn end(mut self) {
        self.enter(Stage::End);
        let thread = self.thread.take().expect("ended once");
        thread.join().expect("the load does not panic");
    }
}

/// A client of the cluster that `env` names.
pub(crate) async fn connect(env: &BTreeMap<String, String>, resend_unknown: bool) -> Client {
    let began = Instant::now();
    loop {
        let builder = Client::builder()
            .server(&env["SAMPAN_SERVER"])
            .ca_file(&env["SAMPAN_CA"])
            .secret_id(&env["SAMPAN_SECRET_ID"])
            .secret_key(&env["SAMPAN_SECRET_KEY"])
            .request_timeout(PATIENCE)
            .retry_deadline(PATIENCE)
            .reconnect_deadline(PATIENCE)
            .resend_unknown(resend_unknown);
        match builder.connect().await {
            Ok(client) => return client,
            Err(error) if began.elapsed() > PATIENCE => panic!("cannot connect: {error}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Messages in each queue, in whatever state; fails with the last error. Looks until nothing moved
/// between two looks, for what moves while they are looked at is counted in two queues or in none.
pub(crate) async fn present(client: &Client) -> Result<Vec<u64>, sampan_client::Error> {
    let began = Instant::now();
    let mut before = look(client).await?;
    loop {
        let now = look(client).await?;
        let rests = now == before && now.iter().all(|counts| counts.moving == 0);
        if rests || began.elapsed() > STAGE_MAX {
            return Ok(now.iter().map(in_all).collect());
        }
        before = now;
        tokio::time::sleep(PAUSE).await;
    }
}

fn in_all(counts: &QueueCounts) -> u64 {
    let gone_from_here = counts.moving + counts.undeliverable;
    counts.ready + counts.delayed + counts.in_flight + gone_from_here
}

async fn look(client: &Client) -> Result<Vec<QueueCounts>, sampan_client::Error> {
    let mut all = Vec::new();
    for plan in QUEUES {
        all.push(client.show_queue(plan.name).await?.counts);
    }
    Ok(all)
}

async fn create_queue(client: &Client, plan: QueuePlan) -> Queue {
    let mut options = QueueOptions::new().visibility_timeout(plan.visibility);
    if plan.gives_up {
        let dead = client.show_queue(QUEUES[usize::from(DEAD)].name).await;
        let dead = dead.expect("it was made first").id;
        options = options.dead_letter_queue(dead);
        options = options.receive_count_max(RECEIVE_COUNT_MAX);
    }
    if plan.is_kept {
        options = options.rewind(REWIND_WINDOW);
    }
    if plan.is_grouped {
        options = options.groups(GroupMode::Ordered);
    }
    if plan.is_async {
        options = options.durability(Durability::Async);
    }
    // One that is there already is from an earlier round.
    if let Err(error) = client.create_queue(plan.name, options).await {
        assert_eq!(
            error.code(),
            Some(sampan_client::ErrorCode::QueueAlreadyExists),
            "{error}"
        );
    }
    client.queue(plan.name)
}

async fn run(options: LoadOptions, shared: Arc<Shared>) {
    let mut seeds = (1..).map(|number: u64| options.seed.wrapping_add(number));
    let mut seed = || seeds.next().expect("numbers do not end");
    let rate = options.rate / (2 * sent_to().count() as u32);
    let mut tasks = Vec::new();
    let client = connect(&options.env, true).await;
    let dead = create_queue(&client, QUEUES[usize::from(DEAD)]).await;
    create_queue(&client, QUEUES[usize::from(AGAIN)]).await;
    for (index, plan) in sent_to() {
        for is_numbered in [false, true] {
            let client = connect(&options.env, is_numbered).await;
            let producer = producer::Producer {
                queue: create_queue(&client, plan).await,
                index,
                plan,
                rate,
                is_numbered,
                shared: shared.clone(),
            };
            tasks.push(tokio::spawn(producer.run(seed())));
        }
    }
    for (index, plan) in (0..).zip(QUEUES) {
        for _ in 0..CONSUMER_COUNT {
            let consumer = consumer::Consumer {
                queue: connect(&options.env, true).await.queue(plan.name),
                index,
                plan,
                shared: shared.clone(),
            };
            tasks.push(tokio::spawn(consumer.run(seed())));
        }
    }
    let overseer = overseer::Overseer {
        kept: client.queue(QUEUES[usize::from(KEPT)].name),
        dead,
        shared: shared.clone(),
    };
    tasks.push(tokio::spawn(overseer.run(seed())));
    for task in tasks {
        task.await.expect("nobody of the load panics");
    }
}
