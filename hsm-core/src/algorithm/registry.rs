//! The registries that a platform may hand in.

use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::KeySpec;

use super::{
    Algorithm, aes_gcm, ecdsa_k256, ecdsa_p256, ecdsa_p384, ecdsa_p521, ed25519, hmac, ml_dsa,
    ml_kem, rsa,
};

/// An entry for every key spec, with this one for P-256.
macro_rules! registry {
    ($p256:expr) => {
        &[
            &aes_gcm::SymmetricDefault,
            &hmac::Hmac224,
            &hmac::Hmac256,
            &hmac::Hmac384,
            &hmac::Hmac512,
            &$p256,
            &ecdsa_p384::EccNistP384,
            &ecdsa_p521::EccNistP521,
            &ecdsa_k256::EccSecgP256k1,
            &ed25519::EccNistEdwards25519,
            &rsa::RSA_2048,
            &rsa::RSA_3072,
            &rsa::RSA_4096,
            &ml_dsa::ML_DSA_44,
            &ml_dsa::ML_DSA_65,
            &ml_dsa::ML_DSA_87,
            &ml_kem::ML_KEM_512,
            &ml_kem::ML_KEM_768,
            &ml_kem::ML_KEM_1024,
        ]
    };
}

/// The portable registry, of RustCrypto parts.
pub static PORTABLE: &[&dyn Algorithm] = registry!(ecdsa_p256::EccNistP256);

/// The registry of a Cortex-M4: the portable one, but P-256 in assembly.
#[cfg(all(feature = "cortex-m4", target_arch = "arm"))]
pub static CORTEX_M4: &[&dyn Algorithm] =
    registry!(super::ecc::Ecc::<p256::NistP256, super::ecc::CortexM4>::ENTRY);

/// Most entries a registry can have: the module keeps one bit for each.
pub const MAX_ALGORITHMS: usize = 32;

/// Finds the entry of a spec, and its position in the registry.
///
/// # Errors
/// [`ErrorCode::UNSUPPORTED`] if the registry has none.
pub fn find(
    registry: &'static [&'static dyn Algorithm],
    spec: KeySpec,
) -> Result<(usize, &'static dyn Algorithm), ErrorCode> {
    registry
        .iter()
        .take(MAX_ALGORITHMS)
        .enumerate()
        .find(|(_, entry)| entry.spec() == spec)
        .map(|(index, entry)| (index, *entry))
        .ok_or(ErrorCode::UNSUPPORTED)
}
