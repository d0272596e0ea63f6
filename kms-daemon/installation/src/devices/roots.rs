//! Roots of attestation documents, as given with `--attestation-root`.

use std::path::PathBuf;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

/// SHA-256 of a root certificate's DER.
pub type RootId = [u8; 32];

/// AWS's name for itself here, and the fingerprint it publishes: of the certificate of
/// `aws.nitro-enclaves`, G1, which vouches for Nitro enclaves and NitroTPM.
const AWS_NITRO: (&str, RootId) = (
    "aws-nitro",
    [
        0x64, 0x1a, 0x03, 0x21, 0xa3, 0xe2, 0x44, 0xef, 0xe4, 0x56, 0x46, 0x31, 0x95, 0xd6, 0x06,
        0x31, 0x7e, 0xd7, 0xcd, 0xcc, 0x3c, 0x17, 0x56, 0xe0, 0x98, 0x93, 0xf3, 0xc6, 0x8f, 0x79,
        0xbb, 0x5b,
    ],
);

/// Why a root cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot read an attestation root from {path}: {reason}; give aws-nitro, or a file with one \
     certificate in PEM"
)]
pub struct RootError {
    path: PathBuf,
    reason: rustls::pki_types::pem::Error,
}

/// Fingerprints of roots, each `aws-nitro` or a file with a certificate in PEM.
///
/// # Errors
/// [`RootError`], which names the file.
pub fn fingerprints(roots: &[String]) -> Result<Vec<RootId>, RootError> {
    roots.iter().map(|root| fingerprint(root)).collect()
}

fn fingerprint(root: &str) -> Result<RootId, RootError> {
    let (name, aws) = AWS_NITRO;
    if root == name {
        return Ok(aws);
    }
    let certificate = CertificateDer::from_pem_file(root)
        .map_err(|reason| RootError { path: root.into(), reason })?;
    Ok(Sha256::digest(&certificate).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_files() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (dir.path().join("root.pem"), dir.path().join("key.pem"));
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        std::fs::write(&good, made.pem()).unwrap();
        std::fs::write(&bad, key.serialize_pem()).unwrap();
        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        let roots = fingerprints(&["aws-nitro".to_owned(), text(&good)]).unwrap();
        assert_eq!(roots, [AWS_NITRO.1, Sha256::digest(made.der()).into()]);
        for path in [&bad, &dir.path().join("none")] {
            let error = fingerprints(&[text(path)]).unwrap_err().to_string();
            assert!(error.contains(&text(path)) && error.contains("aws-nitro"), "{error}");
        }
    }
}
