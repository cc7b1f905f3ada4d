//! Every limit of the protocol, by name. `spec/limits.md` lists them with their reasons; a test
//! compares the two. Lengths are in bytes, times in milliseconds unless the name says otherwise.

/// Longest payload of one frame.
pub const FRAME_LEN_MAX: usize = 4 * 1024 * 1024 + 64 * 1024;
/// Longest payload of a frame that comes before authentication.
pub const GREETING_LEN_MAX: usize = 4 * 1024;
/// Longest body of one message.
pub const BODY_LEN_MAX: usize = 1024 * 1024;
/// Most messages in one send, handles in one delete, messages in one receive.
pub const BATCH_COUNT_MAX: usize = 256;
/// Longest encoded batch of one send.
pub const BATCH_LEN_MAX: usize = 4 * 1024 * 1024;
/// Longest encoded headers of one message.
pub const HEADERS_LEN_MAX: usize = 4 * 1024;
/// Longest encoded headers of a message as it is stored and received: the broker adds some when it
/// moves a message to another queue.
pub const STORED_HEADERS_LEN_MAX: usize = HEADERS_LEN_MAX + 256;
/// Longest deduplication key, and longest group key.
pub const KEY_LEN_MAX: usize = 128;
/// Longest queue name.
pub const QUEUE_NAME_LEN_MAX: usize = 64;
/// Longest SecretId.
pub const SECRET_ID_LEN_MAX: usize = 128;
/// Longest text in an error frame.
pub const ERROR_TEXT_LEN_MAX: usize = 1024;
/// Longest receive reply that a client can ask for, and what it gets by default: 4 MiB.
pub const RECEIVE_LEN_MAX: u32 = 16 * 1024 * 1024;
/// What a receive that names no length gets.
pub const RECEIVE_LEN_DEFAULT: u32 = 4 * 1024 * 1024;
/// A receive reply is cut into frames of about this length.
pub const RECEIVE_FRAME_LEN: usize = 256 * 1024;
/// Longest wait of a receive.
pub const RECEIVE_WAIT_MAX_MS: u32 = 30_000;
/// Shortest visibility timeout of a receive or a queue. A change of visibility may also say 0.
pub const VISIBILITY_TIMEOUT_MIN_MS: u32 = 1_000;
/// Longest visibility timeout: 12 hours.
pub const VISIBILITY_TIMEOUT_MAX_MS: u32 = 43_200_000;
/// Visibility timeout of a queue that names none.
pub const VISIBILITY_TIMEOUT_DEFAULT_MS: u32 = 30_000;
/// Shortest retention: 1 minute.
pub const RETENTION_MIN_MS: u64 = 60_000;
/// Longest retention, and so the longest delay: 400 days.
pub const RETENTION_MAX_MS: u64 = 34_560_000_000;
/// Retention of a queue that names none: 4 days.
pub const RETENTION_DEFAULT_MS: u64 = 345_600_000;
/// Smallest `message_size_max` of a queue.
pub const MESSAGE_SIZE_MIN: u32 = 1;
/// Requests of one connection that may be unanswered at one time.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 4_096;
/// Refusals of authentication before a connection is closed.
pub const AUTHENTICATION_FAILURES_MAX: u32 = 3;
/// Queues of one cluster.
pub const QUEUE_COUNT_MAX: usize = 10_000;
/// Most queues in one reply to a list request.
pub const QUEUE_LIST_COUNT_MAX: usize = 1_000;
/// Most nodes in one reply to a route request.
pub const ROUTE_NODE_COUNT_MAX: usize = 256;
/// Longest JSON text of an operator's request.
pub const ADMIN_LEN_MAX: usize = 64 * 1024;
/// Longest JSON text of the answer to one.
pub const ADMIN_REPLY_LEN_MAX: usize = 4 * 1024 * 1024;
/// Longest redelivery delay of a queue: 12 hours.
pub const REDELIVERY_DELAY_MAX_MS: u32 = 43_200_000;
/// Deduplication window of a queue that names none: 5 minutes.
pub const DEDUP_WINDOW_DEFAULT_MS: u32 = 300_000;
/// Longest deduplication window of a queue: 24 hours.
pub const DEDUP_WINDOW_MAX_MS: u32 = 86_400_000;
/// Most messages of one queue, and its `message_count_max` when it names none: no limit in
/// practice.
pub const MESSAGE_COUNT_MAX: u64 = 1_000_000_000_000;
/// Most bytes of messages of one queue, and its `byte_count_max` when it names none: no limit in
/// practice.
pub const BYTE_COUNT_MAX: u64 = 1 << 50;
/// Most messages of one queue in flight at one time.
pub const IN_FLIGHT_COUNT_MAX: u64 = 1_000_000;
/// Most delayed messages of one queue at one time.
pub const DELAYED_COUNT_MAX: u64 = 100_000_000;
/// Largest `receive_count_max` of a queue.
pub const RECEIVE_COUNT_MAX: u32 = 1_000;
/// Shortest `dead_letter_after_ms` of a queue: 1 second.
pub const DEAD_LETTER_AFTER_MIN_MS: u64 = 1_000;
