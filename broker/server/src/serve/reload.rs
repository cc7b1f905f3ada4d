//! Who may use the broker and what it shows: accounts and certificates, replaceable while it runs.
//!
//! SIGHUP reads the configuration and the files it names again. All of them are read before
//! anything is replaced: one that cannot be used leaves everything as it was, with an error in the
//! log that names it. Connections keep what they were made with. Every other setting needs a
//! restart, TLS on or off too, for it changes what clients must do.
//!
//! Invariant: what is current was wholly usable when it was read. The swaps are on the way of
//! connections, never of messages.

use std::sync::Arc;

use anyhow::bail;
use rustls::pki_types::CertificateDer;
use sampan_cluster::{PlainTransport, Transport};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use super::config::{self, Config};
use super::dev::DevMaterial;
use super::peer_tls::{PeerTls, TlsTransport};
use super::tls;
use crate::accounts::{AccountChanges, Accounts};
use crate::cli::ServeArguments;

/// See the head of the file.
pub(crate) struct Security {
    accounts: watch::Sender<Arc<Accounts>>,
    /// `None`: clients use no TLS.
    client_tls: Option<watch::Sender<ClientTls>>,
    /// `None`: nodes use no TLS, or there are none.
    peer_tls: Option<watch::Sender<PeerTls>>,
}

/// What clients meet.
#[derive(Clone)]
struct ClientTls {
    acceptor: TlsAcceptor,
    chain: Vec<CertificateDer<'static>>,
}

/// Everything that a reload reads.
struct Loaded {
    accounts: Accounts,
    client_tls: Option<ClientTls>,
    peer_tls: Option<PeerTls>,
}

impl Security {
    /// Reads what the configuration names.
    pub(super) fn open(config: &Config, dev: Option<&DevMaterial>) -> anyhow::Result<Security> {
        let loaded = Loaded::read(config, dev)?;
        config.warn_of_missing_tls();
        Ok(Security {
            accounts: watch::Sender::new(Arc::new(loaded.accounts)),
            client_tls: loaded.client_tls.map(watch::Sender::new),
            peer_tls: loaded.peer_tls.map(watch::Sender::new),
        })
    }

    /// The accounts for a new connection.
    pub(crate) fn accounts(&self) -> Arc<Accounts> {
        self.accounts.borrow().clone()
    }

    /// The TLS for a new connection of a client; `None` when it is off.
    pub(crate) fn acceptor(&self) -> Option<TlsAcceptor> {
        let tls = self.client_tls.as_ref()?;
        Some(tls.borrow().acceptor.clone())
    }

    /// Connections to other nodes, which follow each reload.
    pub(super) fn peer_transport(&self) -> Arc<dyn Transport> {
        match &self.peer_tls {
            Some(tls) => Arc::new(TlsTransport::new(tls.subscribe())),
            None => Arc::new(PlainTransport),
        }
    }

    /// Reads everything again; what came of it is logged.
    pub(super) fn reload(&self, arguments: &ServeArguments) {
        match read_again(arguments).and_then(|loaded| self.replace(loaded)) {
            Ok(()) => tracing::info!("certificates and accounts were read again"),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(
                    error,
                    "nothing was reloaded: accounts and certificates stay"
                );
            }
        }
    }

    fn replace(&self, loaded: Loaded) -> anyhow::Result<()> {
        if self.client_tls.is_some() != loaded.client_tls.is_some() {
            bail!("`tls` for clients was switched, which needs a restart");
        }
        if self.peer_tls.is_some() != loaded.peer_tls.is_some() {
            bail!("`tls` or the address for nodes was switched, which needs a restart");
        }
        let changes = self.accounts.borrow().changes(&loaded.accounts);
        if changes != AccountChanges::default() {
            self.accounts.send_replace(Arc::new(loaded.accounts));
            let AccountChanges {
                added,
                removed,
                rekeyed,
            } = changes;
            tracing::info!(?added, ?removed, ?rekeyed, "accounts changed");
        }
        if let (Some(current), Some(new)) = (&self.client_tls, loaded.client_tls) {
            let is_same = current.borrow().chain == new.chain;
            current.send_replace(new);
            if !is_same {
                tracing::info!("the certificate for clients changed");
            }
        }
        if let (Some(current), Some(new)) = (&self.peer_tls, loaded.peer_tls) {
            let is_same = current.borrow().is_same(&new);
            current.send_replace(new);
            if !is_same {
                tracing::info!("the certificates for nodes changed");
            }
        }
        Ok(())
    }
}

fn read_again(arguments: &ServeArguments) -> anyhow::Result<Loaded> {
    let config = config::load(arguments)?;
    let dev = config.dev_material()?;
    Loaded::read(&config, dev.as_ref())
}

impl Loaded {
    fn read(config: &Config, dev: Option<&DevMaterial>) -> anyhow::Result<Loaded> {
        let accounts = config.accounts(dev)?;
        let client_tls = match config.client_tls(dev)? {
            None => None,
            Some(files) => Some(ClientTls {
                acceptor: tls::acceptor(&files)?,
                chain: tls::certificates(&files.certificate)?,
            }),
        };
        let peer_tls = match config.peer_tls(dev)? {
            None => None,
            Some(files) => Some(PeerTls::load(&files, config.node_id)?),
        };
        Ok(Loaded {
            accounts,
            client_tls,
            peer_tls,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A broker's settings in a folder: `--dev` certificates that the file names like any others.
    struct Settings {
        folder: tempfile::TempDir,
        arguments: ServeArguments,
    }

    impl Settings {
        fn new() -> Settings {
            let folder = tempfile::tempdir().unwrap();
            let arguments = ServeArguments {
                config: Some(folder.path().join("sampan.toml")),
                data: Some(folder.path().to_owned()),
                ..ServeArguments::default()
            };
            let settings = Settings { folder, arguments };
            settings.make_certificates();
            settings.write("", "one");
            settings
        }

        fn path(&self) -> &Path {
            self.folder.path()
        }

        fn make_certificates(&self) {
            for name in ["dev-server.pem", "dev-peer.pem"] {
                // There is none at first.
                drop(std::fs::remove_file(self.path().join(name)));
            }
            crate::serve::dev::prepare(&crate::serve::dev::DevOptions {
                data: self.path(),
                shared: None,
                node_id: 1,
                host: None,
            })
            .unwrap();
        }

        fn write(&self, first: &str, key: &str) {
            let data = self.path().display();
            let text = format!(
                "{first}\ncertificate = \"{data}/dev-server.pem\"\n\
                 key = \"{data}/dev-server-key.pem\"\n\
                 [peer]\nlisten = \"127.0.0.1:0\"\ncertificate = \"{data}/dev-peer.pem\"\n\
                 key = \"{data}/dev-peer-key.pem\"\nca = \"{data}/dev-ca.pem\"\n\
                 [[accounts]]\nsecret_id = \"AKID1\"\nsecret_key = \"{key}\"\n"
            );
            std::fs::write(self.path().join("sampan.toml"), text).unwrap();
        }

        fn open(&self) -> Security {
            Security::open(&config::load(&self.arguments).unwrap(), None).unwrap()
        }
    }

    fn key(security: &Security) -> Vec<u8> {
        security.accounts().key_or_decoy("AKID1").0.to_vec()
    }

    fn chain(security: &Security) -> Vec<CertificateDer<'static>> {
        security.client_tls.as_ref().unwrap().borrow().chain.clone()
    }

    fn peer_chain(security: &Security) -> PeerTls {
        security.peer_tls.as_ref().unwrap().borrow().clone()
    }

    #[test]
    fn accounts_and_certificates_are_taken_up() {
        let settings = Settings::new();
        let security = settings.open();
        let (before, peer_before) = (chain(&security), peer_chain(&security));
        let held = security.accounts();
        settings.make_certificates();
        settings.write("", "two");
        security.reload(&settings.arguments);
        assert_eq!(key(&security), b"two");
        assert_ne!(chain(&security), before);
        assert!(!peer_chain(&security).is_same(&peer_before));
        assert_eq!(held.key_or_decoy("AKID1").0, b"one");
    }

    #[test]
    fn one_file_that_cannot_be_used_leaves_everything_as_it_was() {
        let settings = Settings::new();
        let security = settings.open();
        let before = chain(&security);
        settings.make_certificates();
        for name in ["dev-peer.pem", "dev-server-key.pem", "dev-ca.pem"] {
            let path = settings.path().join(name);
            let good = std::fs::read(&path).unwrap();
            std::fs::write(&path, "nonsense").unwrap();
            settings.write("", "two");
            let Err(error) = read_again(&settings.arguments) else {
                panic!("{name} was taken");
            };
            assert!(format!("{error:#}").contains(name), "{error:#}");
            security.reload(&settings.arguments);
            assert_eq!(key(&security), b"one", "{name}");
            assert_eq!(chain(&security), before, "{name}");
            std::fs::write(&path, good).unwrap();
        }
        security.reload(&settings.arguments);
        assert_eq!(key(&security), b"two");
    }

    #[test]
    fn tls_cannot_be_switched_while_clients_are_there() {
        let settings = Settings::new();
        let security = settings.open();
        for tls in ["tls = false", "tls = \"client-only\""] {
            settings.write(tls, "two");
            let loaded = read_again(&settings.arguments).unwrap();
            assert!(security.replace(loaded).is_err(), "{tls}");
            assert_eq!(key(&security), b"one", "{tls}");
        }
    }
}
