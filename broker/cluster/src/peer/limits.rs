//! Bounds of the peer network. They stand in spec/limits.md, "Peers".

use std::time::Duration;

/// Longest payload of a frame.
pub(crate) const PEER_PAYLOAD_LEN_MAX: usize = 8 * 1024 * 1024;
/// Longest payload before the greeting is over: strangers get no memory.
pub(crate) const PEER_GREETING_LEN_MAX: usize = 4096;
/// Longest text of a refusal or an error, and longest name of a release.
pub(crate) const PEER_TEXT_LEN_MAX: usize = 1024;
/// Longest content of a pulse that is not the network's own.
pub(crate) const PULSE_LEN_MAX: usize = 64 * 1024;
/// Most entries of one append frame.
pub(crate) const APPEND_ENTRY_COUNT_MAX: usize = 65_536;
/// How often a connection says that it is alive, each way.
pub(crate) const PULSE_INTERVAL: Duration = Duration::from_millis(200);
/// A connection from which nothing came for so long is closed.
pub(crate) const PEER_SILENCE_MAX: Duration = Duration::from_secs(2);
/// Longest time from connecting or accepting to the end of the greeting.
pub(crate) const GREETING_TIME_MAX: Duration = Duration::from_secs(5);
/// Shortest pause before a peer is connected to again.
pub(crate) const RECONNECT_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause before a peer is connected to again.
pub(crate) const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(2);
/// Accepted connections at one time.
pub(crate) const INCOMING_COUNT_MAX: usize = 256;
/// Nodes that this node connects to or holds a link for.
pub(crate) const LINK_COUNT_MAX: usize = 256;
/// Unanswered calls of a connection.
pub(crate) const CALLS_WAITING_MAX: usize = 1024;
/// Bytes that wait to be written in the bulk lane of a connection.
pub(crate) const BULK_LEN_MAX: usize = 16 * 1024 * 1024;
/// Frames that wait in each lane of a connection.
pub(crate) const LANE_COUNT_MAX: usize = 1024;
/// Frames up to this length may take the express lane.
pub(crate) const EXPRESS_LEN_MAX: usize = 16 * 1024;
/// About as many bytes are written at one time.
pub(crate) const WRITE_LEN_MAX: usize = 1024 * 1024;
/// Bytes of append frames of one accepted connection that its sets have not taken yet.
pub(crate) const APPENDS_WAITING_LEN_MAX: usize = 32 * 1024 * 1024;
/// Append streams that a connection holds open.
pub(crate) const APPEND_STREAM_COUNT_MAX: usize = 8192;
/// Unanswered requests of one append stream.
pub(crate) const APPENDS_UNANSWERED_MAX: usize = 64;
/// Bytes of the unanswered requests of one append stream.
pub(crate) const APPENDS_UNANSWERED_LEN_MAX: usize = 8 * 1024 * 1024;
/// What a peer's clock said is believed for so long.
pub(crate) const CLOCK_AGE_MAX_MS: u64 = 5_000;
