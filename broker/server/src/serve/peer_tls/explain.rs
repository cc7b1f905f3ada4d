//! What TLS complains about, in the words of somebody who runs a cluster.

use std::io;

use rustls::{CertificateError, Error};

/// The error, with whom it is about and what it means.
pub(super) fn explained(error: &io::Error, who: &str) -> io::Error {
    let inner = error.get_ref();
    let text = match inner.and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(tls) => explain(tls),
        None => error.to_string(),
    };
    io::Error::new(error.kind(), format!("{who}: {text}"))
}

fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => explain_certificate(error),
        Error::NoCertificatesPresented => "it showed no certificate".to_owned(),
        Error::AlertReceived(alert) => {
            format!("it refused this node's certificate, or TLS with it (alert {alert:?})")
        }
        Error::InvalidMessage(_) => "it does not speak TLS".to_owned(),
        other => format!("TLS failed: {other}"),
    }
}

fn explain_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("its certificate has expired ({error})")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("its certificate is not valid yet ({error})")
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is foreign: the CA of this cluster did not sign it".to_owned()
        }
        CertificateError::Other(other) => other.0.to_string(),
        other => format!("its certificate is not accepted ({other})"),
    }
}
