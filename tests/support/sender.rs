//! A load that must not notice anything, and a look at what came of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sampan_client::Error;

use crate::cluster::Cluster;
use crate::patience::{block_on, connect, wait_for};

/// Between two messages, so that a slow machine has few to receive in the end.
const SEND_PAUSE: Duration = Duration::from_millis(2);
/// A queue that has given nothing for that long is empty.
const DRAIN_WAIT: Duration = Duration::from_secs(2);

/// Sends one numbered message after another until it is stopped.
pub(crate) struct Sender {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    thread: JoinHandle<Result<(), Error>>,
}

impl Sender {
    /// Begins; the queue exists.
    pub(crate) fn start(cluster: &Cluster, queue: &'static str) -> Sender {
        let (stop, count) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (env, stopped, sent) = (cluster.env(), stop.clone(), count.clone());
        let run = async move {
            let queue = connect(&env).await.queue(queue);
            while !stopped.load(Ordering::Relaxed) {
                let number = sent.load(Ordering::Relaxed);
                queue.send(number.to_string()).await?;
                sent.store(number + 1, Ordering::Relaxed);
                tokio::time::sleep(SEND_PAUSE).await;
            }
            Ok(())
        };
        Sender {
            stop,
            count,
            thread: std::thread::spawn(|| block_on(run)),
        }
    }

    /// Waits until so many more were acknowledged.
    pub(crate) fn wait_for_sends(&self, more: u64) {
        let until = self.count.load(Ordering::Relaxed) + more;
        wait_for(&format!("{until} sends"), || {
            (self.count.load(Ordering::Relaxed) >= until).then_some(())
        });
    }

    /// How many were sent; no send may have failed.
    pub(crate) fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.join().expect("the sender does not panic");
        ended.expect("no error surfaces from the SDK");
        self.count.load(Ordering::Relaxed)
    }
}

/// Receives and deletes everything there is: the numbers that came. One that was sent twice, its
/// first outcome unknown, may come twice.
pub(crate) fn drain(cluster: &Cluster, queue: &str) -> BTreeSet<u64> {
    block_on(async {
        let queue = connect(&cluster.env()).await.queue(queue);
        let mut numbers = BTreeSet::new();
        loop {
            let receive = queue.receive().max(256).wait(DRAIN_WAIT);
            let deliveries = receive.await.expect("the cluster answers");
            if deliveries.is_empty() {
                return numbers;
            }
            for delivery in deliveries {
                let text = std::str::from_utf8(&delivery.body).expect("bodies are text");
                numbers.insert(text.parse().expect("bodies are numbers"));
                delivery.delete().await.expect("it is ours");
            }
        }
    })
}
