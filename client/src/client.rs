//! A client: the handle behind which the connections to a cluster carry everything.

use std::fmt;
use std::sync::Arc;

use sampan_protocol::limits::{ADMIN_LEN_MAX, QUEUE_LIST_COUNT_MAX};
use sampan_protocol::{
    AdminRequest, Applied, ErrorCode, Name, QueueCreate, QueueDescription, QueueList, QueueSet,
    Reply, Request,
};

use crate::builder::ClientBuilder;
use crate::config::Config;
use crate::connect;
use crate::error::Error;
use crate::queue::Queue;
use crate::queue_options::QueueOptions;
use crate::shared::Shared;
use crate::supervisor;

/// A client of a broker, of one node or many. Clones share everything and are cheap.
///
/// When the last clone, and the last [`Queue`] and [`Delivery`](crate::Delivery) made from it, is
/// dropped, what was accepted is still finished in the background; [`Client::close`] waits for it.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// Closes the connections when the last clone goes.
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
        let (slot, dialed) = connect::connect(&config).await?;
        let shared = Arc::new(Shared::new(config));
        tokio::spawn(supervisor::run(Arc::clone(&shared), slot, dialed));
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
    /// `InvalidQueueName`, `AttributeOutOfRange` or `TooManyQueues`. When nobody knows what became
    /// of the request, it is repeated, and a repeat that finds the queue counts as success: the
    /// first try made it, or somebody else did at the same moment, with attributes of their own.
    pub async fn create_queue(
        &self,
        name: impl AsRef<str>,
        options: QueueOptions,
    ) -> Result<Queue, Error> {
        let request = QueueCreate {
            name: name.as_ref().into(),
            changes: options.changes(),
        };
        let request = Request::QueueCreate(request);
        match self.shared().call_for_reply(request).await {
            Ok(Reply::QueueCreated) => Ok(self.queue(name)),
            Ok(_) => Err(unexpected()),
            Err(error) if is_own_doing(&error, ErrorCode::QueueAlreadyExists) => {
                Ok(self.queue(name))
            }
            Err(error) => Err(error),
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
            Reply::QueueShown(description) => Ok(*description),
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
    /// Refused with `QueueNotFound`. When nobody knows what became of the request, it is repeated,
    /// and a repeat that finds no queue counts as success.
    pub async fn delete_queue(&self, name: impl AsRef<str>) -> Result<(), Error> {
        let request = Request::QueueDelete {
            name: name.as_ref().into(),
        };
        match self.shared().call_for_reply(request).await {
            Ok(Reply::QueueDeleted) => Ok(()),
            Ok(_) => Err(unexpected()),
            Err(error) if is_own_doing(&error, ErrorCode::QueueNotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Carries out one verb of `spec/admin.md`: `json` is its arguments, empty for none, and the
    /// answer is JSON too. Any node takes it. Nothing is repeated once it was written, so that an
    /// operator hears at once how the cluster is.
    ///
    /// # Errors
    ///
    /// Refused with `ClusterRefused`, `NoLeader` or `MalformedFrame`; also when `json` is longer
    /// than 64 KiB.
    pub async fn admin(
        &self,
        verb: impl AsRef<str>,
        json: impl Into<String>,
    ) -> Result<String, Error> {
        let json = json.into();
        if json.len() > ADMIN_LEN_MAX {
            let text = format!("arguments of {} bytes; at most {ADMIN_LEN_MAX}", json.len());
            return Err(Error::refused_with(ErrorCode::FrameTooLarge, &text));
        }
        let verb = verb.as_ref().into();
        let request = Request::Admin(AdminRequest { verb, json });
        match self.shared().call_for_reply(request).await? {
            Reply::Admin(admin) => Ok(admin.json),
            _ => Err(unexpected()),
        }
    }

    /// Addresses (`HOST:PORT`) of the servers that the client knows: those it was given, then those
    /// that the cluster told it of. At most 64.
    pub fn servers(&self) -> Vec<String> {
        let state = self.shared().lock();
        let servers = state.servers.iter();
        servers.map(|server| server.address.to_string()).collect()
    }

    /// The nodes that the cluster told the client of: id and address, by id. Empty until a node
    /// has answered, and for a broker that says nothing of its nodes.
    pub fn nodes(&self) -> Vec<(u64, String)> {
        self.shared().lock().servers.nodes()
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

    /// Takes no more calls from any clone, finishes what was accepted, and closes the connections.
    ///
    /// Sends that wait for room fail with [`Error::Closed`]; receives that are waiting get their
    /// answer first. Returns when the connections are closed, after the request timeout at the
    /// latest when the broker is gone.
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

/// Whether a refusal can come from an earlier try of the same call, whose answer got lost.
fn is_own_doing(error: &Error, code: ErrorCode) -> bool {
    error.code() == Some(code) && error.applied() == Applied::Unknown
}

pub(crate) fn unexpected() -> Error {
    Error::disconnected("the broker sent a reply of another kind", Applied::Unknown)
}
