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
//! # One connection, and frames that grow by themselves
//!
//! A client has one connection, and everything its clones do goes through it: no call waits for the
//! reply of another. Single sends and deletes that wait for the connection at the same moment
//! travel in one frame, up to 256 of them and about 256 KiB; there is no timer, so a send on an
//! idle connection leaves at once. For speed, make calls before awaiting the ones before: see
//! [`Queue::send`].
//!
//! Memory is bounded: see [`ClientBuilder::messages_in_flight_max`] and
//! [`ClientBuilder::bytes_in_flight_max`]. What is over the limits waits in a line that is as long
//! as the futures that callers hold.
//!
//! # When something fails
//!
//! [`Error`] answers two questions. [`Error::retry`]: can the same call succeed later?
//! [`Error::applied`]: did this one do anything?
//!
//! When the connection breaks, the client connects again by itself, after 50 ms at first and up to
//! 5 s later, with jitter. What was under way then:
//!
//! | request | what happens |
//! |---|---|
//! | not yet written whole | sent on the new connection, whatever it is |
//! | receive | repeated with the rest of its wait (1) |
//! | show and list queues | repeated |
//! | delete, extend, release | repeated (2) |
//! | send | fails with `applied() == Unknown` (3) |
//! | create, set and delete queues | fails with `applied() == Unknown` |
//!
//! 1. What the broker handed out to the broken connection comes back when its visibility timeout
//!    ends, at the latest.
//! 2. If the repeat is refused as `ReceiptExpired`, the error says `applied() == Unknown`.
//! 3. Repeated if [`ClientBuilder::resend_unknown`] is on, and may then be stored twice.
//!
//! Refusals go to the caller, also those that can be tried again, with one exception: `QueueBusy`
//! and `NoLeader` (and `LeaderChanged` for a receive) say that nothing was done and are repeated
//! for [`ClientBuilder::retry_deadline`].
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
mod lane;
mod message;
mod outbox;
mod outgoing;
mod queue;
mod queue_options;
mod receive;
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

pub use sampan_protocol::{
    Applied, ErrorCode, MessageId, QueueAttributes, QueueCounts, QueueDescription, QueueId,
    ReceiptHandle, SetId, Timestamp, headers,
};

pub use crate::builder::ClientBuilder;
pub use crate::client::Client;
pub use crate::deliveries::Deliveries;
pub use crate::delivery::Delivery;
pub use crate::error::Error;
pub use crate::message::Message;
pub use crate::queue::Queue;
pub use crate::queue_options::QueueOptions;
pub use crate::receive::Receive;
pub use crate::submission::{Deleting, Sending, SendingBatch};
