//! The signer of a document: a certification path (RFC 5280 6) from its leaf to a trusted root.
//!
//! Path validation is the work of the library that browsers' and servers' TLS use; the signatures
//! are the registry's.

use core::sync::atomic::{AtomicU8, Ordering};
use core::time::Duration;

use heapless::Vec;
use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::SigningAlgorithm;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
    UnixTime, alg_id,
};
use sha2::{Digest, Sha256};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::RootId;
use super::document::Certificates;
use crate::algorithm::ecc::der;
use crate::algorithm::ecdsa_p384;
use crate::algorithm::{Algorithm, Message, PublicKeyBuf};

/// Signatures that one document may cost: those of a bundle in any order, and its own. A path
/// that branches could cost many more.
const MAX_SIGNATURES: u8 = 12;

/// Verifies the path from the leaf to one of `roots`, and with the leaf's key the signature of
/// `digest`.
///
/// # Errors
/// [`ErrorCode::ATTESTATION_UNTRUSTED`].
pub(super) fn verify(
    certificates: &Certificates<'_>,
    now_ms: u64,
    roots: &[RootId],
    p384: &'static dyn Algorithm,
    digest: &[u8; 48],
    signature: &[u8; 96],
) -> Result<(), ErrorCode> {
    let untrusted = ErrorCode::ATTESTATION_UNTRUSTED;
    let (root, rest) = certificates.bundle.split_first().ok_or(untrusted)?;
    let fingerprint: RootId = Sha256::digest(root).into();
    if !roots.contains(&fingerprint) {
        return Err(untrusted);
    }
    let root = CertificateDer::from(*root);
    let anchor = anchor_from_trusted_cert(&root).map_err(|_| untrusted)?;
    let between: Vec<CertificateDer<'_>, 8> =
        rest.iter().rev().map(|der| CertificateDer::from(*der)).collect();
    let leaf = CertificateDer::from(certificates.leaf);
    let leaf = EndEntityCert::try_from(&leaf).map_err(|_| untrusted)?;

    let path = Es384 { p384, form: Form::Certificate, left: AtomicU8::new(MAX_SIGNATURES) };
    // An attesting module's certificate names no extended key usage; if one does, it is a client.
    leaf.verify_for_usage(
        &[&path],
        &[anchor],
        &between,
        UnixTime::since_unix_epoch(Duration::from_millis(now_ms)),
        KeyUsage::client_auth(),
        None,
        None,
    )
    .map_err(|_| untrusted)?;
    let document = Es384 { p384, form: Form::Document, left: AtomicU8::new(1) };
    leaf.verify_signature(&document, digest, signature).map_err(|_| untrusted)
}

/// What is signed, and how the signature is written.
#[derive(Debug)]
enum Form {
    /// The message; DER.
    Certificate,
    /// The message's digest; r and s.
    Document,
}

/// ECDSA with P-384 and SHA-384.
#[derive(Debug)]
struct Es384 {
    p384: &'static dyn Algorithm,
    form: Form,
    /// Verifications left.
    left: AtomicU8,
}

impl Es384 {
    fn verify(&self, point: &[u8], message: &[u8], signature: &[u8]) -> Result<(), ErrorCode> {
        let left = self.left.load(Ordering::Relaxed).checked_sub(1);
        self.left.store(left.ok_or(ErrorCode::SIGNATURE_INVALID)?, Ordering::Relaxed);
        let mut public = PublicKeyBuf::new();
        public.set(&[ecdsa_p384::SPKI_PREFIX, point])?;
        let mut encoded = [0; der::MAX_SIZE];
        let (message, signature) = match self.form {
            Form::Certificate => (Message::Raw(message), signature),
            Form::Document => {
                let (r, s) = signature.split_at_checked(48).ok_or(ErrorCode::SIGNATURE_INVALID)?;
                let length = der::encode(r, s, &mut encoded)?;
                (Message::Digest(message), encoded.get(..length).unwrap_or_default())
            }
        };
        self.p384.verify(&public, SigningAlgorithm::ECDSA_SHA_384, message, signature)
    }
}

impl SignatureVerificationAlgorithm for Es384 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        self.verify(public_key, message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P384
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA384
    }
}
