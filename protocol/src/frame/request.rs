//! Every request, and which kind it is.

use bytes::{Bytes, BytesMut};

use super::header::{kind, put_frame};
use super::{queue_delete, queue_show};
use crate::reader::Reader;
use crate::{
    AdminRequest, Authenticate, ChangeVisibility, DecodeError, Delete, Hello, Name, Peek,
    QueueCreate, QueueList, QueueRewind, QueueSet, Receive, Redrive, Reschedule, RouteRequest,
    Send,
};

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Agree on a version: the first frame.
    Hello(Hello),
    /// Prove who asks: the second frame.
    Authenticate(Authenticate),
    /// Ask for a sign of life.
    Ping,
    /// Create a queue.
    QueueCreate(QueueCreate),
    /// Change attributes of a queue.
    QueueSet(QueueSet),
    /// Describe a queue.
    QueueShow {
        /// The queue.
        name: Name,
    },
    /// List names of queues.
    QueueList(QueueList),
    /// Delete a queue with its messages.
    QueueDelete {
        /// The queue.
        name: Name,
    },
    /// Remove everything in a queue.
    QueuePurge {
        /// The queue.
        name: Name,
    },
    /// Move messages back to where they came from.
    Redrive(Redrive),
    /// How far the newest redrive of a queue is.
    RedriveStatus {
        /// The queue.
        name: Name,
    },
    /// End the redrive of a queue.
    RedriveCancel {
        /// The queue.
        name: Name,
    },
    /// Make deleted messages ready again.
    QueueRewind(QueueRewind),
    /// Ask which node leads the set of a queue.
    Route(RouteRequest),
    /// Send messages.
    Send(Send),
    /// Receive messages.
    Receive(Receive),
    /// Delete received messages.
    Delete(Delete),
    /// Hide received messages for longer, or no longer.
    ChangeVisibility(ChangeVisibility),
    /// Look at messages without receiving them.
    Peek(Peek),
    /// Give a delayed message another instant, or remove it.
    Reschedule(Reschedule),
    /// Ask something of the cluster, as an operator.
    Admin(AdminRequest),
}

impl Request {
    /// Reads the payload of a frame of `kind`.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`]; unless fatal, it refuses this request only.
    pub fn decode(kind: u8, payload: Bytes) -> Result<Self, DecodeError> {
        Ok(match kind {
            kind::HELLO => Request::Hello(Hello::decode(payload)?),
            kind::AUTHENTICATE => Request::Authenticate(Authenticate::decode(payload)?),
            kind::PING => {
                Reader::new(payload).finish()?;
                Request::Ping
            }
            kind::QUEUE_CREATE => Request::QueueCreate(QueueCreate::decode(payload)?),
            kind::QUEUE_SET => Request::QueueSet(QueueSet::decode(payload)?),
            kind::QUEUE_SHOW => Request::QueueShow {
                name: queue_show::decode_request(payload)?,
            },
            kind::QUEUE_LIST => Request::QueueList(QueueList::decode(payload)?),
            kind::QUEUE_DELETE => Request::QueueDelete {
                name: queue_delete::decode(payload)?,
            },
            kind::QUEUE_PURGE => Request::QueuePurge {
                name: queue_delete::decode(payload)?,
            },
            kind::REDRIVE => Request::Redrive(Redrive::decode(payload)?),
            kind::REDRIVE_STATUS => Request::RedriveStatus {
                name: queue_delete::decode(payload)?,
            },
            kind::REDRIVE_CANCEL => Request::RedriveCancel {
                name: queue_delete::decode(payload)?,
            },
            kind::QUEUE_REWIND => Request::QueueRewind(QueueRewind::decode(payload)?),
            kind::ROUTE => Request::Route(RouteRequest::decode(payload)?),
            kind::SEND => Request::Send(Send::decode(payload)?),
            kind::RECEIVE => Request::Receive(Receive::decode(payload)?),
            kind::DELETE => Request::Delete(Delete::decode(payload)?),
            kind::CHANGE_VISIBILITY => {
                Request::ChangeVisibility(ChangeVisibility::decode(payload)?)
            }
            kind::PEEK => Request::Peek(Peek::decode(payload)?),
            kind::RESCHEDULE => Request::Reschedule(Reschedule::decode(payload)?),
            kind::ADMIN => Request::Admin(AdminRequest::decode(payload)?),
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        })
    }

    /// Appends the whole frame.
    pub fn encode(&self, request_id: u64, out: &mut BytesMut) {
        put_frame(self.kind(), 0, request_id, out, |out| {
            self.encode_payload(out)
        });
    }

    /// The number of its kind.
    pub fn kind(&self) -> u8 {
        match self {
            Request::Hello(_) => kind::HELLO,
            Request::Authenticate(_) => kind::AUTHENTICATE,
            Request::Ping => kind::PING,
            Request::QueueCreate(_) => kind::QUEUE_CREATE,
            Request::QueueSet(_) => kind::QUEUE_SET,
            Request::QueueShow { .. } => kind::QUEUE_SHOW,
            Request::QueueList(_) => kind::QUEUE_LIST,
            Request::QueueDelete { .. } => kind::QUEUE_DELETE,
            Request::QueuePurge { .. } => kind::QUEUE_PURGE,
            Request::Redrive(_) => kind::REDRIVE,
            Request::RedriveStatus { .. } => kind::REDRIVE_STATUS,
            Request::RedriveCancel { .. } => kind::REDRIVE_CANCEL,
            Request::QueueRewind(_) => kind::QUEUE_REWIND,
            Request::Route(_) => kind::ROUTE,
            Request::Send(_) => kind::SEND,
            Request::Receive(_) => kind::RECEIVE,
            Request::Delete(_) => kind::DELETE,
            Request::ChangeVisibility(_) => kind::CHANGE_VISIBILITY,
            Request::Peek(_) => kind::PEEK,
            Request::Reschedule(_) => kind::RESCHEDULE,
            Request::Admin(_) => kind::ADMIN,
        }
    }

    fn encode_payload(&self, out: &mut BytesMut) {
        match self {
            Request::Hello(hello) => hello.encode(out),
            Request::Authenticate(authenticate) => authenticate.encode(out),
            Request::Ping => {}
            Request::QueueCreate(create) => create.encode(out),
            Request::QueueSet(set) => set.encode(out),
            Request::QueueShow { name }
            | Request::QueueDelete { name }
            | Request::QueuePurge { name }
            | Request::RedriveStatus { name }
            | Request::RedriveCancel { name } => name.encode(out),
            Request::QueueRewind(rewind) => rewind.encode(out),
            Request::QueueList(list) => list.encode(out),
            Request::Redrive(redrive) => redrive.encode(out),
            Request::Route(route) => route.encode(out),
            Request::Send(send) => send.encode(out),
            Request::Receive(receive) => receive.encode(out),
            Request::Delete(delete) => delete.encode(out),
            Request::ChangeVisibility(change) => change.encode(out),
            Request::Peek(peek) => peek.encode(out),
            Request::Reschedule(reschedule) => reschedule.encode(out),
            Request::Admin(admin) => admin.encode(out),
        }
    }
}
