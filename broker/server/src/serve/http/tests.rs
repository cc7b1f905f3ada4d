//! Goal: every request is answered or cut off, whatever it is. Method: bytes over real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use sampan_cluster::{Health, NodeMetrics};

use super::*;

const LIVEZ: &str = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
/// Longer than any test takes; only a bound for a broken endpoint.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Source {
    is_unwell: AtomicBool,
}

impl HealthSource for Source {
    fn live(&self) -> Health {
        Health::Yes
    }

    fn ready(&self) -> Health {
        match self.is_unwell.load(Ordering::Relaxed) {
            false => Health::Yes,
            true => Health::No("set 3 has no leader".to_owned()),
        }
    }

    fn quorum(&self) -> Health {
        self.ready()
    }

    fn connection_count(&self) -> usize {
        0
    }

    fn metrics(&self) -> BoxFuture<'static, NodeMetrics> {
        match self.is_unwell.load(Ordering::Relaxed) {
            false => async { NodeMetrics::default() }.boxed(),
            true => std::future::pending().boxed(),
        }
    }
}

/// An endpoint that gives nobody much time, so that a test need not wait long.
fn start_impatient() -> (HttpServer, Arc<Source>) {
    start_with(Duration::from_millis(200))
}

fn start() -> (HttpServer, Arc<Source>) {
    start_with(PATIENCE)
}

fn start_with(time_max: Duration) -> (HttpServer, Arc<Source>) {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let source = Arc::new(Source::default());
    let server = HttpServer::start_with(listener, source.clone(), time_max);
    (server.unwrap(), source)
}

fn connect(server: &HttpServer) -> TcpStream {
    let stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything that comes until the endpoint closes the connection.
fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8(bytes).unwrap()
}

fn exchange(server: &HttpServer, request: &str) -> String {
    let mut stream = connect(server);
    // It may be closed before the request is written; then there is no answer either.
    drop(stream.write_all(request.as_bytes()));
    rest(&mut stream)
}

fn get(server: &HttpServer, path: &str) -> String {
    exchange(server, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"))
}

#[track_caller]
fn assert_status(answer: &str, status: &str) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status}")),
        "{answer:?}"
    );
}

#[test]
fn a_well_node_says_ok_and_an_unwell_one_why_not() {
    let (server, source) = start();
    for path in ["/livez", "/readyz", "/quorum"] {
        let answer = get(&server, path);
        assert_status(&answer, "200");
        assert!(answer.ends_with("\r\n\r\nok\n"), "{answer:?}");
    }
    let answer = get(&server, "/metrics?x=y");
    assert_status(&answer, "200");
    assert!(answer.contains("version=0.0.4"), "{answer:?}");
    assert!(answer.contains("\nsampan_connections 0\n"), "{answer:?}");
    source.is_unwell.store(true, Ordering::Relaxed);
    assert_status(&get(&server, "/livez"), "200");
    for path in ["/readyz", "/quorum"] {
        let answer = get(&server, path);
        assert_status(&answer, "503");
        assert!(
            answer.ends_with("\r\n\r\nset 3 has no leader\n"),
            "{answer:?}"
        );
    }
    server.stop().unwrap();
}

#[test]
fn figures_that_do_not_come_are_not_waited_for() {
    let (server, source) = start_impatient();
    source.is_unwell.store(true, Ordering::Relaxed);
    let answer = get(&server, "/metrics");
    assert_status(&answer, "503");
    assert!(answer.contains("in time"), "{answer:?}");
    server.stop().unwrap();
}

#[test]
fn other_paths_and_methods_are_refused() {
    let (server, _) = start();
    for path in ["/", "/livez/", "/metrics2", "//livez"] {
        assert_status(&get(&server, path), "404");
    }
    let answer = exchange(&server, "POST /livez HTTP/1.1\r\nContent-Length: 0\r\n\r\n");
    assert_status(&answer, "405");
    assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer:?}");
    let answer = exchange(&server, "HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_status(&answer, "200");
    assert!(answer.ends_with("\r\n\r\n"), "{answer:?}");
    server.stop().unwrap();
}

#[test]
fn what_is_no_request_is_refused_and_hurts_nobody_else() {
    let (server, _) = start();
    let mut bad = connect(&server);
    bad.write_all(b"\x16\x03\x01 nonsense\r\n\r\n").unwrap();
    let answer = rest(&mut bad);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
        "{answer:?}"
    );
    let long = format!(
        "GET /livez HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(64 * 1024)
    );
    let mut stream = connect(&server);
    // The endpoint may close before it has read all of this.
    drop(stream.write_all(long.as_bytes()));
    let answer = rest(&mut stream);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer:?}"
    );
    assert_status(&get(&server, "/livez"), "200");
    server.stop().unwrap();
}

#[test]
fn a_client_that_does_not_finish_its_request_is_cut_off() {
    let (server, _) = start_impatient();
    let mut slow = connect(&server);
    slow.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
    let answer = rest(&mut slow);
    assert!(!answer.contains("200"), "{answer:?}");
    server.stop().unwrap();
}

#[test]
fn connections_are_bounded() {
    let (server, _) = start();
    let mut held: Vec<_> = (0..HTTP_CONNECTION_COUNT_MAX)
        .map(|_| {
            let mut stream = connect(&server);
            stream.write_all(b"GET /livez").unwrap();
            stream
        })
        .collect();
    // Connections are accepted in their order: all held ones have been when this one is.
    let mut further = connect(&server);
    // It may be closed before it has said anything.
    drop(further.write_all(LIVEZ.as_bytes()));
    assert_eq!(rest(&mut further), "");
    // Room comes back with the first that ends.
    held[0].write_all(b" HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert_status(&rest(&mut held[0]), "200");
    drop(held);
    let began = std::time::Instant::now();
    while !exchange(&server, LIVEZ).starts_with("HTTP/1.1 200") {
        assert!(began.elapsed() < PATIENCE, "no room came back");
    }
    server.stop().unwrap();
}
