//! The name by which a certificate is one of a node: `node-<id>.peer.sampan`.

use std::net::IpAddr;

use rustls::pki_types::{CertificateDer, ServerName};
use webpki::EndEntityCert;

const PREFIX: &str = "node-";
const SUFFIX: &str = ".peer.sampan";

/// Why a certificate is not one of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    #[error("its certificate cannot be read")]
    Unreadable,
    #[error("its certificate names no node: it lacks a DNS name like node-1.peer.sampan")]
    NoNode,
    #[error("its certificate names more than one node")]
    SeveralNodes,
}

/// The DNS name of a node's certificate.
pub(in crate::serve) fn node_name(node: u64) -> String {
    format!("{PREFIX}{node}{SUFFIX}")
}

/// The node of a name; `None` for any other spelling of its number too.
pub(super) fn parse_node_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let node = digits.parse().ok().filter(|node| *node != 0)?;
    (node_name(node) == name).then_some(node)
}

/// The one node that a certificate names. Says nothing about whether it can be trusted.
pub(super) fn node_of(certificate: &CertificateDer<'_>) -> Result<u64, NameError> {
    let names = dns_names(certificate).ok_or(NameError::Unreadable)?;
    let mut nodes = names.iter().filter_map(|name| parse_node_name(name));
    let node = nodes.next().ok_or(NameError::NoNode)?;
    if nodes.any(|other| other != node) {
        return Err(NameError::SeveralNodes);
    }
    Ok(node)
}

/// Whether a certificate is good for all of `names`, IP addresses among them, and has no other DNS
/// names.
pub(in crate::serve) fn has_names(certificate: &CertificateDer<'_>, names: &[String]) -> bool {
    let Ok(parsed) = EndEntityCert::try_from(certificate) else {
        return false;
    };
    let is_good_for = |name: &String| {
        let name = ServerName::try_from(name.as_str());
        name.is_ok_and(|name| parsed.verify_is_valid_for_subject_name(&name).is_ok())
    };
    let wanted = names.iter().filter(|name| name.parse::<IpAddr>().is_err());
    parsed.valid_dns_names().eq(wanted) && names.iter().all(is_good_for)
}

fn dns_names(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    Some(certificate.valid_dns_names().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_has_one_spelling() {
        assert_eq!(parse_node_name("node-12.peer.sampan"), Some(12));
        for other in [
            "node-0.peer.sampan",
            "node-01.peer.sampan",
            "node-+1.peer.sampan",
            "node-.peer.sampan",
            "*.peer.sampan",
            "node-1.peer.sampan.example.com",
            "localhost",
        ] {
            assert_eq!(parse_node_name(other), None, "{other}");
        }
    }

    #[test]
    fn bytes_that_are_no_certificate_name_nobody() {
        let certificate = CertificateDer::from(vec![0x30, 0x01]);
        assert_eq!(node_of(&certificate), Err(NameError::Unreadable));
    }
}
