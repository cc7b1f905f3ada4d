//! The server: one thread for all sockets, one that writes the log, one that hears each follower.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, SyncSender};

use anyhow::Context;
use bytes::{Buf, BufMut, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::follower;
use super::log::Log;
use super::part::say;

/// Length of what stands before a body.
const HEAD_LEN: usize = 12;
/// A batch takes no more in once it is that long.
const BATCH_LEN: usize = 4 << 20;
/// Bursts that may wait for the log.
const BURSTS_WAITING_MAX: usize = 4_096;
/// Room for one read of a socket.
const READ_LEN: usize = 256 << 10;

/// Whole frames of one read, and who is told when they are synced.
struct Burst {
    frames: Vec<u8>,
    ids: Vec<u64>,
    synced: UnboundedSender<Vec<u64>>,
}

/// Serves until the process is ended.
pub(super) fn run(log: &Path, followers: &[SocketAddr]) -> anyhow::Result<()> {
    let log = Log::create(log)?;
    let followers = Followers::connect(followers)?;
    let (bursts, waiting) = mpsc::sync_channel(BURSTS_WAITING_MAX);
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_log(log, followers, &waiting).expect("a log or follower failed"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        say(&listener.local_addr()?.to_string())?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (reader, writer) = stream.into_split();
            let (synced, to_write) = unbounded_channel();
            tokio::spawn(acknowledge(writer, to_write));
            tokio::spawn(take_in(reader, bursts.clone(), synced));
        }
    })
}

/// Reads frames and hands those of each read to the log.
async fn take_in(
    mut reader: OwnedReadHalf,
    bursts: SyncSender<Burst>,
    synced: UnboundedSender<Vec<u64>>,
) {
    let mut buffer = BytesMut::with_capacity(4 * READ_LEN);
    loop {
        buffer.reserve(READ_LEN);
        // A client that goes is at its end.
        if !matches!(reader.read_buf(&mut buffer).await, Ok(len) if len > 0) {
            return;
        }
        let (ids, len) = whole_frames(&buffer);
        if len == 0 {
            continue;
        }
        let burst = Burst {
            frames: buffer[..len].to_vec(),
            ids,
            synced: synced.clone(),
        };
        buffer.advance(len);
        if bursts.send(burst).is_err() {
            return;
        }
    }
}

/// The ids of all frames that are there as a whole, and the length of these frames.
fn whole_frames(mut bytes: &[u8]) -> (Vec<u64>, usize) {
    let (mut ids, len_before) = (Vec::new(), bytes.len());
    while bytes.len() >= HEAD_LEN {
        let mut head = bytes;
        let body_len = head.get_u32_le();
        let body_len = usize::try_from(body_len).expect("a usize has 32 bits at least");
        let Some(rest) = bytes.get(HEAD_LEN + body_len..) else {
            break;
        };
        ids.push(head.get_u64_le());
        bytes = rest;
    }
    (ids, len_before - bytes.len())
}

/// Writes what is synced, as much at a time as there is.
async fn acknowledge(mut writer: OwnedWriteHalf, mut synced: UnboundedReceiver<Vec<u64>>) {
    let mut out = BytesMut::new();
    while let Some(ids) = synced.recv().await {
        out.clear();
        put(&mut out, &ids);
        while let Ok(ids) = synced.try_recv() {
            put(&mut out, &ids);
        }
        if writer.write_all(&out).await.is_err() {
            return;
        }
    }
}

fn put(out: &mut BytesMut, ids: &[u64]) {
    ids.iter().for_each(|id| out.put_u64_le(*id));
}

/// Makes what waits durable, one batch after the other.
fn write_log(
    mut log: Log,
    mut followers: Followers,
    waiting: &Receiver<Burst>,
) -> anyhow::Result<()> {
    let mut told = Vec::new();
    while let Ok(first) = waiting.recv() {
        let mut batch = first.frames;
        told.push((first.synced, first.ids));
        while batch.len() < BATCH_LEN
            && let Ok(next) = waiting.try_recv()
        {
            batch.extend_from_slice(&next.frames);
            told.push((next.synced, next.ids));
        }
        followers.send(&batch)?;
        log.append(&mut batch)?;
        followers.wait()?;
        for (synced, ids) in told.drain(..) {
            // The client may be gone.
            drop(synced.send(ids));
        }
    }
    Ok(())
}

/// The other replicas; without any, the server's own log is enough.
struct Followers {
    streams: Vec<TcpStream>,
    synced: Receiver<u64>,
    /// Of the latest batch.
    number: u64,
    /// Up to here one of them has synced.
    synced_number: u64,
}

impl Followers {
    fn connect(addresses: &[SocketAddr]) -> anyhow::Result<Self> {
        let (sender, synced) = mpsc::channel();
        let mut streams = Vec::new();
        for address in addresses {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            let (mut answers, sender) = (stream.try_clone()?, sender.clone());
            std::thread::Builder::new()
                .name("follower".to_owned())
                .spawn(move || {
                    let mut number = [0; 8];
                    while answers.read_exact(&mut number).is_ok()
                        && sender.send(u64::from_le_bytes(number)).is_ok()
                    {}
                })?;
            streams.push(stream);
        }
        Ok(Followers {
            streams,
            synced,
            number: 0,
            synced_number: 0,
        })
    }

    fn send(&mut self, batch: &[u8]) -> anyhow::Result<()> {
        self.number += 1;
        for stream in &mut self.streams {
            stream.write_all(&follower::encode(self.number, batch.len()))?;
            stream.write_all(batch)?;
        }
        Ok(())
    }

    /// Waits until one of them has synced the latest batch.
    fn wait(&mut self) -> anyhow::Result<()> {
        while !self.streams.is_empty() && self.synced_number < self.number {
            let number = self.synced.recv().context("the followers are gone")?;
            self.synced_number = self.synced_number.max(number);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: u64, body_len: u32) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.put_u32_le(body_len);
        frame.put_u64_le(id);
        frame.resize(HEAD_LEN + usize::try_from(body_len).expect("small"), 7);
        frame
    }

    #[test]
    fn only_whole_frames_are_taken() {
        let (first, second) = (frame(5, 20), frame(6, 30));
        let both = [first.clone(), second].concat();
        assert_eq!(whole_frames(&both), (vec![5, 6], both.len()));
        assert_eq!(
            whole_frames(&both[..both.len() - 1]),
            (vec![5], first.len())
        );
        assert_eq!(whole_frames(&first[..HEAD_LEN]), (vec![], 0));
        assert_eq!(whole_frames(&first[..3]), (vec![], 0));
    }
}
