//! A client: the handle behind which one connection carries everything.

use std::fmt;
use std::sync::Arc;

use sampan_protocol::limits::QUEUE_LIST_COUNT_MAX;
use sampan_protocol::{
    Applied, Name, QueueCreate, QueueDescription, QueueList, QueueSet, Reply, Request,
};

use crate::builder::ClientBuilder;
use crate::config::Config;
use crate::dial::dial;
use crate::driver;
use crate::error::Error;
use crate::queue::Queue;
use crate::queue_options::QueueOptions;
use crate::shared::Shared;

/// A connection to a broker. Clones share it and are cheap.
///
/// When the last clone, and the last [`Queue`] and [`Delivery`](crate::Delivery) made from it, is
/// dropped, what was accepted is still finished in the background; [`Client::close`] waits for it.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// Closes the connection when the last clone goes.
struct Handle {
    shared: Arc<Shared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Client {
    /// Starts to build a client.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Connects as the environment says: `SAMPAN_SERVER`, `SAMPAN_CA` (the path of a PEM file),
    /// `SAMPAN_SECRET_ID` and `SAMPAN_SECRET_KEY`.
    ///
    /// # Errors
    ///
    /// As [`ClientBuilder::connect`].
    pub async fn from_env() -> Result<Client, Error> {
        ClientBuilder::from_env()?.connect().await
    }

    pub(crate) async fn connect(config: Config) -> Result<Client, Error> {
        let dialed = dial(&config).await?;
        let shared = Arc::new(Shared::new(config));
        tokio::spawn(driver::run(Arc::clone(&shared), dialed));
        Ok(Client {
            handle: Arc::new(Handle { shared }),
        })
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// A queue by its name. Nothing is asked of the broker: whether the queue is there shows when
    /// it is used.
    pub fn queue(&self, name: impl AsRef<str>) -> Queue {
        Queue::new(self.clone(), name.as_ref())
    }

    /// Creates a queue. Names have 1 to 64 letters, digits, `-` or `_`, the first a letter, and
    /// are unique without regard to case.
    ///
    /// # Errors
    ///
    /// Refused with [`QueueAlreadyExists`](crate::ErrorCode::QueueAlreadyExists),
    /// `InvalidQueueName`, `AttributeOutOfRange` or `TooManyQueues`. When the connection breaks
    /// before the reply, the request is not repeated and [`Error::applied`] says `Unknown`.
    pub async fn create_queue(
        &self,
        name: impl AsRef<str>,
        options: QueueOptions,
    ) -> Result<Queue, Error> {
        let request = QueueCreate {
            name: name.as_ref().into(),
            changes: options.changes(),
        };
        match self
            .shared()
            .call_for_reply(Request::QueueCreate(request))
            .await?
        {
            Reply::QueueCreated => Ok(self.queue(name)),
            _ => Err(unexpected()),
        }
    }

    /// Changes the attributes that `options` names; the others stay.
    ///
    /// # Errors
    ///
    /// Refused with `QueueNotFound` or `AttributeOutOfRange`; otherwise as
    /// [`Client::create_queue`].
    pub async fn set_queue(
        &self,
        name: impl AsRef<str>,
        options: QueueOptions,
    ) -> Result<(), Error> {
        let request = QueueSet {
            name: name.as_ref().into(),
            changes: options.changes(),
        };
        match self
            .shared()
            .call_for_reply(Request::QueueSet(request))
            .await?
        {
            Reply::QueueChanged => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Attributes and message counts of a queue.
    ///
    /// # Errors
    ///
    /// Refused with `QueueNotFound`.
    pub async fn show_queue(&self, name: impl AsRef<str>) -> Result<QueueDescription, Error> {
        let request = Request::QueueShow {
            name: name.as_ref().into(),
        };
        match self.shared().call_for_reply(request).await? {
            Reply::QueueShown(description) => Ok(description),
            _ => Err(unexpected()),
        }
    }

    /// Names of all queues that begin with `prefix` (empty: of all queues), in order.
    ///
    /// Asks page by page; a queue that comes or goes meanwhile may be in the list or not.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub async fn list_queues(&self, prefix: impl AsRef<str>) -> Result<Vec<String>, Error> {
        let mut names: Vec<String> = Vec::new();
        loop {
            let after = names.last().map_or_else(|| Name::from(""), Name::from);
            let page = self.list_queues_page(prefix.as_ref().into(), after).await?;
            let more = page.more && !page.names.is_empty();
            names.extend(page.names);
            if !more {
                return Ok(names);
            }
        }
    }

    async fn list_queues_page(
        &self,
        prefix: Name,
        after: Name,
    ) -> Result<sampan_protocol::QueueListPage, Error> {
        let count_max =
            u32::try_from(QUEUE_LIST_COUNT_MAX).expect("a page has at most 1,000 names");
        let request = Request::QueueList(QueueList {
            prefix,
            after,
            count_max,
        });
        match self.shared().call_for_reply(request).await? {
            Reply::QueueListed(page) => Ok(page),
            _ => Err(unexpected()),
        }
    }

    /// Deletes a queue with all its messages.
    ///
    /// # Errors
    ///
    /// Refused with `QueueNotFound`; otherwise as [`Client::create_queue`].
    pub async fn delete_queue(&self, name: impl AsRef<str>) -> Result<(), Error> {
        let request = Request::QueueDelete {
            name: name.as_ref().into(),
        };
        match self.shared().call_for_reply(request).await? {
            Reply::QueueDeleted => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Asks the broker whether it is there.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    pub async fn ping(&self) -> Result<(), Error> {
        match self.shared().call_for_reply(Request::Ping).await? {
            Reply::Pong => Ok(()),
            _ => Err(unexpected()),
        }
    }

    /// Takes no more calls from any clone, finishes what was accepted, and closes the connection.
    ///
    /// Sends that wait for room fail with [`Error::Closed`]; receives that are waiting get their
    /// answer first. Returns when the connection is closed, after the request timeout at the latest
    /// when the broker is gone.
    pub async fn close(&self) {
        self.shared().close();
        self.shared().finished().await;
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("config", &self.shared().config)
            .finish()
    }
}

pub(crate) fn unexpected() -> Error {
    Error::disconnected("the broker sent a reply of another kind", Applied::Unknown)
}
