//! The algorithm registry: one `&'static dyn Algorithm` for each key spec, handed in by the
//! platform.
//!
//! A key type is one file: implementation, self-test and vectors together. Methods that a spec
//! does not have answer [`ErrorCode::UNSUPPORTED`]; the self-tests have no default.

use core::fmt;

use hsm_protocol::key_spec::{
    EncryptionAlgorithm, KeySpec, MAX_PUBLIC_KEY, MacAlgorithm, SigningAlgorithm,
};
use hsm_protocol::{ErrorCode, KeyId, MaterialId};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;

use crate::secret::{Secret, SecretBuf};

pub mod aes_gcm;
pub mod ecc;
pub mod ecdsa_k256;
pub mod ecdsa_p256;
pub mod ecdsa_p384;
pub mod ecdsa_p521;
pub mod ed25519;
#[cfg(feature = "foreign-entries")]
mod foreign;
pub mod hmac;
pub mod ml_dsa;
pub mod ml_kem;
mod registry;
#[cfg(feature = "rsa")]
pub mod rsa;
#[cfg(not(feature = "rsa"))]
mod rsa_left_out;

#[cfg(feature = "foreign-entries")]
pub use foreign::test_foreign;
#[cfg(all(feature = "cortex-m4", target_arch = "arm"))]
pub use registry::cortex_m4;
#[cfg(feature = "rsa")]
pub use registry::portable::EVERYTHING as PORTABLE;
pub use registry::{MAX_ALGORITHMS, find, portable};
#[cfg(feature = "rsa")]
pub(crate) use rsa::Search;
#[cfg(not(feature = "rsa"))]
pub(crate) use rsa_left_out::Search;

/// Length of the longest MAC in bytes: HMAC-SHA-512's.
const MAX_MAC: usize = 64;
/// The cryptography of one key spec.
///
/// Implementations hold no keys but those between [`Algorithm::expand`] and [`Algorithm::forget`]. Whatever
/// else they derive from a secret they zeroise before they return.
pub trait Algorithm: Sync {
    /// The key spec.
    fn spec(&self) -> KeySpec;

    /// Whether the services of this key type are approved (FIPS 140-3 IG 2.4.C).
    fn is_approved(&self) -> bool {
        true
    }

    /// Conditional algorithm self-test: known answers for every operation (FIPS 140-3 IG 10.3.A).
    ///
    /// # Errors
    /// [`ErrorCode::SELF_TEST_FAILED`].
    fn self_test(&self) -> Result<(), ErrorCode>;

    /// Generates key material into `out`.
    ///
    /// # Errors
    /// None but those of the method's contract: `out` is large enough for every spec.
    fn generate(&self, rng: &mut dyn CryptoRng, out: &mut SecretBuf) -> Result<(), ErrorCode>;

    /// Pair-wise consistency test of a new key pair (FIPS 140-3 IG 10.3.A); nothing to do for a
    /// symmetric key.
    ///
    /// # Errors
    /// [`ErrorCode::PAIRWISE_FAILED`].
    fn pairwise_test(&self, secret: &SecretBuf, rng: &mut dyn CryptoRng) -> Result<(), ErrorCode>;

    /// Writes the public half, DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`ErrorCode::UNSUPPORTED`] for a symmetric key.
    fn public_key(&self, _secret: &SecretBuf, _out: &mut PublicKeyBuf) -> Result<(), ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Replaces a secret by what each use would compute from it anew, if that is worth keeping with
    /// an unwrapped key. All other methods take either form, but for [`Algorithm::private_key`].
    ///
    /// # Errors
    /// [`ErrorCode::SPEC_DENIED`] if the secret is not one of the spec's.
    fn expand(&self, _secret: &mut SecretBuf) -> Result<(), ErrorCode> {
        Ok(())
    }

    /// Zeroises what [`Algorithm::expand`] keeps outside of the secret, which is given in its expanded form.
    /// Called once for each secret that was expanded, when the key is not kept any longer.
    fn forget(&self, _secret: &SecretBuf) {}

    /// Signs into the front of `out` and returns the signature's length.
    ///
    /// # Errors
    /// [`ErrorCode::SPEC_DENIED`] if the algorithm is not one of the spec's;
    /// [`ErrorCode::MESSAGE_LENGTH`] for a digest of wrong length;
    /// [`ErrorCode::TOO_LARGE`] if `out` is too small.
    fn sign(
        &self,
        _secret: &SecretBuf,
        _algorithm: SigningAlgorithm,
        _message: Message<'_>,
        _rng: &mut dyn CryptoRng,
        _out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Verifies a signature with what [`Algorithm::public_key`] wrote.
    ///
    /// # Errors
    /// [`ErrorCode::SIGNATURE_INVALID`], and those of [`Algorithm::sign`].
    fn verify(
        &self,
        _public: &PublicKeyBuf,
        _algorithm: SigningAlgorithm,
        _message: Message<'_>,
        _signature: &[u8],
    ) -> Result<(), ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Writes the private half, DER PKCS#8 (RFC 5958), into the front of `out` and returns its
    /// length.
    ///
    /// # Errors
    /// [`ErrorCode::UNSUPPORTED`] for a spec that data key pairs do not have;
    /// [`ErrorCode::TOO_LARGE`] if `out` is too small.
    fn private_key(&self, _secret: &SecretBuf, _out: &mut [u8]) -> Result<usize, ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Takes key material made elsewhere: raw bytes of a symmetric key, DER PKCS#8 of a private
    /// key. Checks its form; [`Algorithm::pairwise_test`] checks the pair.
    ///
    /// # Errors
    /// [`ErrorCode::KEY_MATERIAL_INVALID`]; [`ErrorCode::UNSUPPORTED`] if the spec has no import.
    fn import(&self, _material: &[u8], _out: &mut SecretBuf) -> Result<(), ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Encrypts with what [`Algorithm::public_key`] wrote, into the front of `out`; returns the
    /// ciphertext's length.
    ///
    /// # Errors
    /// [`ErrorCode::SPEC_DENIED`] if the algorithm is not one of the spec's;
    /// [`ErrorCode::MESSAGE_LENGTH`] for a plaintext that the key is too short for;
    /// [`ErrorCode::TOO_LARGE`] if `out` is too small.
    fn encrypt_public(
        &self,
        _public: &PublicKeyBuf,
        _algorithm: EncryptionAlgorithm,
        _plaintext: &[u8],
        _rng: &mut dyn CryptoRng,
        _out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Decrypts what [`Algorithm::encrypt_public`] made, blinded with `rng`, into the front of
    /// `out`; returns the plaintext's length.
    ///
    /// # Errors
    /// [`ErrorCode::CIPHERTEXT_INVALID`] alike for every fault of the ciphertext;
    /// [`ErrorCode::SPEC_DENIED`] if the algorithm is not one of the spec's.
    fn decrypt_private(
        &self,
        _secret: &SecretBuf,
        _algorithm: EncryptionAlgorithm,
        _ciphertext: &[u8],
        _rng: &mut dyn CryptoRng,
        _out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Agrees on a shared secret with a peer's public key, DER `SubjectPublicKeyInfo`: the raw
    /// Z of SP 800-56A 5.7.1.2.
    ///
    /// # Errors
    /// [`ErrorCode::KEY_MATERIAL_INVALID`] if the peer's key is not a valid one of the same curve.
    fn agree(
        &self,
        _secret: &SecretBuf,
        _peer: &[u8],
        _shared: &mut SecretBuf,
    ) -> Result<(), ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Encapsulates a fresh shared secret for what [`Algorithm::public_key`] wrote: the ciphertext
    /// goes into the front of `out`; returns its length.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `out` is too small.
    fn encapsulate(
        &self,
        _public: &PublicKeyBuf,
        _rng: &mut dyn CryptoRng,
        _shared: &mut Secret<32>,
        _out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Decapsulates a shared secret. A wrong ciphertext of the right length gives another secret
    /// (implicit rejection, FIPS 203 6.3).
    ///
    /// # Errors
    /// [`ErrorCode::CIPHERTEXT_INVALID`] for a ciphertext of wrong length.
    fn decapsulate(
        &self,
        _secret: &SecretBuf,
        _ciphertext: &[u8],
        _shared: &mut Secret<32>,
    ) -> Result<(), ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Encrypts into the front of `out` and returns the ciphertext's length. `out` must have
    /// room for [`Binding::context`] and a header besides the ciphertext.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if `out` is too small.
    fn encrypt(
        &self,
        _secret: &SecretBuf,
        _binding: &Binding<'_>,
        _plaintext: &[u8],
        _rng: &mut dyn CryptoRng,
        _out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Decrypts into the front of `out` and returns the plaintext's length. `out` must have room
    /// for [`Binding::context`] and a header besides the plaintext; after an error it holds no
    /// plaintext.
    ///
    /// # Errors
    /// [`ErrorCode::CIPHERTEXT_INVALID`] alike for every fault of the ciphertext;
    /// [`ErrorCode::TOO_LARGE`] if `out` is too small.
    fn decrypt(
        &self,
        _secret: &SecretBuf,
        _binding: &Binding<'_>,
        _ciphertext: &[u8],
        _out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Computes a MAC into the front of `out` and returns its length.
    ///
    /// # Errors
    /// [`ErrorCode::SPEC_DENIED`] if the algorithm is not one of the spec's;
    /// [`ErrorCode::TOO_LARGE`] if `out` is too small.
    fn mac(
        &self,
        _secret: &SecretBuf,
        _algorithm: MacAlgorithm,
        _message: &[u8],
        _out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        Err(ErrorCode::UNSUPPORTED)
    }

    /// Verifies a MAC, in constant time except for its length, which is the algorithm's.
    ///
    /// # Errors
    /// [`ErrorCode::MAC_INVALID`], and those of [`Algorithm::mac`].
    fn verify_mac(
        &self,
        secret: &SecretBuf,
        algorithm: MacAlgorithm,
        message: &[u8],
        mac: &[u8],
    ) -> Result<(), ErrorCode> {
        let mut expected = Secret::<MAX_MAC>::zeroed();
        let length = self.mac(secret, algorithm, message, expected.expose_mut())?;
        let expected = expected.expose().get(..length).unwrap_or_default();
        match bool::from(expected.ct_eq(mac)) {
            true => Ok(()),
            false => Err(ErrorCode::MAC_INVALID),
        }
    }
}

impl fmt::Debug for dyn Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Algorithm({:?})", self.spec())
    }
}

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// The message; the algorithm hashes it.
    Raw(&'a [u8]),
    /// Its digest, by the algorithm's hash.
    Digest(&'a [u8]),
    /// Its representative mu, 64 bytes (FIPS 204 6.2).
    ExternalMu(&'a [u8]),
}

/// What a ciphertext is bound to.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The KMS key.
    pub key: KeyId,
    /// The key material.
    pub material: &'a MaterialId,
    /// The canonical encryption context.
    pub context: &'a [u8],
}

/// A public key: DER `SubjectPublicKeyInfo`, up to [`MAX_PUBLIC_KEY`] bytes.
#[derive(Clone, Debug)]
pub struct PublicKeyBuf {
    bytes: [u8; MAX_PUBLIC_KEY],
    len: usize,
}

impl PublicKeyBuf {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: [0; MAX_PUBLIC_KEY], len: 0 }
    }

    /// The key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sets the key to `parts`, one after another.
    ///
    /// # Errors
    /// [`ErrorCode::TOO_LARGE`] if they exceed [`MAX_PUBLIC_KEY`].
    pub fn set(&mut self, parts: &[&[u8]]) -> Result<(), ErrorCode> {
        let written = hsm_protocol::bytes::concat(&mut self.bytes, parts);
        self.len = written.ok_or(ErrorCode::TOO_LARGE)?.len();
        Ok(())
    }
}

impl Default for PublicKeyBuf {
    fn default() -> Self {
        Self::new()
    }
}

/// `SubjectPublicKeyInfo` up to a key without structure, for keys that make it longer than 255
/// bytes: `algorithm` is the `AlgorithmIdentifier` except for the last byte of its OID, `size` the
/// length of the whole.
fn long_spki_prefix(algorithm: &[u8; 12], oid: u8, size: usize) -> Result<[u8; 22], ErrorCode> {
    let length = |size: Option<usize>| {
        let size = size.and_then(|size| u16::try_from(size).ok());
        size.map(u16::to_be_bytes).ok_or(ErrorCode::INTERNAL)
    };
    let mut prefix = [0; 22];
    let (outer, inner) = (length(size.checked_sub(4))?, length(size.checked_sub(21))?);
    let parts: [&[u8]; 7] =
        [&[0x30, 0x82], &outer, algorithm, &[oid], &[0x03, 0x82], &inner, &[0x00]];
    hsm_protocol::bytes::concat(&mut prefix, &parts).ok_or(ErrorCode::INTERNAL)?;
    Ok(prefix)
}
