use super::*;

fn with(text: &str, arguments: ServeArguments) -> anyhow::Result<Config> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sampan.toml");
    std::fs::write(&path, text).unwrap();
    load(&ServeArguments {
        config: Some(path),
        ..arguments
    })
}

fn with_file(text: &str) -> anyhow::Result<Config> {
    with(text, ServeArguments::default())
}

/// The whole chain of causes.
fn refusal(text: &str, arguments: ServeArguments) -> String {
    match with(text, arguments) {
        Ok(_) => panic!("taken: {text}"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn without_dev_accounts_and_certificates_must_be_named() {
    let config = with_file("").unwrap();
    assert!(config.accounts(None).is_err());
    let error = config.client_tls(None).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    let text = "certificate = \"c.pem\"\nkey = \"k.pem\"\n\
        [peer]\nlisten = \"10.0.0.1\"\ncertificate = \"c\"\nkey = \"k\"\nca = \"a\"\n\
        [[accounts]]\nsecret_id = \"AKID1\"\nsecret_key = \"k\"\n";
    let config = with_file(text).unwrap();
    assert!(config.accounts(None).is_ok());
    assert!(config.client_tls(None).unwrap().is_some());
    assert!(config.peer_tls(None).unwrap().is_some());
    let error = with_file("[peer]\nlisten = \"10.0.0.1\"\n").unwrap();
    let error = error.peer_tls(None).unwrap_err();
    assert!(error.to_string().contains("[peer]"), "{error}");
}

#[test]
fn tls_is_off_for_those_that_it_is_said_of() {
    let peer = "[peer]\nlisten = \"10.0.0.1\"\n";
    for text in ["tls = false\n", "tls = \"off\"\n"] {
        let config = with_file(&format!("{text}{peer}")).unwrap();
        assert_eq!(config.tls, TlsMode::Off);
        assert!(config.client_tls(None).unwrap().is_none());
        assert!(config.peer_tls(None).unwrap().is_none());
    }
    let config = with_file(&format!("tls = \"client-only\"\n{peer}")).unwrap();
    assert_eq!(config.tls, TlsMode::ClientOnly);
    assert!(config.client_tls(None).is_err());
    assert!(config.peer_tls(None).unwrap().is_none());
    assert_eq!(with_file("tls = true\n").unwrap().tls, TlsMode::On);
    assert!(with_file("tls = \"peers\"\n").is_err());
}

#[test]
fn an_unknown_key_is_refused() {
    assert!(with_file("lisen = \"127.0.0.1:1\"\n").is_err());
    assert!(with_file("[storage]\nfree = 1\n").is_err());
    assert!(with_file("[peer]\nport = 1\n").is_err());
}

#[test]
fn arguments_win_over_the_file() {
    let text = "cores = 3\nlisten = \"127.0.0.1:1\"\ntls = false\nnode_id = 2\nzone = \"a\"\n\
        sets = 7\nlog_kept_len = 10\nsnapshot_rate = 11\n[http]\nlisten = \"127.0.0.1\"\n\
        [peer]\nlisten = \"127.0.0.1:5\"\njoin = [\"a:1\"]\n";
    let config = with_file(text).unwrap();
    assert_eq!((config.node_id, config.zone.as_str()), (2, "a"));
    assert_eq!((config.set_count, config.log_kept_len), (Some(7), Some(10)));
    assert_eq!(config.snapshot_rate, Some(11));
    assert_eq!(config.peer.unwrap().join, ["a:1"]);
    let arguments = ServeArguments {
        cores: Some(5),
        node_id: Some(3),
        zone: Some("b".to_owned()),
        sets: Some(8),
        tls: Some(TlsMode::ClientOnly),
        join: vec!["b:1".to_owned()],
        peer: Some("127.0.0.1:6".parse().unwrap()),
        ..ServeArguments::default()
    };
    let config = with(text, arguments).unwrap();
    assert_eq!((config.cores, config.listen.port()), (5, 1));
    assert_eq!((config.node_id, config.zone.as_str()), (3, "b"));
    assert_eq!(
        (config.set_count, config.tls),
        (Some(8), TlsMode::ClientOnly)
    );
    let peer = config.peer.unwrap();
    assert_eq!((peer.listen.port(), peer.join), (6, vec!["b:1".to_owned()]));
}

#[test]
fn all_nodes_may_have_one_list_of_nodes_to_join() {
    let text = "[peer]\nlisten = \"0.0.0.0\"\nadvertise = \"b:7413\"\n\
        join = [\"a:7413\", \"b:7413\", \"c:7413\"]\n";
    let config = with_file(&format!("listen = \"10.0.0.1:7411\"\n{text}")).unwrap();
    let peer = config.peer.unwrap();
    assert_eq!(peer.join, ["a:7413", "c:7413"]);
    assert_eq!(peer.address(peer.listen), "b:7413");
}

#[test]
fn others_are_told_the_address_that_is_advertised() {
    let bound = "127.0.0.1:4711".parse().unwrap();
    let config = with_file("").unwrap();
    assert_eq!(config.client_address(bound), "127.0.0.1:4711");
    for (address, host) in [("a.example:7411", "a.example"), ("[::1]:7411", "::1")] {
        let config = with_file(&format!("advertise = \"{address}\"\n")).unwrap();
        assert_eq!(config.client_address(bound), address);
        assert_eq!(config.advertised_host(), Some(host));
    }
}

#[test]
fn unnamed_ports_are_free_ones_when_the_clients_port_is() {
    let config = with_file("listen = \"10.0.0.1:7411\"\n[peer]\nlisten = \"10.0.0.1\"\n").unwrap();
    assert_eq!(config.http.listen.to_string(), "10.0.0.1:7412");
    assert!(!config.http.is_named);
    assert_eq!(config.peer.unwrap().listen.to_string(), "10.0.0.1:7413");
    let text = "listen = \"10.0.0.1:0\"\n[peer]\nlisten = \"10.0.0.1\"\n\
        [http]\nlisten = \"127.0.0.1\"\n";
    let config = with_file(text).unwrap();
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:0");
    assert_eq!(config.peer.unwrap().listen.port(), 0);
    let config = with_file("").unwrap();
    assert_eq!(config.listen.to_string(), "127.0.0.1:7411");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:7412");
    assert!(config.peer.is_none());
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let peer = "[peer]\nlisten = \"127.0.0.1:7413\"\n";
    for (text, name) in [
        ("cores = 0", "cores"),
        ("node_id = 0", "`node_id`"),
        ("sets = 0", "`sets`"),
        ("sets = 5000", "`sets`"),
        ("certificate = \"c\"", "`certificate` and `key`"),
        ("advertise = \"host\"", "`advertise`"),
        ("[peer]\njoin = [\"a:1\"]", "`peer.listen`"),
        (&format!("{peer}key = \"k\""), "`peer.ca`"),
        (&format!("{peer}join = [\"a\"]"), "`peer.join`"),
        (&format!("{peer}join = [\"127.0.0.1:7413\"]"), "`peer.join`"),
        (&format!("{peer}advertise = \"a\""), "`peer.advertise`"),
        ("[peer]\nlisten = \"0.0.0.0\"", "`peer.advertise`"),
        (&format!("listen = \"0.0.0.0:1\"\n{peer}"), "`advertise`"),
        (
            &format!("listen = \"127.0.0.1:7413\"\n{peer}"),
            "`peer.listen` and `listen`",
        ),
        (
            "[http]\nlisten = \"127.0.0.1:7411\"",
            "`http.listen` and `listen`",
        ),
        ("[http]\nlisten = \"localhost:1\"", "IP:PORT"),
    ] {
        let refusal = refusal(text, ServeArguments::default());
        assert!(refusal.contains(name), "{text}: {refusal}");
    }
    let zone = format!("zone = \"{}\"", "z".repeat(65));
    assert!(refusal(&zone, ServeArguments::default()).contains("`zone`"));
}

#[test]
fn joining_needs_a_port_for_peers() {
    let join = ServeArguments {
        join: vec!["a:1".to_owned()],
        ..ServeArguments::default()
    };
    assert!(refusal("", join).contains("--peer"));
    let advertise = ServeArguments {
        advertise_peer: Some("a:1".to_owned()),
        ..ServeArguments::default()
    };
    assert!(refusal("", advertise).contains("--peer"));
}

#[test]
fn the_examples_are_configurations() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for name in ["sampan.toml", "cluster.toml"] {
        let arguments = ServeArguments {
            config: Some(folder.join(name)),
            ..ServeArguments::default()
        };
        let config = load(&arguments).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        assert!(config.accounts(None).is_ok(), "{name}");
        assert_eq!(config.peer.is_some(), name == "cluster.toml");
    }
}
