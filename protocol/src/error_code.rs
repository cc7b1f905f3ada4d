//! The numbers of `spec/errors.md`. A number, once given, is never given to anything else.

use std::fmt;

/// Whether a refused request changed anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Nothing was changed.
    No,
    /// The request was carried out.
    Yes,
    /// Not known: it may have been carried out, or still be.
    Unknown,
}

macro_rules! error_codes {
    ($(
        $(#[$doc:meta])*
        $name:ident = $number:literal, $text:literal, $retry:literal, $applied:ident;
    )*) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum ErrorCode {
            $($(#[$doc])* $name = $number,)*
        }

        impl ErrorCode {
            /// Every code, in the order of the numbers.
            pub const ALL: &[ErrorCode] = &[$(ErrorCode::$name,)*];

            /// The number on the wire.
            pub const fn number(self) -> u16 {
                match self { $(ErrorCode::$name => $number,)* }
            }

            /// The code of a number, when there is one.
            pub const fn from_number(number: u16) -> Option<ErrorCode> {
                match number { $($number => Some(ErrorCode::$name),)* _ => None }
            }

            /// A short text, lower case, without a full stop.
            pub const fn text(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }

            /// Whether the same request can succeed later without a change.
            pub const fn retry(self) -> bool {
                match self { $(ErrorCode::$name => $retry,)* }
            }

            /// Whether the refused request changed anything.
            pub const fn applied(self) -> Applied {
                match self { $(ErrorCode::$name => Applied::$applied,)* }
            }
        }
    };
}

error_codes! {
    /// The frame's bytes do not fit its kind.
    MalformedFrame = 100, "malformed frame", false, No;
    /// No protocol version in common, or not this protocol at all.
    UnsupportedVersion = 101, "unsupported protocol version", false, No;
    /// The frame is longer than `FRAME_LEN_MAX`.
    FrameTooLarge = 102, "frame too large", false, No;
    /// A frame kind that this version does not know, or not in this direction.
    UnknownKind = 103, "unknown frame kind", false, No;
    /// More than `REQUESTS_IN_FLIGHT_MAX` unanswered requests.
    TooManyRequests = 104, "too many requests in flight", true, No;
    /// A request before authentication.
    NotAuthenticated = 110, "not authenticated", false, No;
    /// The SecretId or the signature is wrong.
    AuthenticationFailed = 111, "authentication failed", false, No;
    /// Queue names have 1 to 64 letters, digits, `-` or `_`, the first a letter.
    InvalidQueueName = 200, "invalid queue name", false, No;
    /// There is no such queue.
    QueueNotFound = 201, "queue not found", false, No;
    /// A queue of this name (letter case aside) exists.
    QueueAlreadyExists = 202, "queue already exists", false, No;
    /// An attribute's value is outside its range.
    AttributeOutOfRange = 203, "attribute out of range", false, No;
    /// An attribute that this version does not know.
    UnknownAttribute = 204, "unknown attribute", false, No;
    /// The queue is being created, changed or deleted by somebody else.
    QueueBusy = 205, "queue is being changed", true, No;
    /// `QUEUE_COUNT_MAX` queues exist.
    TooManyQueues = 206, "too many queues", false, No;
    /// The dead-letter queue is not there, is the queue itself, or would make a chain.
    InvalidDeadLetterQueue = 207, "invalid dead-letter queue", false, No;
    /// A queue that is to be deleted is the dead-letter queue of another.
    QueueIsBound = 208, "queue is a dead-letter queue", false, No;
    /// A redrive of the queue is going on.
    RedriveRunning = 209, "another redrive of this queue is running", true, No;
    /// No redrive of the queue ever began.
    NoRedrive = 210, "no redrive of this queue", false, No;
    /// A message without a body.
    BodyEmpty = 300, "message body is empty", false, No;
    /// A body longer than the queue's `message_size_max`.
    MessageTooLarge = 301, "message too large", false, No;
    /// A batch with no message, over `BATCH_COUNT_MAX` or over `BATCH_LEN_MAX`; no receipt handle,
    /// or over `BATCH_COUNT_MAX`.
    BatchOutOfRange = 302, "batch out of range", false, No;
    /// A body does not have the checksum that came with it.
    ChecksumMismatch = 303, "checksum mismatch", true, No;
    /// A delay longer than the queue's retention.
    DelayOutOfRange = 304, "delay out of range", false, No;
    /// Headers that are malformed or longer than `HEADERS_LEN_MAX`, or a group key or deduplication
    /// key longer than `KEY_LEN_MAX`.
    HeadersOutOfRange = 305, "headers out of range", false, No;
    /// A field that this version reserves is not zero or not empty.
    ReservedField = 306, "reserved field must be empty", false, No;
    /// The queue holds its maximum of delayed messages.
    TooManyDelayed = 307, "too many delayed messages", true, No;
    /// A numbered send whose predecessor is not stored.
    OutOfOrder = 308, "send out of order", true, No;
    /// A numbered send that is too old to be told from a repeat.
    ProducerExpired = 309, "producer session expired", false, Unknown;
    /// The queue holds its maximum of messages.
    QueueFull = 310, "queue is full", true, No;
    /// The queue remembers its maximum of deduplication keys.
    TooManyKeys = 311, "too many deduplication keys", true, No;
    /// A delayed message for a queue with groups, with a group key.
    DelayInGroup = 312, "a message of a group cannot be delayed", false, No;
    /// Not a receipt handle of this queue.
    ReceiptMalformed = 400, "malformed receipt handle", false, No;
    /// The message was deleted, its visibility ended, or it was received again since.
    ReceiptExpired = 401, "receipt expired", false, No;
    /// A wait longer than `RECEIVE_WAIT_MAX_MS`.
    WaitOutOfRange = 402, "wait out of range", false, No;
    /// A visibility timeout outside its range.
    VisibilityTimeoutOutOfRange = 403, "visibility timeout out of range", false, No;
    /// A receive or peek of no message, over `BATCH_COUNT_MAX`, or over `RECEIVE_LEN_MAX`; a page
    /// of no queue name, or over `QUEUE_LIST_COUNT_MAX`.
    ReceiveOutOfRange = 404, "receive out of range", false, No;
    /// The queue holds its maximum of messages in flight.
    TooManyInFlight = 405, "too many messages in flight", true, No;
    /// The node holds its maximum of waiting receives.
    TooManyWaiting = 406, "too many waiting receives", true, No;
    /// There is no delayed message of this id.
    MessageNotFound = 407, "no delayed message of this id", false, No;
    /// A rewind to an instant before the queue's rewind window, or to one that is still to come; or
    /// of a queue that keeps no deleted messages.
    RewindOutOfRange = 408, "rewind out of range", false, No;
    /// Too little space is left on the disk; receives and deletes go on.
    StorageFull = 500, "storage full", true, No;
    /// No leader at present; nothing was proposed.
    NoLeader = 501, "no leader", true, No;
    /// Proposed, and then the answer did not come in time.
    OutcomeUnknown = 502, "outcome unknown", true, Unknown;
    /// The broker is stopping.
    ShuttingDown = 503, "shutting down", true, No;
    /// The leader changed while the receive was waiting.
    LeaderChanged = 504, "leader changed", true, No;
    /// A fault of the broker; its log says more.
    Internal = 505, "internal error", true, Unknown;
    /// This node does not lead the set of the queue: a route frame tells who does.
    NotLeader = 506, "not leader", true, No;
    /// A change of the cluster that would lose a majority, or that makes no sense as things are.
    ClusterRefused = 507, "refused by the cluster", false, No;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}
