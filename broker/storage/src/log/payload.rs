//! Entries as the log takes and gives them.

use bytes::Bytes;

use super::{LogError, LogId};

/// What an entry carries. The log asks for its bytes once, when it writes them.
///
/// Clones must be cheap: one is kept among the newest entries while another is written.
pub trait Payload: Clone + Send + Sync + 'static {
    /// Exactly how many bytes [`Payload::encode`] appends.
    fn encoded_len(&self) -> usize;

    /// Appends the payload's bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// The payload back from its bytes, sharing their memory.
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes.
    fn decode(bytes: Bytes) -> Result<Self, String>;
}

/// Plain bytes are a payload.
impl Payload for Bytes {
    fn encoded_len(&self) -> usize {
        self.len()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(bytes: Bytes) -> Result<Self, String> {
        Ok(bytes)
    }
}

/// One entry of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry<P> {
    /// Its place, and who made it.
    pub id: LogId,
    /// What it carries.
    pub payload: P,
}

/// Called once, when what it waits for is synced or has failed.
///
/// It runs on the log's thread, so it must be short and must not wait for the log. A call that is
/// refused at once runs it on the caller's thread, before the call returns.
pub type Done = Box<dyn FnOnce(Result<(), LogError>) + Send>;
