//! Advice for connections that fail because of TLS.

use std::io;
use std::path::Path;

use hyper::Uri;
use rustls::CertificateError;

/// Says what to change so that a daemon is reached that a URL with the wrong scheme names.
pub(super) fn other_scheme(url: &Uri) -> String {
    let scheme = if url.scheme_str() == Some("https") { "http" } else { "https" };
    let authority = url.authority().map_or("", |authority| authority.as_str());
    format!("use {scheme}://{authority}")
}

/// Why there is no TLS with the daemon, and what to do; `ca` is the file of certificates that are
/// trusted and who named it.
pub(super) fn of_tls(error: &io::Error, url: &Uri, (ca, origin): (&Path, &str)) -> String {
    let host = url.host().unwrap_or_default();
    let reason = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    let ca = ca.display();
    let Some(reason) = reason else {
        return format!(
            "it ends the connection in the TLS handshake ({error}); if it speaks plain \
                        HTTP, {}",
            other_scheme(url)
        );
    };
    match reason {
        rustls::Error::InvalidMessage(_) => {
            format!("it does not speak TLS; {}", other_scheme(url))
        }
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => format!(
                "no authority in {ca} (from {origin}) has issued its certificate; name the right \
                 file with --ca FILE: the daemon's own is DIR/tls/certificate.pem on its machine"
            ),
            CertificateError::NotValidForName => not_for(host, ""),
            CertificateError::NotValidForNameContext { presented, .. } => {
                not_for(host, &format!(", it is for {}", presented.join(", ")))
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired; put a new one in its place and send kmsd SIGHUP. If \
                 it cannot have expired, this machine's clock is wrong"
                    .to_owned()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet; set the clock that is wrong, this machine's or \
                 the daemon's"
                    .to_owned()
            }
            other => format!("its certificate is invalid: {other}"),
        },
        other => format!("no TLS with it: {other}"),
    }
}

fn not_for(host: &str, names: &str) -> String {
    format!(
        "its certificate is not for {host}{names}; use one of its names, or start kmsd with \
         --tls-name {host}"
    )
}
