//! Writes what waits on a connection, as much at a time as there is.
//!
//! Pieces go out as they lie in memory, by vectored writes; a transport that cannot do those gets
//! small pieces gathered into one buffer.

use std::cell::RefCell;
use std::io::{self, IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::frame::{OutFrame, Pulse};
use super::limits::PULSE_INTERVAL;
use super::outbox::{Lanes, Outgoing};
use super::pending::PendingTable;
use crate::grid;

/// Pieces of one vectored write.
const SLICE_COUNT_MAX: usize = 64;
/// Without vectored writes: pieces up to this length are copied together.
const COALESCE_LEN_MAX: usize = 16 * 1024;

/// Writes until writing fails. `pulse` makes the next pulse.
pub(crate) async fn run<W: AsyncWrite + Unpin>(
    writer: &mut W,
    lanes: &mut Lanes,
    pending: &RefCell<PendingTable>,
    mut pulse: impl FnMut() -> Pulse,
) -> io::Error {
    let mut ticks = grid::interval(PULSE_INTERVAL);
    let mut batch: Vec<Outgoing> = Vec::new();
    let mut pieces: Vec<Bytes> = Vec::new();
    loop {
        tokio::select! {
            biased;
            _ = ticks.tick() => {
                put_pieces(&mut pieces, pulse().encode());
                let ended = pending.borrow_mut().sweep();
                ended.into_iter().for_each(|frame| put_pieces(&mut pieces, frame));
            }
            () = lanes.gather(&mut batch) => {}
        }
        // Room in the bounds is given back when the bytes are written, so it lives until then.
        let mut permits = Vec::with_capacity(batch.len());
        for outgoing in batch.drain(..) {
            let is_wanted = pending
                .borrow_mut()
                .on_write(&outgoing.frame, outgoing.pending);
            if is_wanted {
                permits.push(outgoing.permit);
                put_pieces(&mut pieces, outgoing.frame);
            }
        }
        if let Err(error) = write_pieces(writer, &mut pieces).await {
            return error;
        }
    }
}

/// Writes one frame.
pub(crate) async fn write_frame<W: AsyncWrite + Unpin>(
    writer: &mut W,
    frame: OutFrame,
) -> io::Result<()> {
    let mut pieces = Vec::new();
    put_pieces(&mut pieces, frame);
    write_pieces(writer, &mut pieces).await
}

fn put_pieces(pieces: &mut Vec<Bytes>, frame: OutFrame) {
    pieces.push(frame.start);
    pieces.extend(frame.rest.into_iter().filter(|piece| !piece.is_empty()));
}

async fn write_pieces<W: AsyncWrite + Unpin>(
    writer: &mut W,
    pieces: &mut Vec<Bytes>,
) -> io::Result<()> {
    if writer.is_write_vectored() {
        write_vectored(writer, pieces).await?;
    } else {
        write_coalesced(writer, pieces).await?;
    }
    pieces.clear();
    writer.flush().await
}

async fn write_vectored<W: AsyncWrite + Unpin>(
    writer: &mut W,
    pieces: &mut [Bytes],
) -> io::Result<()> {
    let mut at = 0;
    while at < pieces.len() {
        let slices: Vec<_> = pieces[at..]
            .iter()
            .take(SLICE_COUNT_MAX)
            .map(|piece| IoSlice::new(piece))
            .collect();
        let mut written = writer.write_vectored(&slices).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while at < pieces.len() && written >= pieces[at].len() {
            written -= pieces[at].len();
            at += 1;
        }
        if written > 0 {
            pieces[at].advance(written);
        }
    }
    Ok(())
}

async fn write_coalesced<W: AsyncWrite + Unpin>(
    writer: &mut W,
    pieces: &[Bytes],
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    for piece in pieces {
        if buffer.len() + piece.len() > COALESCE_LEN_MAX && !buffer.is_empty() {
            writer.write_all(&buffer).await?;
            buffer.clear();
        }
        if piece.len() > COALESCE_LEN_MAX {
            writer.write_all(piece).await?;
        } else {
            buffer.put_slice(piece);
        }
    }
    writer.write_all(&buffer).await
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use super::*;

    /// Takes at most `len_max` bytes at a time.
    struct Narrow {
        taken: Vec<u8>,
        len_max: usize,
        is_vectored: bool,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let len = bytes.len().min(self.len_max);
            self.taken.extend_from_slice(&bytes[..len]);
            Poll::Ready(Ok(len))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut len = 0;
            for slice in slices {
                let taken = slice.len().min(self.len_max - len);
                self.taken.extend_from_slice(&slice[..taken]);
                len += taken;
            }
            Poll::Ready(Ok(len))
        }

        fn is_write_vectored(&self) -> bool {
            self.is_vectored
        }
    }

    #[tokio::test]
    async fn pieces_arrive_in_order_however_few_bytes_are_taken_at_a_time() {
        let lens = (0..100).map(|n| if n % 10 == 0 { 20_000 } else { n + 1 });
        let pieces: Vec<_> = lens.map(|len| Bytes::from(vec![len as u8; len])).collect();
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.to_vec()).collect();
        for is_vectored in [true, false] {
            for len_max in [7, 1000, 20_000, 1 << 20] {
                let taken = Vec::new();
                let mut writer = Narrow {
                    taken,
                    len_max,
                    is_vectored,
                };
                write_pieces(&mut writer, &mut pieces.clone())
                    .await
                    .unwrap();
                assert!(
                    writer.taken == all,
                    "vectored {is_vectored}, {len_max} at a time"
                );
            }
        }
    }
}
