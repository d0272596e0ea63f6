//! Faults in known-answer tests, for the tests that expect the error state.
//!
//! Firmware images are built without the `test-platform` feature: there [`tamper`] is empty.

/// A known-answer test that can be corrupted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kat {
    /// Integrity of the firmware image.
    Integrity,
    /// CTR_DRBG instantiate, reseed, generate.
    Drbg,
    /// KBKDF in counter mode.
    Kbkdf,
    /// AES-256-GCM.
    AesGcm,
    /// HMAC-SHA-256.
    Hmac,
    /// ECDSA P-256 signature generation.
    EcdsaSign,
    /// ECDSA P-256 signature verification.
    EcdsaVerify,
    /// ECDH P-256.
    Ecdh,
    /// Pair-wise consistency of a new key pair.
    Pairwise,
}

impl Kat {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Integrity,
        Self::Drbg,
        Self::Kbkdf,
        Self::AesGcm,
        Self::Hmac,
        Self::EcdsaSign,
        Self::EcdsaVerify,
        Self::Ecdh,
        Self::Pairwise,
    ];
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
