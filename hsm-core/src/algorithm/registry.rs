//! The registries that a platform may hand in.

use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::KeySpec;

use super::Algorithm;

/// A registry, with these entries for the specs that platforms compute in ways of their own: of AES, HMAC,
/// P-256 and Ed25519 if there are no others, of all key specs if there are all.
#[macro_export]
macro_rules! algorithm_registry {
    (p256: $p256:expr
     $(, p384: $p384:expr, p521: $p521:expr, rsa: [$($rsa:expr),+], ml_kem: [$($ml_kem:expr),+]
     $(, ml_dsa: [$($ml_dsa:expr),+])?)? $(,)?) => {
        &[
            &$crate::algorithm::aes_gcm::SymmetricDefault,
            &$crate::algorithm::hmac::Hmac224,
            &$crate::algorithm::hmac::Hmac256,
            &$crate::algorithm::hmac::Hmac384,
            &$crate::algorithm::hmac::Hmac512,
            &$p256,
            $(&$p384, &$p521, &$crate::algorithm::ecdsa_k256::EccSecgP256k1,)?
            &$crate::algorithm::ed25519::EccNistEdwards25519,
            $($(&$rsa,)+ $($(&$ml_dsa,)+)? $(&$ml_kem,)+)?
        ]
    };
}

/// The sets of algorithms that a board may have, of RustCrypto parts, but with this entry for P-256.
macro_rules! sets {
    ($p256:expr) => {
        /// AES, HMAC, P-256 and Ed25519.
        pub static SMALL: &[&dyn Algorithm] = algorithm_registry! { p256: $p256 };

        /// All but ML-DSA.
        #[cfg(feature = "rsa")]
        pub static CLASSIC: &[&dyn Algorithm] = algorithm_registry! {
            p256: $p256,
            p384: ecdsa_p384::EccNistP384,
            p521: ecdsa_p521::EccNistP521,
            rsa: [rsa::RSA_2048, rsa::RSA_3072, rsa::RSA_4096],
            ml_kem: [ml_kem::ML_KEM_512, ml_kem::ML_KEM_768, ml_kem::ML_KEM_1024],
        };

        /// Every key spec.
        #[cfg(feature = "rsa")]
        pub static EVERYTHING: &[&dyn Algorithm] = algorithm_registry! {
            p256: $p256,
            p384: ecdsa_p384::EccNistP384,
            p521: ecdsa_p521::EccNistP521,
            rsa: [rsa::RSA_2048, rsa::RSA_3072, rsa::RSA_4096],
            ml_kem: [ml_kem::ML_KEM_512, ml_kem::ML_KEM_768, ml_kem::ML_KEM_1024],
            ml_dsa: [ml_dsa::ML_DSA_44, ml_dsa::ML_DSA_65, ml_dsa::ML_DSA_87],
        };
    };
}

/// Portable registries, of RustCrypto parts.
pub mod portable {
    use crate::algorithm::{Algorithm, ecdsa_p256};
    #[cfg(feature = "rsa")]
    use crate::algorithm::{ecdsa_p384, ecdsa_p521, ml_dsa, ml_kem, rsa};

    sets!(ecdsa_p256::EccNistP256);
}

/// The registries of a Cortex-M4 and of later cores with its multiplier: P-256 in assembly.
#[cfg(all(feature = "cortex-m4", target_arch = "arm"))]
pub mod cortex_m4 {
    use crate::algorithm::{Algorithm, ecc};
    #[cfg(feature = "rsa")]
    use crate::algorithm::{ecdsa_p384, ecdsa_p521, ml_dsa, ml_kem, rsa};

    sets!(ecc::Ecc::<p256::NistP256, ecc::CortexM4>::ENTRY);
}

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
