//! Clients that speak plain HTTP where TLS is spoken, TLS where it is not, or do not trust what they
//! see: they are told what to change, and so is the operator, in the log.

use std::net::IpAddr;
use std::time::Duration;

use rustls::AlertDescription;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use zeroize::Zeroizing;

use super::erasing::Erasing;
use super::progress::Paced;
use kms_base::log::Seldom;

/// How every TLS connection begins: a handshake record (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;
/// What a client of plain HTTP is told.
const ADVICE: &str = "This port speaks TLS: use https:// in place of http://\n";
/// How much of what such a client sends is read, so that it reads the answer, and for how long.
const MOST_READ: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(2);

static PLAIN: Seldom = Seldom::new();
static TLS: Seldom = Seldom::new();
static DISTRUST: Seldom = Seldom::new();

/// Begins TLS; `None` if the client does not.
pub(super) async fn accept(
    acceptor: TlsAcceptor,
    mut stream: Paced,
    address: IpAddr,
) -> Option<TlsStream<Erasing<Paced>>> {
    let mut begin = Vec::with_capacity(1);
    if (&mut stream).take(1).read_buf(&mut begin).await.ok()? == 0 {
        return None;
    }
    // Every method begins with a letter, no record of TLS does.
    if begin.first().is_some_and(u8::is_ascii_alphabetic) {
        if PLAIN.is_due() {
            tracing::warn!(
                %address,
                "a client speaks plain HTTP where TLS is spoken; its URL has to begin with https://"
            );
        }
        refuse(stream).await;
        return None;
    }
    stream.unread(begin);
    match acceptor.accept(Erasing::new(stream)).await {
        Ok(stream) => Some(stream),
        Err(error) => {
            let reason = error.get_ref().and_then(|error| error.downcast_ref());
            if distrusts(reason) && DISTRUST.is_due() {
                tracing::warn!(
                    %address, %error,
                    "a client does not trust this daemon's certificate; it needs the file \
                     DIR/tls/certificate.pem (AWS_CA_BUNDLE), or that of --tls-cert's authority"
                );
            }
            tracing::debug!(%address, %error, "no TLS with a client");
            None
        }
    }
}

/// Says so if a connection without TLS begins as one with it.
pub(super) fn note_tls(begin: &[u8], address: IpAddr) {
    if begin.first() == Some(&HANDSHAKE) && TLS.is_due() {
        tracing::warn!(
            %address,
            "a client speaks TLS where plain HTTP is spoken; its URL has to begin with http://, or \
             kmsd needs --tls-name or --tls-cert"
        );
    }
}

/// Answers plain HTTP. Nothing that was asked for is looked at.
async fn refuse(mut stream: Paced) {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{ADVICE}",
        ADVICE.len()
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // A connection that is closed before all was read is reset, and the answer lost.
        let mut unread = Zeroizing::new([0; 4096]);
        let mut left = MOST_READ;
        while left > 0 {
            match stream.read(&mut unread[..]).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        std::io::Result::Ok(())
    };
    let _ = timeout(PATIENCE, told).await;
}

/// Whether a client ended a handshake because of the certificate.
fn distrusts(reason: Option<&rustls::Error>) -> bool {
    matches!(
        reason,
        Some(rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
        ))
    )
}
