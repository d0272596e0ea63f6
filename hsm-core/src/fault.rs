//! Faults in known-answer tests, for the tests that expect the error state.
//!
//! Firmware images are built without the `test-platform` feature: there [`tamper`] is empty.

impl Kat {
    /// Those that power-up runs on a board with an image; the others run before the first use of
    /// their algorithm.
    pub const POWER_UP: &'static [Self] = &[
        Self::Integrity,
        Self::Drbg,
        Self::Kbkdf,
        Self::AesGcm,
        Self::Hmac,
        Self::HashDrbg,
        Self::EcdsaSign,
        Self::EcdsaVerify,
        Self::Ecdh,
        Self::AesKwp,
        Self::AesCbc,
        Self::Shamir,
    ];
}

macro_rules! known_answers {
    ($($(#[doc = $doc:literal])+ $name:ident)+) => {
        /// A known-answer test that can be corrupted.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kat {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Kat {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];
        }
    };
}

known_answers! {
    /// Integrity of the firmware image.
    Integrity
    /// CTR_DRBG instantiate, reseed, generate.
    Drbg
    /// KBKDF in counter mode.
    Kbkdf
    /// AES-256-GCM.
    AesGcm
    /// HMAC-SHA-256.
    Hmac
    /// Hash_DRBG instantiate, generate.
    HashDrbg
    /// ECDSA P-256 signature generation.
    EcdsaSign
    /// ECDSA P-256 signature verification.
    EcdsaVerify
    /// ECDH P-256.
    Ecdh
    /// Pair-wise consistency of a new key pair.
    Pairwise
    /// HMAC-SHA-224.
    Hmac224
    /// HMAC-SHA-384.
    Hmac384
    /// HMAC-SHA-512.
    Hmac512
    /// ECDSA P-384 signature generation.
    EcdsaP384Sign
    /// ECDSA P-384 signature verification.
    EcdsaP384Verify
    /// ECDH P-384.
    EcdhP384
    /// ECDSA P-521 signature generation.
    EcdsaP521Sign
    /// ECDSA P-521 signature verification.
    EcdsaP521Verify
    /// ECDH P-521.
    EcdhP521
    /// ECDSA secp256k1 signature generation.
    EcdsaK256Sign
    /// ECDSA secp256k1 signature verification.
    EcdsaK256Verify
    /// Ed25519 signature generation.
    Ed25519Sign
    /// Ed25519 signature verification.
    Ed25519Verify
    /// Ed25519ph signature generation.
    Ed25519phSign
    /// Ed25519ph signature verification.
    Ed25519phVerify
    /// RSASSA-PKCS1-v1_5 signature generation.
    RsaSign
    /// RSASSA-PKCS1-v1_5 signature verification.
    RsaVerify
    /// RSASSA-PSS signature verification.
    RsaPssVerify
    /// RSAES-OAEP decryption.
    RsaOaep
    /// ML-DSA key generation.
    MlDsaKeyGen
    /// ML-DSA signature generation.
    MlDsaSign
    /// ML-DSA signature verification.
    MlDsaVerify
    /// ML-DSA signature generation for an external mu.
    MlDsaMuSign
    /// ML-DSA signature verification for an external mu.
    MlDsaMuVerify
    /// ML-KEM key generation.
    MlKemKeyGen
    /// ML-KEM encapsulation.
    MlKemEncapsulate
    /// ML-KEM decapsulation.
    MlKemDecapsulate
    /// ML-KEM implicit rejection.
    MlKemReject
    /// AES key wrap with padding.
    AesKwp
    /// AES-256-CBC encryption.
    AesCbc
    /// Secret sharing.
    Shamir
}

#[cfg(any(test, feature = "test-platform"))]
mod hook {
    use core::cell::Cell;

    use super::Kat;

    std::thread_local! {
        static FAULT: Cell<Option<Kat>> = const { Cell::new(None) };
    }

    /// Corrupts one known-answer test on this thread from now on; `None` ends the fault.
    pub fn inject(kat: Option<Kat>) {
        FAULT.set(kat);
    }

    pub(crate) fn tamper(kat: Kat, answer: &mut [u8]) {
        if FAULT.get() == Some(kat) {
            answer.iter_mut().for_each(|byte| *byte ^= 1);
        }
    }
}

#[cfg(any(test, feature = "test-platform"))]
pub use hook::inject;
#[cfg(any(test, feature = "test-platform"))]
pub(crate) use hook::tamper;

/// Called on each computed answer before it is compared.
#[cfg(not(any(test, feature = "test-platform")))]
#[inline(always)]
pub(crate) const fn tamper(_kat: Kat, _answer: &mut [u8]) {}
