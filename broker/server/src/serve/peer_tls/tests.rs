//! Goal: only a node gets in, and both ends say why another did not. Method: real sockets, and
//! certificates of a CA made for the test.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        Authority { folder, issuer }
    }

    fn files(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> PeerTlsFiles {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let place = |end: &str| {
            let number = rand::random::<u64>();
            self.folder.path().join(format!("{number:016x}.{end}"))
        };
        let (certificate_file, key_file) = (place("pem"), place("key"));
        std::fs::write(&certificate_file, certificate.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        PeerTlsFiles {
            certificate: certificate_file,
            key: key_file,
            ca: self.folder.path().join("ca.pem"),
        }
    }

    fn node(&self, node: u64) -> TlsTransport {
        let files = self.files(&[&node_name(node)], |_| {});
        fixed(PeerTls::load(&files, node).unwrap())
    }

    /// A certificate that [`PeerTls::load`] would not take for one of a node.
    fn stranger(&self, files: &PeerTlsFiles) -> TlsTransport {
        let chain = certificates(&files.certificate).unwrap();
        let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.folder.path().join("ca.pem")).unwrap() {
            roots.add(certificate).unwrap();
        }
        let roots = Arc::new(roots);
        fixed(PeerTls {
            certificates: chain.clone(),
            acceptor: acceptor(roots.clone(), chain.clone(), key.clone_key()).unwrap(),
            connector: connector(roots, chain, key).unwrap(),
        })
    }
}

fn fixed(tls: PeerTls) -> TlsTransport {
    TlsTransport::new(watch::channel(tls).1)
}

/// What a connection came to at both ends: the node that connected, and what the connecting end
/// read; or the errors.
fn meet(
    connecting: &TlsTransport,
    accepting: &TlsTransport,
    expected: Option<u64>,
) -> (Result<Option<u64>, String>, Result<String, String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accept = async {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut stream, node) = accepting.accept(stream).await?;
            stream.write_all(b"hello").await?;
            stream.shutdown().await?;
            io::Result::Ok(node)
        };
        let connect = async {
            let mut stream = connecting.connect(expected, &address).await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            io::Result::Ok(text)
        };
        let (accepted, connected) = tokio::join!(accept, connect);
        let text = |error: io::Error| error.to_string();
        (accepted.map_err(text), connected.map_err(text))
    })
}

#[test]
fn nodes_of_one_ca_meet_and_know_each_other() {
    let authority = Authority::new("one");
    let (one, two) = (authority.node(1), authority.node(2));
    for expected in [Some(2), None] {
        let (accepted, connected) = meet(&one, &two, expected);
        assert_eq!(accepted, Ok(Some(1)));
        assert_eq!(connected, Ok("hello".to_owned()));
    }
}

#[test]
fn a_node_that_was_not_called_is_refused() {
    let authority = Authority::new("one");
    let (accepted, connected) = meet(&authority.node(1), &authority.node(2), Some(3));
    let error = connected.unwrap_err();
    assert!(error.contains("node 3 at 127.0.0.1:"), "{error}");
    assert!(error.contains("that of node 2"), "{error}");
    assert!(accepted.unwrap_err().contains("refused this node's"));
}

#[test]
fn certificates_of_another_ca_are_refused_at_both_ends() {
    let (one, two) = (Authority::new("one"), Authority::new("two"));
    let (accepted, connected) = meet(&one.node(1), &two.node(2), Some(2));
    assert!(connected.unwrap_err().contains("is foreign"));
    let error = accepted.unwrap_err();
    assert!(error.contains("the peer at 127.0.0.1:"), "{error}");
    assert!(error.contains("refused this node's certificate"), "{error}");
}

#[test]
fn certificates_without_a_nodes_name_do_not_open_the_port() {
    let authority = Authority::new("one");
    let node = authority.node(2);
    for names in [&["localhost"][..], &["*.peer.sampan"], &[]] {
        let stranger = authority.stranger(&authority.files(names, |_| {}));
        let (accepted, connected) = meet(&stranger, &node, Some(2));
        let error = accepted.unwrap_err();
        assert!(error.contains("names no node"), "{names:?}: {error}");
        let error = connected.unwrap_err();
        assert!(error.contains("node 2 at"), "{names:?}: {error}");
        assert!(error.contains("refused this node's"), "{names:?}: {error}");
        let (_, connected) = meet(&node, &stranger, None);
        assert!(
            connected.unwrap_err().contains("names no node"),
            "{names:?}"
        );
    }
    let both = ["node-1.peer.sampan", "node-3.peer.sampan"];
    let stranger = authority.stranger(&authority.files(&both, |_| {}));
    assert!(
        meet(&stranger, &node, None)
            .0
            .unwrap_err()
            .contains("more than one")
    );
}

#[test]
fn an_expired_certificate_is_refused_at_both_ends() {
    let authority = Authority::new("one");
    let files = authority.files(&["node-1.peer.sampan"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let old = fixed(PeerTls::load(&files, 1).unwrap());
    let node = authority.node(2);
    let (accepted, connected) = meet(&old, &node, Some(2));
    assert!(accepted.unwrap_err().contains("has expired"));
    assert!(connected.unwrap_err().contains("refused this node's"));
    assert!(
        meet(&node, &old, Some(1))
            .1
            .unwrap_err()
            .contains("has expired")
    );
}

#[test]
fn a_certificate_that_is_for_servers_only_opens_no_port() {
    let authority = Authority::new("one");
    let files = authority.files(&["node-1.peer.sampan"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let (accepted, _) = meet(&authority.stranger(&files), &authority.node(2), None);
    assert!(accepted.is_err());
}

#[test]
fn a_peer_without_tls_is_told_from_a_broken_one() {
    let authority = Authority::new("one");
    let node = authority.node(1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let Err(error) = node.accept(stream).await else {
            panic!("plain text was taken for TLS");
        };
        assert!(error.to_string().contains("does not speak TLS"), "{error}");
    });
}

#[test]
fn files_for_another_node_are_refused_before_anything_is_opened() {
    let authority = Authority::new("one");
    let files = authority.files(&["node-1.peer.sampan"], |_| {});
    let Err(error) = PeerTls::load(&files, 2) else {
        panic!("taken");
    };
    assert!(error.to_string().contains("node-2.peer.sampan"), "{error}");
}

#[test]
fn a_new_certificate_is_used_for_the_next_connection() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let load = |authority: &Authority, node| {
        let files = authority.files(&[&node_name(node)], |_| {});
        PeerTls::load(&files, node).unwrap()
    };
    let (swap, current) = watch::channel(load(&old, 1));
    let (one, two) = (TlsTransport::new(current), new.node(2));
    assert!(meet(&one, &two, Some(2)).1.is_err());
    swap.send_replace(load(&new, 1));
    assert_eq!(meet(&one, &two, Some(2)).0, Ok(Some(1)));
}
