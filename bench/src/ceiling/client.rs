//! The client: keeps a window of unacknowledged frames full on each connection, on one thread.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Ceiling;
use super::part::say;
use crate::meter::{Latencies, SAMPLE_EVERY};
use crate::report::{per_second, rounded};

/// One write has no more than about this.
const WRITE_LEN: usize = 256 << 10;
/// Room for acknowledgements.
const READ_LEN: usize = 64 << 10;
/// Length of an acknowledgement.
const ACK_LEN: usize = 8;

/// What to send.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) replicas: u32,
    pub(super) connections: u32,
    pub(super) window: u32,
    pub(super) body: u32,
    pub(super) seconds: u32,
}

/// Sends for so long, and says what came out.
pub(super) fn run(server: SocketAddr, load: Load) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let began_at = Instant::now();
    let until = began_at + Duration::from_secs(load.seconds.into());
    let (messages, latencies) = runtime.block_on(async {
        let connections = (0..load.connections).map(|_| tokio::spawn(send(server, load, until)));
        let (mut messages, mut latencies) = (0, Latencies::new());
        for done in futures::future::join_all(connections).await {
            let (count, took) = done??;
            messages += count;
            latencies.merge(&took);
        }
        anyhow::Ok((messages, latencies))
    })?;
    let time = began_at.elapsed();
    let ceiling = Ceiling {
        replicas: load.replicas,
        connections: load.connections,
        window: load.window,
        body_bytes: load.body,
        seconds: rounded(time.as_secs_f64()),
        messages,
        msgs_per_s: per_second(messages, time),
        send_us: latencies.quantiles(),
    };
    say(&serde_json::to_string(&ceiling)?)
}

/// One connection: how many frames were acknowledged, and how long a sample of them took.
async fn send(server: SocketAddr, load: Load, until: Instant) -> anyhow::Result<(u64, Latencies)> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let window = usize::try_from(load.window)?;
    // With one at a time there is time to look at each.
    let sample_every = if window == 1 { 1 } else { SAMPLE_EVERY };
    let body = vec![7; usize::try_from(load.body)?];
    let (mut out, mut acks) = (BytesMut::new(), BytesMut::with_capacity(READ_LEN));
    let mut under_way: VecDeque<Instant> = VecDeque::with_capacity(window);
    let (mut id, mut count, mut latencies) = (0, 0, Latencies::new());
    while Instant::now() < until {
        while under_way.len() < window && out.len() < WRITE_LEN {
            out.put_u32_le(load.body);
            out.put_u64_le(id);
            out.put_slice(&body);
            under_way.push_back(Instant::now());
            id += 1;
        }
        stream.write_all(&out).await?;
        out.clear();
        if under_way.len() < window {
            continue;
        }
        acks.reserve(ACK_LEN);
        stream.read_buf(&mut acks).await?;
        let acknowledged = acks.len() / ACK_LEN;
        acks.advance(acknowledged * ACK_LEN);
        for began_at in under_way.drain(..acknowledged) {
            count += 1;
            if u64::is_multiple_of(count, sample_every) {
                latencies.record(began_at.elapsed());
            }
        }
    }
    Ok((count, latencies))
}
