//! The registry of a host: AWS-LC where it is faster, the portable entry elsewhere.
//!
//! Both registries read and write the same secrets, public keys and tokens, so devices with either
//! serve one domain. What an entry here does not do itself it leaves to the portable one. AWS-LC
//! draws its own randomness, seeded by the operating system, and erases its keys when they are freed.

use aws_lc_rs::digest::{self, Digest};
use hsm_core::algorithm::{Algorithm, Message, ml_kem};
use hsm_protocol::ErrorCode;

mod delegate;
mod ecc;
mod ml_dsa;
mod prepared;
mod rsa;

/// The registry, in the order of the portable one.
pub static AWS_LC: &[&dyn Algorithm] = hsm_core::algorithm_registry! {
    p256: ecc::ECC_NIST_P256,
    p384: ecc::ECC_NIST_P384,
    p521: ecc::ECC_NIST_P521,
    rsa: [rsa::RSA_2048, rsa::RSA_3072, rsa::RSA_4096],
    ml_kem: [ml_kem::ML_KEM_512, ml_kem::ML_KEM_768, ml_kem::ML_KEM_1024],
    ml_dsa: [ml_dsa::ML_DSA_44, ml_dsa::ML_DSA_65, ml_dsa::ML_DSA_87],
};

/// The digest of a message, or one that somebody else has computed.
fn hash(algorithm: &'static digest::Algorithm, message: Message<'_>) -> Result<Digest, ErrorCode> {
    match message {
        Message::Raw(message) => Ok(digest::digest(algorithm, message)),
        Message::Digest(digest) => {
            Digest::import_less_safe(digest, algorithm).map_err(|_| ErrorCode::MESSAGE_LENGTH)
        }
        Message::ExternalMu(_) => Err(ErrorCode::SPEC_DENIED),
    }
}
