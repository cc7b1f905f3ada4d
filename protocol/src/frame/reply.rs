//! Every reply, and which kind it is.

use bytes::{BufMut, Bytes, BytesMut};

use super::header::{kind, put_frame};
use super::{peeked, queue_purge, received};
use crate::reader::Reader;
use crate::{
    AdminReply, Authenticated, DecodeError, ErrorReply, HandleResults, HelloReply, PeekedMessage,
    QueueDescription, QueueListPage, ReceivedMessage, RedriveBegun, RedriveStatus, RouteReply,
    SentReply,
};

/// What the broker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The version, and the challenge.
    Hello(HelloReply),
    /// The signature was right.
    Authenticated(Authenticated),
    /// A sign of life.
    Pong,
    /// The queue is there.
    QueueCreated,
    /// The attributes hold.
    QueueChanged,
    /// What the queue is.
    QueueShown(Box<QueueDescription>),
    /// One page of names.
    QueueListed(QueueListPage),
    /// The queue is gone.
    QueueDeleted,
    /// The queue is empty; so many messages were there.
    QueuePurged(u64),
    /// The redrive has begun, or was only counted.
    RedriveBegun(RedriveBegun),
    /// How far the redrive is.
    RedriveShown(RedriveStatus),
    /// How far the redrive was when it ended.
    RedriveCancelled(RedriveStatus),
    /// So many deleted messages will be ready again.
    QueueRewound(u64),
    /// Who leads, and where the nodes are.
    Route(RouteReply),
    /// The messages are stored.
    Sent(SentReply),
    /// Messages, possibly none; the frame says whether more follow.
    Received(Vec<ReceivedMessage>),
    /// What became of each handle of a delete.
    Deleted(HandleResults),
    /// What became of each handle of a change of visibility.
    VisibilityChanged(HandleResults),
    /// Messages, possibly none; the frame says whether more follow.
    Peeked(Vec<PeekedMessage>),
    /// The message has its new instant, or is removed.
    Rescheduled,
    /// What came of an operator's request.
    Admin(AdminReply),
    /// The request was refused.
    Error(ErrorReply),
}

const HELLO: u8 = kind::HELLO | kind::REPLY;
const AUTHENTICATED: u8 = kind::AUTHENTICATE | kind::REPLY;
const PONG: u8 = kind::PING | kind::REPLY;
const QUEUE_CREATED: u8 = kind::QUEUE_CREATE | kind::REPLY;
const QUEUE_CHANGED: u8 = kind::QUEUE_SET | kind::REPLY;
const QUEUE_SHOWN: u8 = kind::QUEUE_SHOW | kind::REPLY;
const QUEUE_LISTED: u8 = kind::QUEUE_LIST | kind::REPLY;
const QUEUE_DELETED: u8 = kind::QUEUE_DELETE | kind::REPLY;
const QUEUE_PURGED: u8 = kind::QUEUE_PURGE | kind::REPLY;
const REDRIVE_BEGUN: u8 = kind::REDRIVE | kind::REPLY;
const REDRIVE_SHOWN: u8 = kind::REDRIVE_STATUS | kind::REPLY;
const REDRIVE_CANCELLED: u8 = kind::REDRIVE_CANCEL | kind::REPLY;
const QUEUE_REWOUND: u8 = kind::QUEUE_REWIND | kind::REPLY;
const ROUTE: u8 = kind::ROUTE | kind::REPLY;
const SENT: u8 = kind::SEND | kind::REPLY;
const RECEIVED: u8 = kind::RECEIVE | kind::REPLY;
const DELETED: u8 = kind::DELETE | kind::REPLY;
const VISIBILITY_CHANGED: u8 = kind::CHANGE_VISIBILITY | kind::REPLY;
const PEEKED: u8 = kind::PEEK | kind::REPLY;
const RESCHEDULED: u8 = kind::RESCHEDULE | kind::REPLY;
const ADMIN: u8 = kind::ADMIN | kind::REPLY;

impl Reply {
    /// Reads the payload of a frame of `kind`.
    ///
    /// # Errors
    ///
    /// See [`DecodeError`].
    pub fn decode(kind: u8, payload: Bytes) -> Result<Self, DecodeError> {
        let empty = |payload, reply| Reader::new(payload).finish().map(|()| reply);
        Ok(match kind {
            HELLO => Reply::Hello(HelloReply::decode(payload)?),
            AUTHENTICATED => Reply::Authenticated(Authenticated::decode(payload)?),
            PONG => empty(payload, Reply::Pong)?,
            QUEUE_CREATED => empty(payload, Reply::QueueCreated)?,
            QUEUE_CHANGED => empty(payload, Reply::QueueChanged)?,
            QUEUE_SHOWN => Reply::QueueShown(Box::new(QueueDescription::decode(payload)?)),
            QUEUE_LISTED => Reply::QueueListed(QueueListPage::decode(payload)?),
            QUEUE_DELETED => empty(payload, Reply::QueueDeleted)?,
            QUEUE_PURGED => Reply::QueuePurged(queue_purge::decode_reply(payload)?),
            REDRIVE_BEGUN => Reply::RedriveBegun(RedriveBegun::decode(payload)?),
            REDRIVE_SHOWN => Reply::RedriveShown(RedriveStatus::decode(payload)?),
            REDRIVE_CANCELLED => Reply::RedriveCancelled(RedriveStatus::decode(payload)?),
            QUEUE_REWOUND => Reply::QueueRewound(queue_purge::decode_reply(payload)?),
            ROUTE => Reply::Route(RouteReply::decode(payload)?),
            SENT => Reply::Sent(SentReply::decode(payload)?),
            RECEIVED => Reply::Received(received::decode(payload)?),
            DELETED => Reply::Deleted(HandleResults::decode(payload)?),
            VISIBILITY_CHANGED => Reply::VisibilityChanged(HandleResults::decode(payload)?),
            PEEKED => Reply::Peeked(peeked::decode(payload)?),
            RESCHEDULED => empty(payload, Reply::Rescheduled)?,
            ADMIN => Reply::Admin(AdminReply::decode(payload)?),
            kind::ERROR => Reply::Error(ErrorReply::decode(payload)?),
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        })
    }

    /// Appends the whole frame; `flags` is [`crate::FrameHeader::MORE`] or 0.
    pub fn encode(&self, request_id: u64, flags: u8, out: &mut BytesMut) {
        put_frame(self.kind(), flags, request_id, out, |out| {
            self.encode_payload(out)
        });
    }

    /// The number of its kind.
    pub fn kind(&self) -> u8 {
        match self {
            Reply::Hello(_) => HELLO,
            Reply::Authenticated(_) => AUTHENTICATED,
            Reply::Pong => PONG,
            Reply::QueueCreated => QUEUE_CREATED,
            Reply::QueueChanged => QUEUE_CHANGED,
            Reply::QueueShown(_) => QUEUE_SHOWN,
            Reply::QueueListed(_) => QUEUE_LISTED,
            Reply::QueueDeleted => QUEUE_DELETED,
            Reply::QueuePurged(_) => QUEUE_PURGED,
            Reply::RedriveBegun(_) => REDRIVE_BEGUN,
            Reply::RedriveShown(_) => REDRIVE_SHOWN,
            Reply::RedriveCancelled(_) => REDRIVE_CANCELLED,
            Reply::QueueRewound(_) => QUEUE_REWOUND,
            Reply::Route(_) => ROUTE,
            Reply::Sent(_) => SENT,
            Reply::Received(_) => RECEIVED,
            Reply::Deleted(_) => DELETED,
            Reply::VisibilityChanged(_) => VISIBILITY_CHANGED,
            Reply::Peeked(_) => PEEKED,
            Reply::Rescheduled => RESCHEDULED,
            Reply::Admin(_) => ADMIN,
            Reply::Error(_) => kind::ERROR,
        }
    }

    fn encode_payload(&self, out: &mut BytesMut) {
        match self {
            Reply::Hello(hello) => hello.encode(out),
            Reply::Authenticated(authenticated) => authenticated.encode(out),
            Reply::QueueShown(description) => description.encode(out),
            Reply::QueueListed(page) => page.encode(out),
            Reply::Peeked(messages) => peeked::encode(messages, out),
            Reply::QueuePurged(count) | Reply::QueueRewound(count) => out.put_u64_le(*count),
            Reply::RedriveBegun(begun) => begun.encode(out),
            Reply::RedriveShown(status) | Reply::RedriveCancelled(status) => status.encode(out),
            Reply::Route(route) => route.encode(out),
            Reply::Sent(sent) => sent.encode(out),
            Reply::Received(messages) => received::encode(messages, out),
            Reply::Deleted(results) | Reply::VisibilityChanged(results) => results.encode(out),
            Reply::Admin(admin) => admin.encode(out),
            Reply::Error(error) => error.encode(out),
            Reply::Pong
            | Reply::QueueCreated
            | Reply::QueueChanged
            | Reply::QueueDeleted
            | Reply::Rescheduled => {}
        }
    }
}
