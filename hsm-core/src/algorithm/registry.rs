//! The registries that a platform may hand in.

use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::KeySpec;

use super::{Algorithm, ecdsa_p256, ecdsa_p384, ecdsa_p521, ml_dsa, rsa};

/// An entry for every key spec, in the order of all registries, with these for the specs that platforms
/// compute in ways of their own.
#[macro_export]
macro_rules! algorithm_registry {
    (p256: $p256:expr, p384: $p384:expr, p521: $p521:expr,
     rsa: [$($rsa:expr),+], ml_dsa: [$($ml_dsa:expr),+] $(,)?) => {
        &[
            &$crate::algorithm::aes_gcm::SymmetricDefault,
            &$crate::algorithm::hmac::Hmac224,
            &$crate::algorithm::hmac::Hmac256,
            &$crate::algorithm::hmac::Hmac384,
            &$crate::algorithm::hmac::Hmac512,
            &$p256,
            &$p384,
            &$p521,
            &$crate::algorithm::ecdsa_k256::EccSecgP256k1,
            &$crate::algorithm::ed25519::EccNistEdwards25519,
            $(&$rsa,)+
            $(&$ml_dsa,)+
            &$crate::algorithm::ml_kem::ML_KEM_512,
            &$crate::algorithm::ml_kem::ML_KEM_768,
            &$crate::algorithm::ml_kem::ML_KEM_1024,
        ]
    };
}

/// The registry of RustCrypto parts, with this entry for P-256.
macro_rules! portable {
    ($p256:expr) => {
        $crate::algorithm_registry! {
            p256: $p256,
            p384: ecdsa_p384::EccNistP384,
            p521: ecdsa_p521::EccNistP521,
            rsa: [rsa::RSA_2048, rsa::RSA_3072, rsa::RSA_4096],
            ml_dsa: [ml_dsa::ML_DSA_44, ml_dsa::ML_DSA_65, ml_dsa::ML_DSA_87],
        }
    };
}

/// The portable registry, of RustCrypto parts.
pub static PORTABLE: &[&dyn Algorithm] = portable!(ecdsa_p256::EccNistP256);

/// The registry of a Cortex-M4: the portable one, but P-256 in assembly.
#[cfg(all(feature = "cortex-m4", target_arch = "arm"))]
pub static CORTEX_M4: &[&dyn Algorithm] =
    portable!(super::ecc::Ecc::<p256::NistP256, super::ecc::CortexM4>::ENTRY);

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
