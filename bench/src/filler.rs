//! A load that ends: a number of messages, sent and confirmed before anything is measured.
//!
//! Each connection sends its share with a window that is kept full, as `Sender` does.
//!
//! Invariant: at most `window` sends of a connection are unconfirmed.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use sampan_client::{Client, Message, Queue, QueueOptions, Sending};

use crate::args::ClusterArguments;
use crate::body_len::BodyLen;
use crate::brokers::Brokers;
use crate::load;
use crate::progress;

/// What is sent, and where to.
pub(crate) struct Filling {
    pub(crate) count: u64,
    pub(crate) connections: u32,
    pub(crate) window: u32,
    pub(crate) body: BodyLen,
    /// Names of the queues.
    pub(crate) queues: Vec<String>,
    pub(crate) options: QueueOptions,
}

impl Filling {
    pub(crate) fn new(arguments: &ClusterArguments, count: u64) -> Self {
        Filling {
            count,
            connections: arguments.connections(),
            window: arguments.window,
            body: arguments.body,
            queues: (0..arguments.queues()).map(load::queue_name).collect(),
            options: arguments.queue_options(),
        }
    }

    /// Creates the queues and sends; `message` makes the one of a number. Returns how long it took.
    pub(crate) async fn send(
        &self,
        brokers: &Brokers,
        message: impl Fn(u64) -> Message,
    ) -> anyhow::Result<Duration> {
        let accesses = brokers.accesses()?;
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..self.connections {
            clients.push(load::connect(&accesses, self.window, self.body).await?);
        }
        for name in &self.queues {
            load::create_queue(&clients[0], name, self.options).await?;
        }
        progress::say(format!("sending {} messages", self.count));
        let began_at = Instant::now();
        let step = clients.len();
        let shares = clients.iter().enumerate().map(|(first, client)| {
            let queue = client.queue(&self.queues[first % self.queues.len()]);
            self.send_share(queue, first, step, &message)
        });
        futures::future::try_join_all(shares).await?;
        let took = began_at.elapsed();
        for client in clients {
            client.close().await;
        }
        Ok(took)
    }

    /// Sends every `step`-th message from `first` on.
    async fn send_share(
        &self,
        queue: Queue,
        first: usize,
        step: usize,
        message: &impl Fn(u64) -> Message,
    ) -> anyhow::Result<()> {
        let window = usize::try_from(self.window)?;
        let mut sends: VecDeque<Sending> = VecDeque::with_capacity(window);
        for number in (0..self.count).skip(first).step_by(step) {
            if sends.len() == window
                && let Some(oldest) = sends.pop_front()
            {
                oldest.await?;
            }
            sends.push_back(queue.send_with(message(number)));
        }
        for sending in sends {
            sending.await?;
        }
        Ok(())
    }
}
