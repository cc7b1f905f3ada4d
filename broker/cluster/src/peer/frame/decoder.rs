//! Splits a stream of bytes into frames and compares the checksums of header and head.
//!
//! Payloads share the buffer's memory, but short ones are copied out of it: an entry of a hundred
//! bytes that the log keeps in memory must not keep a buffer of pulses there with it. Room is asked
//! for as bytes arrive, not as a header promises.
//!
//! Invariant: nothing is given out of a frame whose header or head is damaged.
//! Spec: spec/peer.md, "Frames".

use bytes::{Buf, Bytes, BytesMut};

use super::fields::FrameError;
use super::header::{Frame, FrameHeader};
use crate::peer::limits::{PEER_GREETING_LEN_MAX, PEER_PAYLOAD_LEN_MAX};

/// Least room asked for when a frame of a stranger is not whole yet.
const RESERVE_LEN_STRANGER: usize = 4 * 1024;
/// The same for a peer: most append frames then come to lie at their place at once.
const RESERVE_LEN_PEER: usize = 1024 * 1024;
/// Payloads up to this length are copied out of the read buffer.
const COPY_LEN_MAX: usize = 16 * 1024;

/// See the head of the file.
#[derive(Debug)]
pub(crate) struct FrameDecoder {
    payload_len_max: usize,
    reserve_len_min: usize,
    /// Of the frame whose payload is not whole yet; no longer in the buffer.
    header: Option<FrameHeader>,
}

impl FrameDecoder {
    /// For the first frame of a connection.
    pub(crate) fn greeting() -> Self {
        FrameDecoder {
            payload_len_max: PEER_GREETING_LEN_MAX,
            reserve_len_min: RESERVE_LEN_STRANGER,
            header: None,
        }
    }

    /// The greeting is over: longer frames may come.
    pub(crate) fn end_greeting(&mut self) {
        self.payload_len_max = PEER_PAYLOAD_LEN_MAX;
        self.reserve_len_min = RESERVE_LEN_PEER;
    }

    /// Takes the next frame off the front of `buffer`; `None` when it is not whole yet.
    pub(crate) fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        let Some(header) = self.next_header(buffer)? else {
            return Ok(None);
        };
        let payload_len = header.payload_len();
        if buffer.len() < payload_len {
            let missing = payload_len - buffer.len();
            buffer.reserve(missing.min(buffer.len().max(self.reserve_len_min)));
            self.header = Some(header);
            return Ok(None);
        }
        self.header = None;
        if crc32c::crc32c(&buffer[..header.head_len as usize]) != header.head_crc {
            return Err(FrameError::Checksum("a frame"));
        }
        let payload = if payload_len <= COPY_LEN_MAX {
            let copy = Bytes::copy_from_slice(&buffer[..payload_len]);
            buffer.advance(payload_len);
            copy
        } else {
            buffer.split_to(payload_len).freeze()
        };
        Ok(Some(Frame { header, payload }))
    }

    fn next_header(&self, buffer: &mut BytesMut) -> Result<Option<FrameHeader>, FrameError> {
        if self.header.is_some() {
            return Ok(self.header);
        }
        let Some(bytes) = buffer.first_chunk() else {
            return Ok(None);
        };
        let header = FrameHeader::decode(bytes)?;
        if header.payload_len() > self.payload_len_max {
            let (len, max) = (header.payload_len(), self.payload_len_max);
            return Err(FrameError::TooLong { len, max });
        }
        buffer.advance(FrameHeader::LEN);
        Ok(Some(header))
    }
}
