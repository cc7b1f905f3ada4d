//! Goal: whoever does not belong to the cluster is refused with a reason on both sides, and the
//! cluster goes on. Method: nodes with wrong settings beside a cluster of three, and plain bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::support::{assert_works, three_nodes, wait_for, wait_for_line};
use crate::cluster::Cluster;
use crate::cluster::node::{Launch, Node};

/// A node that is none of the cluster's: its files are below the cluster's folder.
struct Intruder {
    node: Node,
    ca: String,
}

impl Intruder {
    /// Starts it with this number and CA, and tells it to join.
    fn start(cluster: &Cluster, id: u64, ca: &str, join: &[SocketAddr]) -> Intruder {
        let node = Node::new(id, &cluster.folder().join("intruder"), "");
        let ca = cluster.folder().join(ca).display().to_string();
        let mut intruder = Intruder { node, ca };
        intruder.launch(join);
        intruder
    }

    fn launch(&mut self, join: &[SocketAddr]) {
        let options = [
            ("--node-id", self.node.id.to_string()),
            ("--dev-ca", self.ca.clone()),
            ("--peer", self.node.peer_address().to_string()),
            ("--http", self.node.http_address().to_string()),
        ];
        let joins = join.iter().map(|address| ("--join", address.to_string()));
        let words = options.into_iter().chain(joins);
        let arguments: Vec<String> = words
            .flat_map(|(name, value)| [name.to_owned(), value])
            .collect();
        let stdout = self.node.spawn(&arguments, &Launch::default());
        self.node.wait_until_ready(stdout);
    }

    /// Waits until it has logged a line with all these words.
    fn wait_for_line(&self, words: &[&str]) {
        wait_for(&format!("{words:?} in the log of the intruder"), || {
            let log = self.node.log();
            let has_words = |line: &str| words.iter().all(|word| line.contains(word));
            log.lines().any(has_words).then_some(())
        });
    }
}

fn assert_untouched(cluster: &Cluster) {
    assert_works(cluster, "orders");
    let status = cluster.status_at(1).expect("the node answers");
    assert_eq!(status.nodes.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn a_node_with_a_number_that_is_taken_is_refused_on_both_sides() {
    let cluster = three_nodes();
    let from = cluster.nodes[&1].log().len();
    let join = [cluster.nodes[&1].peer_address()];
    let intruder = Intruder::start(&cluster, 2, "ca", &join);
    intruder.wait_for_line(&["ERROR", "refused"]);
    wait_for_line(&cluster, 1, from, &["refused"]);
    assert_untouched(&cluster);
}

#[test]
fn a_node_of_another_cluster_is_refused_on_both_sides() {
    let cluster = three_nodes();
    let mut intruder = Intruder::start(&cluster, 4, "ca", &[]);
    let address = intruder.node.client_address().to_string();
    let begun = cluster.cli_at(&address, &["cluster", "init"]);
    assert_eq!(begun.code, Some(0), "{begun:?}");
    assert!(intruder.node.terminate().success());
    let from = cluster.nodes[&1].log().len();
    intruder.launch(&[cluster.nodes[&1].peer_address()]);
    intruder.wait_for_line(&["ERROR", "cluster"]);
    wait_for_line(&cluster, 1, from, &["refused"]);
    assert_untouched(&cluster);
}

#[test]
fn a_node_with_a_certificate_of_another_ca_is_refused_on_both_sides() {
    let cluster = three_nodes();
    let from = cluster.nodes[&1].log().len();
    let join = [cluster.nodes[&1].peer_address()];
    let intruder = Intruder::start(&cluster, 4, "other-ca", &join);
    intruder.wait_for_line(&["certificate"]);
    wait_for_line(&cluster, 1, from, &["certificate"]);
    assert_untouched(&cluster);
}

#[test]
fn an_address_where_nobody_is_costs_a_joining_node_a_line_in_its_log() {
    let cluster = three_nodes();
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let intruder = Intruder::start(&cluster, 4, "ca", &[nobody]);
    intruder.wait_for_line(&["127.0.0.1:1"]);
    assert_untouched(&cluster);
}

#[test]
fn garbage_on_the_peer_port_closes_that_connection_only() {
    let cluster = three_nodes();
    let before = cluster.status_at(1).expect("the node answers");
    for bytes in [
        &[0; 4_096][..],
        &[0xff; 4_096],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 3, 1, 0xff],
    ] {
        let mut stream = TcpStream::connect(cluster.nodes[&1].peer_address()).expect("it listens");
        let timeout = stream.set_read_timeout(Some(Duration::from_secs(60)));
        timeout.expect("a TCP socket");
        // It may be closed before all is written.
        drop(stream.write_all(bytes));
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
        }
    }
    let after = cluster.status_at(1).expect("the node answers");
    assert_eq!(after.nodes, before.nodes, "connected as before");
    assert_untouched(&cluster);
}
