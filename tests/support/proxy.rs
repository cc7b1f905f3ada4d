//! The network between the nodes of a test's cluster, to be cut, delayed and narrowed.
//!
//! Each node is told to its peers by the address of a proxy in this process. A connection's sender
//! is found by the process that owns its socket (`/proc`), so nothing of what travels is looked at
//! and the peers keep their encryption. Rules hold for one direction between two nodes, whoever
//! opened the connection. What is blocked is not dropped but held, as TCP would send it again; a
//! severed connection is closed on both sides.
//!
//! Invariant: a direction of a connection holds at most `CHUNK_COUNT_MAX` chunks of `CHUNK_LEN`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

const CHUNK_LEN: usize = 16 * 1024;
const CHUNK_COUNT_MAX: usize = 256;
/// A new process may be asked about before its number is known here.
const OWNER_TRIES: u32 = 20;
const OWNER_PAUSE: Duration = Duration::from_millis(10);

/// What is done to the bytes that go one way between two nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    /// Nothing passes.
    pub(crate) blocked: bool,
    /// How long every byte is under way.
    pub(crate) latency: Duration,
    pub(crate) bytes_per_second: Option<u32>,
    /// Connections that carry this direction are closed when it changes.
    severed_count: u64,
}

#[derive(Clone, Debug, Default)]
struct Links(BTreeMap<(u64, u64), Link>);

impl Links {
    fn one(&self, from: u64, to: u64) -> Link {
        self.0.get(&(from, to)).copied().unwrap_or_default()
    }

    fn severed(&self, one: u64, other: u64) -> u64 {
        self.one(one, other).severed_count + self.one(other, one).severed_count
    }
}

/// What the proxies' tasks share.
#[derive(Clone)]
struct Shared {
    links: watch::Sender<Links>,
    pids: Arc<Mutex<BTreeMap<u64, u32>>>,
}

/// See the head of the file.
pub(crate) struct Network {
    shared: Shared,
    handle: Handle,
    /// Dropped, it ends the proxies.
    _end: oneshot::Sender<()>,
}

impl Network {
    /// A network without a rule, on a thread of its own.
    pub(crate) fn new() -> Network {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            // The other side is dropped and never sends.
            drop(runtime.block_on(ended));
        });
        Network {
            shared: Shared {
                links: watch::Sender::new(Links::default()),
                pids: Arc::default(),
            },
            handle,
            _end: end,
        }
    }

    /// Begins to pass on connections to the peer port of `node`; returns where.
    pub(crate) fn add(&self, node: u64, target: SocketAddr) -> SocketAddr {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a TCP socket");
        let address = listener.local_addr().expect("it is bound");
        let shared = self.shared.clone();
        self.handle.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listening socket");
            loop {
                let Ok((stream, from)) = listener.accept().await else {
                    continue;
                };
                let route = Route {
                    from,
                    address,
                    to: node,
                    target,
                };
                tokio::spawn(pass_on(stream, route, shared.clone()));
            }
        });
        address
    }

    /// The process of a node, until told otherwise.
    pub(crate) fn set_pid(&self, node: u64, pid: u32) {
        let mut pids = self.shared.pids.lock().expect("no holder panics");
        pids.insert(node, pid);
    }

    /// Changes what happens to bytes that go from one node to another.
    pub(crate) fn change(&self, from: u64, to: u64, change: impl FnOnce(&mut Link)) {
        self.shared
            .links
            .send_modify(|links| change(links.0.entry((from, to)).or_default()));
    }

    /// Closes the connections between two nodes.
    pub(crate) fn sever(&self, one: u64, other: u64) {
        self.change(one, other, |link| link.severed_count += 1);
    }

    /// Lets everything pass again at once.
    pub(crate) fn heal(&self) {
        self.shared.links.send_modify(|links| {
            for link in links.0.values_mut() {
                let severed_count = link.severed_count;
                *link = Link {
                    severed_count,
                    ..Link::default()
                };
            }
        });
    }
}

/// Whence and where to a connection goes.
struct Route {
    from: SocketAddr,
    /// The proxy's own address.
    address: SocketAddr,
    to: u64,
    target: SocketAddr,
}

async fn pass_on(stream: TcpStream, route: Route, shared: Shared) {
    let Some(from) = owner(&route, &shared).await else {
        return;
    };
    let to = route.to;
    let mut links = shared.links.subscribe();
    let free = |links: &Links| !links.one(from, to).blocked && !links.one(to, from).blocked;
    if links.wait_for(free).await.is_err() {
        return;
    }
    // A target that is away closes the connection, which is what its peer expects.
    let Ok(target) = TcpStream::connect(route.target).await else {
        return;
    };
    let delay_off = stream.set_nodelay(true).and(target.set_nodelay(true));
    delay_off.expect("TCP sockets");
    let severed = links.borrow().severed(from, to);
    let (from_read, from_write) = stream.into_split();
    let (to_read, to_write) = target.into_split();
    let there = pump(from_read, to_write, (from, to), shared.links.subscribe());
    let back = pump(to_read, from_write, (to, from), shared.links.subscribe());
    tokio::select! {
        // A connection that failed ends like one that was closed: both sides see its end.
        _ = async { tokio::try_join!(there, back) } => {}
        _ = links.wait_for(|links| links.severed(from, to) != severed) => {}
    }
}

/// Carries bytes one way until their end.
async fn pump(
    mut read: OwnedReadHalf,
    mut write: OwnedWriteHalf,
    (from, to): (u64, u64),
    mut links: watch::Receiver<Links>,
) -> io::Result<()> {
    let (sender, mut chunks) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNK_COUNT_MAX);
    let now = links.clone();
    let take = async move {
        loop {
            let mut chunk = vec![0; CHUNK_LEN];
            let len = read.read(&mut chunk).await?;
            chunk.truncate(len);
            let due = Instant::now() + now.borrow().one(from, to).latency;
            if len == 0 || sender.send((due, chunk)).await.is_err() {
                return io::Result::Ok(());
            }
        }
    };
    let give = async move {
        while let Some((due, chunk)) = chunks.recv().await {
            tokio::time::sleep_until(due).await;
            let free = links.wait_for(|links| !links.one(from, to).blocked).await;
            let link = free.map_err(io::Error::other)?.one(from, to);
            if let Some(rate) = link.bytes_per_second {
                let seconds = chunk.len() as f64 / f64::from(rate);
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
            write.write_all(&chunk).await?;
        }
        let free = links.wait_for(|links| !links.one(from, to).blocked).await;
        drop(free.map_err(io::Error::other)?);
        write.shutdown().await
    };
    tokio::try_join!(take, give).map(drop)
}

/// The node whose process opened the connection.
async fn owner(route: &Route, shared: &Shared) -> Option<u64> {
    for _ in 0..OWNER_TRIES {
        let pids = shared.pids.lock().expect("no holder panics").clone();
        if let Some(inode) = socket_inode(route.from, route.address) {
            let owner = pids.iter().find(|(_, pid)| owns(**pid, inode));
            if let Some((node, _)) = owner {
                return Some(*node);
            }
        }
        tokio::time::sleep(OWNER_PAUSE).await;
    }
    None
}

/// The inode of the socket of 127.0.0.1 with these two addresses.
fn socket_inode(local: SocketAddr, remote: SocketAddr) -> Option<u64> {
    let hexadecimal = |address: SocketAddr| format!("0100007F:{:04X}", address.port());
    let (local, remote) = (hexadecimal(local), hexadecimal(remote));
    let table = fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let ours =
            fields.get(1) == Some(&local.as_str()) && fields.get(2) == Some(&remote.as_str());
        ours.then(|| fields.get(9)?.parse().ok()).flatten()
    })
}

fn owns(pid: u32, inode: u64) -> bool {
    let name = format!("socket:[{inode}]");
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries
        .flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|target| target.as_os_str() == name.as_str())
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};

    use super::*;

    /// Only a bound for a broken proxy.
    const FAILED_AFTER: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(200);

    /// This process is node 1 and the target is node 2.
    struct Pair {
        network: Network,
        near: std::net::TcpStream,
        far: std::net::TcpStream,
    }

    impl Pair {
        fn open() -> Pair {
            let network = Network::new();
            network.set_pid(1, std::process::id());
            let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
            let target = listener.local_addr().expect("it is bound");
            let near = std::net::TcpStream::connect(network.add(2, target)).expect("a proxy");
            let (far, _) = listener.accept().expect("the proxy connects");
            for stream in [&near, &far] {
                stream
                    .set_read_timeout(Some(FAILED_AFTER))
                    .expect("a TCP socket");
            }
            Pair { network, near, far }
        }
    }

    fn read_one(stream: &mut std::net::TcpStream) -> u8 {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("a byte comes");
        byte[0]
    }

    fn is_silent(stream: &mut std::net::TcpStream) -> bool {
        stream.set_read_timeout(Some(SHORT)).expect("a TCP socket");
        let read = stream.read(&mut [0]);
        stream
            .set_read_timeout(Some(FAILED_AFTER))
            .expect("a TCP socket");
        matches!(read, Err(error) if error.kind() == ErrorKind::WouldBlock)
    }

    #[test]
    fn bytes_pass_both_ways_and_so_does_the_end() {
        let mut pair = Pair::open();
        pair.near.write_all(b"a").expect("the proxy takes it");
        assert_eq!(read_one(&mut pair.far), b'a');
        pair.far.write_all(b"b").expect("the proxy takes it");
        assert_eq!(read_one(&mut pair.near), b'b');
        drop(pair.near);
        assert_eq!(pair.far.read(&mut [0]).expect("an end"), 0);
    }

    #[test]
    fn a_blocked_direction_holds_what_comes_and_the_other_one_goes_on() {
        let mut pair = Pair::open();
        pair.network.change(1, 2, |link| link.blocked = true);
        pair.near.write_all(b"a").expect("the proxy takes it");
        assert!(is_silent(&mut pair.far));
        pair.far.write_all(b"b").expect("the proxy takes it");
        assert_eq!(read_one(&mut pair.near), b'b');
        pair.network.heal();
        assert_eq!(read_one(&mut pair.far), b'a');
    }

    #[test]
    fn latency_is_kept() {
        let mut pair = Pair::open();
        pair.network.change(1, 2, |link| link.latency = SHORT);
        let began = std::time::Instant::now();
        pair.near.write_all(b"a").expect("the proxy takes it");
        assert_eq!(read_one(&mut pair.far), b'a');
        assert!(began.elapsed() >= SHORT);
    }

    #[test]
    fn a_narrow_link_takes_its_time() {
        let mut pair = Pair::open();
        pair.network
            .change(1, 2, |link| link.bytes_per_second = Some(5_000));
        let began = std::time::Instant::now();
        pair.near
            .write_all(&[7; 1_000])
            .expect("the proxy takes it");
        let mut bytes = [0; 1_000];
        pair.far.read_exact(&mut bytes).expect("all of it comes");
        assert!(began.elapsed() >= SHORT);
    }

    #[test]
    fn a_severed_connection_ends_on_both_sides() {
        let mut pair = Pair::open();
        pair.near.write_all(b"a").expect("the proxy takes it");
        assert_eq!(read_one(&mut pair.far), b'a');
        pair.network.sever(2, 1);
        for stream in [&mut pair.near, &mut pair.far] {
            let ended = match stream.read(&mut [0]) {
                Ok(len) => len == 0,
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            };
            assert!(ended);
        }
    }

    #[test]
    fn a_connection_of_nobody_known_is_closed() {
        let network = Network::new();
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let target = listener.local_addr().expect("it is bound");
        let mut near = std::net::TcpStream::connect(network.add(2, target)).expect("a proxy");
        near.set_read_timeout(Some(FAILED_AFTER))
            .expect("a TCP socket");
        assert_eq!(near.read(&mut [0]).expect("an end"), 0);
    }
}
