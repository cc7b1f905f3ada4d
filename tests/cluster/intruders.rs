//! Goal: whoever does not belong to the cluster is refused with a reason on both sides, and the
//! cluster goes on. Method: nodes with wrong settings beside a cluster of three, and plain bytes.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::support::{assert_works, three_nodes, wait_for_line};
use crate::cluster::Cluster;
use crate::cluster::node::{Launch, Node};
use crate::patience::wait_for;

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

/// Gives a stopped node a certificate of the cluster's CA that was good until five years ago.
fn let_certificate_expire(cluster: &Cluster, id: u64) {
    let authority = fs::read_to_string(cluster.folder().join("ca/dev-ca-key.pem"));
    let authority = authority.expect("the nodes share a CA");
    let key_at = authority.find("-----BEGIN PRIVATE KEY-----");
    let (certificate, key) = authority.split_at(key_at.expect("the CA's key is there"));
    let key = KeyPair::from_pem(key).expect("it is a key");
    let public = key.public_key_raw();
    let mark: String = public[1..5].iter().map(|b| format!("{b:02x}")).collect();
    let mut issuer = CertificateParams::default();
    let name = format!("Sampan development CA {mark}");
    issuer.distinguished_name.push(DnType::CommonName, name);
    let issuer = Issuer::new(issuer, key);
    let names = vec![format!("node-{id}.peer.sampan")];
    let mut params = CertificateParams::new(names).expect("it is a name");
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let own = params.signed_by(&key, &issuer).expect("a certificate");
    let data = cluster.nodes[&id].data();
    let written = fs::write(data.join("dev-peer.pem"), own.pem() + certificate);
    written.expect("the certificate can be replaced");
    let written = fs::write(data.join("dev-peer-key.pem"), key.serialize_pem());
    written.expect("and its key");
}

#[test]
fn a_node_whose_certificate_has_expired_is_refused_on_both_sides() {
    let mut cluster = three_nodes();
    assert_works(&cluster, "orders");
    let node = cluster.nodes.get_mut(&3).expect("a node");
    assert!(node.terminate().success());
    let_certificate_expire(&cluster, 3);
    let (ours, theirs) = (cluster.nodes[&1].log().len(), cluster.nodes[&3].log().len());
    cluster.launch(3, &Launch::default());
    wait_for_line(&cluster, 1, ours, &["its certificate has expired"]);
    wait_for_line(&cluster, 3, theirs, &["refused this node's certificate"]);
    assert_untouched(&cluster);
}

/// A connection to a node by the certificate of another.
fn connect_with(data: &Path, address: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    let certificate = data.join("dev-peer.pem");
    let chain = CertificateDer::pem_file_iter(&certificate).expect("it can be read");
    let chain: Result<Vec<_>, _> = chain.collect();
    let chain = chain.expect("certificates");
    let key = PrivateKeyDer::from_pem_file(data.join("dev-peer-key.pem")).expect("its key");
    let mut roots = RootCertStore::empty();
    let authority = chain.last().expect("it ends with the CA").clone();
    roots.add(authority).expect("a CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("they belong together");
    let name = ServerName::try_from("node-1.peer.sampan").expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let stream = TcpStream::connect(address).expect("it listens");
    let timeout = stream.set_read_timeout(Some(Duration::from_secs(60)));
    timeout.expect("a TCP socket");
    StreamOwned::new(connection, stream)
}

/// The bytes of a frame of `spec/vectors/peer/frames.txt`.
fn golden_frame(title: &str) -> Vec<u8> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../spec/vectors/peer/frames.txt"
    );
    let text = fs::read_to_string(path).expect("the vectors are there");
    let (_, vector) = text.split_once(title).expect("there is this one");
    let (_, bytes) = vector.split_once("-- bytes\n").expect("it has bytes");
    let (bytes, _) = bytes.split_once("-- fields").expect("then fields");
    let lines = bytes.lines().filter_map(|line| line.split('#').next());
    let digits = lines.flat_map(str::split_whitespace);
    let bytes = digits.map(|digits| u8::from_str_radix(digits, 16).expect("a byte"));
    bytes.collect()
}

#[test]
fn a_peer_of_an_unknown_version_is_told_so_and_so_is_the_operator() {
    let cluster = three_nodes();
    // A node of the cluster's CA that knows nobody; only its certificate is used.
    let mut intruder = Intruder::start(&cluster, 4, "ca", &[]);
    assert!(intruder.node.terminate().success());
    let from = cluster.nodes[&1].log().len();
    let mut stream = connect_with(&intruder.node.data(), cluster.nodes[&1].peer_address());
    let hello = golden_frame("== hello of a node that speaks later versions only");
    stream.write_all(&hello).expect("the greeting can be sent");
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    read.expect("the node closes the connection in order");
    let answer = String::from_utf8_lossy(&answer);
    let reason = "speaks versions 9 to 9 of the peer protocol";
    assert!(answer.contains(reason), "{answer:?}");
    wait_for_line(&cluster, 1, from, &["WARN", "a peer is refused", reason]);
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
