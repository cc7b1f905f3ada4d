//! The part of the configuration that is about other nodes.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};

use super::file::Peer;
use super::{Config, PEER_PORT_DEFAULT, advertised, default_port};
use crate::cli::{ServeArguments, TlsMode, parse_host_port};
use crate::serve::dev::DevMaterial;
use crate::serve::peer_tls::PeerTlsFiles;

/// Most addresses of nodes to join.
const JOIN_COUNT_MAX: usize = 64;

/// How other nodes are met.
#[derive(Clone, Debug)]
pub(in crate::serve) struct PeerConfig {
    /// Where they are listened for.
    pub(in crate::serve) listen: SocketAddr,
    /// Where they are told to find this node; `None`: where it listens. See [`Self::address`].
    pub(super) advertise: Option<String>,
    /// Peer addresses of nodes whose cluster a new node asks to join.
    pub(in crate::serve) join: Vec<String>,
    tls_files: Option<PeerTlsFiles>,
}

/// Puts the arguments on top of what the file says; `None` when neither names a peer address.
pub(super) fn load(
    arguments: &ServeArguments,
    file: Option<Peer>,
    client_listen: SocketAddr,
) -> anyhow::Result<Option<PeerConfig>> {
    let is_in_file = file.is_some();
    let file = file.unwrap_or_default();
    let Some(listen) = arguments.peer.or(file.listen) else {
        ensure!(!is_in_file, "`peer.listen` (--peer) is missing");
        ensure!(arguments.join.is_empty(), "--join needs --peer");
        ensure!(
            arguments.advertise_peer.is_none(),
            "--advertise-peer needs --peer"
        );
        return Ok(None);
    };
    let tls_files = match (file.certificate, file.key, file.ca) {
        (Some(certificate), Some(key), Some(ca)) => Some(PeerTlsFiles {
            certificate,
            key,
            ca,
        }),
        (None, None, None) => None,
        _ => bail!("`peer.certificate`, `peer.key` and `peer.ca` must be named together"),
    };
    let listen = listen.with_port(default_port(PEER_PORT_DEFAULT, client_listen));
    let advertise = arguments.advertise_peer.clone().or(file.advertise);
    let advertise = advertised("peer.advertise", advertise)?;
    let join = if arguments.join.is_empty() {
        file.join
    } else {
        arguments.join.clone()
    };
    let join = others(join, listen, advertise.as_deref())?;
    Ok(Some(PeerConfig {
        listen,
        advertise,
        join,
        tls_files,
    }))
}

/// The addresses without this node's own, so that all nodes may have one list.
fn others(
    mut join: Vec<String>,
    listen: SocketAddr,
    own: Option<&str>,
) -> anyhow::Result<Vec<String>> {
    ensure!(
        join.len() <= JOIN_COUNT_MAX,
        "`peer.join` must have at most {JOIN_COUNT_MAX} addresses"
    );
    for address in &join {
        parse_host_port(address).context("`peer.join`")?;
    }
    let named_count = join.len();
    join.retain(|address| Some(address.as_str()) != own && *address != listen.to_string());
    ensure!(
        named_count == 0 || !join.is_empty(),
        "`peer.join` names nobody but this node itself"
    );
    Ok(join)
}

impl PeerConfig {
    /// Where other nodes are told to find this one, which listens at `bound`.
    pub(in crate::serve) fn address(&self, bound: SocketAddr) -> String {
        self.advertise.clone().unwrap_or_else(|| bound.to_string())
    }
}

impl Config {
    /// The files of the TLS that nodes meet; `None` when it is off, or nobody is to be met.
    pub(in crate::serve) fn peer_tls(
        &self,
        dev: Option<&DevMaterial>,
    ) -> anyhow::Result<Option<PeerTlsFiles>> {
        let Some(peer) = &self.peer else {
            return Ok(None);
        };
        if self.tls != TlsMode::On {
            return Ok(None);
        }
        let files = peer
            .tls_files
            .clone()
            .or_else(|| dev.map(|dev| dev.peer_tls.clone()));
        let hint = "name `certificate`, `key` and `ca` under [peer], or use --dev for a first try, \
                    or --tls client-only";
        files.context(hint).map(Some)
    }
}
