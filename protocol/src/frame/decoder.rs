//! Splits a stream of bytes into frames.
//!
//! Frames share the buffer's memory. Room is asked for only as bytes arrive: at most as much again
//! as there already is of a frame, so a header that promises megabytes and brings none holds a few
//! kilobytes. Reserving the whole payload at once would save a copy of a large frame, and let every
//! unauthenticated connection hold 4 MiB for 16 bytes.
//!
//! Invariant: nothing is taken off the buffer by a call that fails.
//! Spec: spec/wire.md, "Frames".

use bytes::{Buf, BytesMut};

use super::header::{Frame, FrameHeader};
use crate::DecodeError;

/// Least room asked for when a frame is not whole yet.
const RESERVE_LEN_MIN: usize = 16 * 1024;

/// See the head of the file.
#[derive(Clone, Debug)]
pub struct FrameDecoder {
    payload_len_max: usize,
    /// Of the frame whose payload is not whole yet; no longer in the buffer.
    header: Option<FrameHeader>,
}

impl FrameDecoder {
    /// A decoder at the start of a stream that refuses payloads over `payload_len_max` bytes.
    pub fn new(payload_len_max: usize) -> Self {
        FrameDecoder {
            payload_len_max,
            header: None,
        }
    }

    /// Changes the limit for the headers that are still to come.
    pub fn set_payload_len_max(&mut self, payload_len_max: usize) {
        self.payload_len_max = payload_len_max;
    }

    /// Takes the next frame off the front of `buffer`; `None` when it is not whole yet.
    ///
    /// # Errors
    ///
    /// Always fatal: the bounds of the next frame are unknown from here on.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, DecodeError> {
        let Some(header) = self.next_header(buffer)? else {
            return Ok(None);
        };
        let payload_len = header.payload_len();
        if buffer.len() < payload_len {
            let missing = payload_len - buffer.len();
            buffer.reserve(missing.min(buffer.len().max(RESERVE_LEN_MIN)));
            self.header = Some(header);
            return Ok(None);
        }
        self.header = None;
        Ok(Some(Frame {
            header,
            payload: buffer.split_to(payload_len).freeze(),
        }))
    }

    /// Whether the stream may end here without cutting a frame.
    pub fn is_between_frames(&self, buffer: &BytesMut) -> bool {
        self.header.is_none() && buffer.is_empty()
    }

    fn next_header(&self, buffer: &mut BytesMut) -> Result<Option<FrameHeader>, DecodeError> {
        if self.header.is_some() {
            return Ok(self.header);
        }
        let Some(bytes) = buffer.first_chunk() else {
            return Ok(None);
        };
        let header = FrameHeader::decode(bytes)?;
        if header.payload_len() > self.payload_len_max {
            let (len, max) = (header.payload_len(), self.payload_len_max);
            return Err(DecodeError::FrameTooLarge { len, max });
        }
        buffer.advance(FrameHeader::LEN);
        Ok(Some(header))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;

    use super::*;
    use crate::frame::header::put_frame;

    fn frame_of(payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        put_frame(3, 0, 7, &mut out, |out| out.put_slice(payload));
        out
    }

    #[test]
    fn frames_come_out_whole_however_the_bytes_arrive() {
        let mut stream = BytesMut::new();
        for len in [0, 1, 15, 16, 17, 5000] {
            stream.extend_from_slice(&frame_of(&vec![9; len]));
        }
        for piece_len in [1, 2, 15, 16, 17, 100, 100_000] {
            let mut decoder = FrameDecoder::new(5000);
            let mut buffer = BytesMut::new();
            let mut lens = Vec::new();
            for piece in stream.chunks(piece_len) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = decoder.decode(&mut buffer).unwrap() {
                    assert_eq!(frame.header.request_id, 7);
                    lens.push(frame.payload.len());
                }
            }
            assert_eq!(lens, [0, 1, 15, 16, 17, 5000]);
            assert!(decoder.is_between_frames(&buffer));
        }
    }

    #[test]
    fn payloads_share_the_memory_of_the_buffer() {
        let mut buffer = frame_of(&[1; 64]);
        let start = buffer.as_ptr();
        let frame = FrameDecoder::new(64).decode(&mut buffer).unwrap().unwrap();
        assert_eq!(frame.payload.as_ptr(), start.wrapping_add(FrameHeader::LEN));
    }

    #[test]
    fn a_header_over_the_limit_is_refused_before_its_payload_comes() {
        let mut buffer = frame_of(&[0; 65]);
        buffer.truncate(FrameHeader::LEN);
        let error = FrameDecoder::new(64).decode(&mut buffer).unwrap_err();
        assert_eq!(error, DecodeError::FrameTooLarge { len: 65, max: 64 });
        assert!(error.fatal());
    }

    #[test]
    fn room_is_asked_for_only_as_bytes_arrive() {
        let mut buffer = frame_of(&vec![0; 4 << 20]);
        buffer.truncate(FrameHeader::LEN + 10);
        let mut buffer = BytesMut::from(&buffer[..]);
        assert_eq!(FrameDecoder::new(8 << 20).decode(&mut buffer), Ok(None));
        assert!(
            buffer.capacity() <= 64 * 1024,
            "{} bytes held",
            buffer.capacity()
        );
    }

    #[test]
    fn reserved_bits_of_the_header_are_refused() {
        for (place, bit) in [(5, 2), (5, 0x80), (6, 1), (7, 0x80)] {
            let mut buffer = frame_of(&[]);
            buffer[place] |= bit;
            let error = FrameDecoder::new(64).decode(&mut buffer).unwrap_err();
            assert!(matches!(error, DecodeError::HeaderReserved { .. }) && error.fatal());
        }
    }

    #[test]
    fn a_new_limit_holds_from_the_next_header_on() {
        let mut decoder = FrameDecoder::new(10);
        assert!(decoder.decode(&mut frame_of(&[0; 11])).is_err());
        decoder.set_payload_len_max(11);
        assert!(decoder.decode(&mut frame_of(&[0; 11])).unwrap().is_some());
    }
}
