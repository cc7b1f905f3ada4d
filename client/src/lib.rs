//! The async Rust SDK of Sampan.
//!
//! ```no_run
//! # async fn example() -> Result<(), sampan_client::Error> {
//! use std::time::Duration;
//! use sampan_client::{Client, QueueOptions};
//!
//! let client = Client::builder()
//!     .server("sampan+tls://broker.example:7411")
//!     .ca_file("/etc/sampan/ca.pem")
//!     .secret_id("AKIDexample")
//!     .secret_key("not in the source, please")
//!     .connect()
//!     .await?;
//!
//! let queue = client.create_queue("orders", QueueOptions::new()).await?;
//! let id = queue.send("a message").await?;
//! println!("message {id} is on disk");
//!
//! for delivery in queue.receive().max(10).wait(Duration::from_secs(5)).await? {
//!     println!("{:?}", delivery.body);
//!     delivery.delete().await?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Client::from_env`] takes the address and the account from the environment instead.
//!
//! # Frames that grow by themselves
//!
//! Everything that the clones of a client do shares its connections: no call waits for the reply of
//! another. Single sends and deletes of one queue that wait for the connection at the same moment
//! travel in one frame, up to 256 of them and about 256 KiB; there is no timer, so a send on an
//! idle connection leaves at once. For speed, make calls before awaiting the ones before: see
//! [`Queue::send`].
//!
//! Memory is bounded: see [`ClientBuilder::messages_in_flight_max`] and
//! [`ClientBuilder::bytes_in_flight_max`], which hold for all connections together. What is over
//! the limits waits in a line that is as long as the futures that callers hold.
//!
//! # Work that takes long
//!
//! [`Queue::deliveries`] is a stream whose heartbeat keeps in flight what the application holds: a
//! handler may take longer than the visibility timeout, up to a ceiling. See
//! [`Deliveries::heartbeat`].
//!
//! # Clusters
//!
//! A broker may be a cluster of several nodes, and each queue is led by one of them. A client finds
//! that out by itself: name one node or several ([`ClientBuilder::server`]), and it learns the
//! others from them, asks who leads a queue when a node refuses to, and keeps one connection to
//! each node that it needs, 64 at most ([`Client::nodes`], [`Client::servers`]).
//!
//! When a leader changes or its node fails, requests wait until it is known who leads now, and go
//! there. So a failover shows as latency, not as errors. Who leads is asked of one node after the
//! other, once for all requests of a set, and no more often than every 20 ms. A node that takes
//! requests and then says nothing is asked after one second whether it is there, and left after
//! three.
//!
//! # When something fails
//!
//! [`Error`] answers two questions. [`Error::retry`]: can the same call succeed later?
//! [`Error::applied`]: did this one do anything?
//!
//! When a connection breaks, its requests go to another node, if there is a connection to one. When
//! there is none, the client tries all nodes that it knows, after 50 ms at first and up to 5 s
//! later, with jitter. What was under way then:
//!
//! | request | what happens |
//! |---|---|
//! | not yet written whole | sent on another connection, whatever it is |
//! | receive | repeated with the rest of its wait (1) |
//! | show and list queues, peek, dry run and status of a redrive | repeated |
//! | delete, extend, release | repeated (2) |
//! | send | repeated, and stored once (3) |
//! | create, set and delete queues | repeated (4) |
//! | [`Client::admin`], purge, redrive | fails with `applied() == Unknown` |
//!
//! 1. What the broker handed out to the broken connection comes back when its visibility timeout
//!    ends, at the latest.
//! 2. If the repeat is refused as `ReceiptExpired`, the error says `applied() == Unknown`.
//! 3. The client numbers what it sends to a queue, and the broker stores no number twice, and none
//!    before the one in front of it: see [`Queue::send`]. Without [`ClientBuilder::resend_unknown`]
//!    there are no numbers, and such a send fails with `applied() == Unknown` instead.
//! 4. A repeated create that finds the queue, and a repeated delete that finds none, count as
//!    success: see [`Client::create_queue`].
//!
//! Refusals go to the caller, also those that can be tried again, except those that come from the
//! state that the cluster is in. They are repeated for [`ClientBuilder::retry_deadline`]:
//!
//! | refusal | what happens |
//! |---|---|
//! | `NotLeader` | sent to the leader as soon as it is known |
//! | `NoLeader`, `LeaderChanged`, `ShuttingDown` | repeated within 200 ms, at the next leader |
//! | `OutcomeUnknown` | likewise, where the table above says "repeated" |
//! | `QueueBusy` | repeated after a pause |
//!
//! Nobody waits past the request timeout ([`ClientBuilder::request_timeout`]). A request that was
//! repeated because nobody knew its outcome, and then failed, says `applied() == Unknown`, whatever
//! the last refusal says. Of a send that means: it is stored once, now or later, or not at all.
//!
//! `OutOfOrder` is never told to a caller: the client repeats what waits for its predecessor.
//!
//! # Runtimes
//!
//! A client needs a tokio runtime with I/O and time, of either kind. It is `Send`, `Sync` and cheap
//! to clone. Its futures can be polled anywhere.

mod address;
mod backoff;
mod builder;
mod call;
mod client;
mod config;
mod connect;
mod connection;
mod delete_frame;
mod deliveries;
mod delivery;
mod dial;
mod error;
mod gate;
mod heartbeat;
mod lane;
mod lease;
mod line;
mod message;
mod numbering;
mod outbox;
mod outgoing;
mod peek;
mod placing;
mod producer;
mod queue;
mod queue_options;
mod receive;
mod redrive;
mod refusals;
mod replies;
mod routes;
mod send_frame;
mod servers;
mod shared;
mod slot;
mod state;
mod submission;
mod supervisor;
mod timing;
mod tls;
mod watch;

pub use sampan_protocol::{
    Applied, DeadLetter, DeathReason, Durability, ErrorCode, GroupMode, MessageId, MessageState,
    PeekOf, PeekedMessage, QueueAttributes, QueueCounts, QueueDescription, QueueId, ReceiptHandle,
    RedriveState, RedriveStatus, SetId, Timestamp, WhenFull, Why, headers,
};

pub use crate::builder::ClientBuilder;
pub use crate::client::Client;
pub use crate::deliveries::Deliveries;
pub use crate::delivery::Delivery;
pub use crate::error::Error;
pub use crate::message::Message;
pub use crate::peek::Peek;
pub use crate::queue::Queue;
pub use crate::queue_options::QueueOptions;
pub use crate::receive::Receive;
pub use crate::redrive::Redrive;
pub use crate::submission::{Deleting, Sending, SendingBatch};
