//! Attestation documents of AWS Nitro enclaves and NitroTPM, verified.
//!
//! A document is COSE_Sign1 (RFC 9052 4.2) with ES384: an attesting module signs measurements and
//! a public key, and certificates vouch for the module up to a root that a provisioner has set.
//! What the measurements must be is the host's policy.

use core::convert::Infallible;

use hsm_protocol::ErrorCode;
use hsm_protocol::command::attest::{MAX_DOCUMENT, ROOT_SIZE};
use minicbor::Encoder;
use sha2::{Digest, Sha384};

use crate::algorithm::Algorithm;

mod chain;
mod document;

pub use document::{Facts, MAX_PCRS};

/// SHA-256 of a root certificate's DER.
pub type RootId = [u8; ROOT_SIZE];

/// How far a document's timestamp may be from the present time, in milliseconds.
pub const FRESHNESS_MS: u64 = 300_000;

/// Verifies a document; `p384` is the registry entry of that curve.
///
/// # Errors
/// [`ErrorCode::TOO_LARGE`] beyond [`MAX_DOCUMENT`]; [`ErrorCode::ATTESTATION_MALFORMED`];
/// [`ErrorCode::ATTESTATION_STALE`] if its time is more than [`FRESHNESS_MS`] from now;
/// [`ErrorCode::ATTESTATION_UNTRUSTED`] if no root vouches for it or the signature is wrong.
pub fn verify<'d>(
    document: &'d [u8],
    now_ms: u64,
    roots: &[RootId],
    p384: &'static dyn Algorithm,
) -> Result<Facts<'d>, ErrorCode> {
    if document.len() > MAX_DOCUMENT {
        return Err(ErrorCode::TOO_LARGE);
    }
    let signed = document::envelope(document).ok_or(ErrorCode::ATTESTATION_MALFORMED)?;
    let parsed = document::payload(signed.payload).ok_or(ErrorCode::ATTESTATION_MALFORMED)?;
    if parsed.facts.timestamp_ms.abs_diff(now_ms) > FRESHNESS_MS {
        return Err(ErrorCode::ATTESTATION_STALE);
    }
    let digest = to_be_signed(&signed)?;
    chain::verify(&parsed.certificates, now_ms, roots, p384, &digest, signed.signature)?;
    Ok(parsed.facts)
}

/// SHA-384 of the `Sig_structure` (RFC 9052 4.4).
fn to_be_signed(signed: &document::Signed<'_>) -> Result<[u8; 48], ErrorCode> {
    struct Hashing(Sha384);

    impl minicbor::encode::Write for Hashing {
        type Error = Infallible;

        fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
            self.0.update(bytes);
            Ok(())
        }
    }

    let mut structure = Encoder::new(Hashing(Sha384::new()));
    structure
        .array(4)
        .and_then(|structure| structure.str("Signature1"))
        .and_then(|structure| structure.bytes(signed.protected))
        .and_then(|structure| structure.bytes(&[]))
        .and_then(|structure| structure.bytes(signed.payload))
        .map_err(|_| ErrorCode::INTERNAL)?;
    Ok(structure.into_writer().0.finalize().into())
}
