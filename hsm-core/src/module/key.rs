//! An unwrapped key, as handlers use it.

use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeySpec, MacAlgorithm, SigningAlgorithm};
use hsm_protocol::token::KeyAttributes;

use crate::algorithm::{Algorithm, Binding, Message, PublicKeyBuf};
use crate::drbg::Drbg;
use crate::keystore::cache::Unwrapped;
use crate::secret::{Secret, SecretBuf};

/// An unwrapped key with its algorithm, for the time of one command.
pub(crate) struct Key<'m> {
    pub(super) unwrapped: &'m mut Unwrapped,
    pub(super) algorithm: &'static dyn Algorithm,
    pub(super) rng: &'m mut Drbg,
}

impl Key<'_> {
    /// What its token says.
    pub(crate) const fn attributes(&self) -> &KeyAttributes {
        &self.unwrapped.attributes
    }

    /// The key's spec.
    pub(crate) const fn spec(&self) -> KeySpec {
        self.unwrapped.attributes.spec
    }

    /// Whether its services are approved.
    pub(crate) fn is_approved(&self) -> bool {
        self.algorithm.is_approved()
    }

    /// The public half.
    pub(crate) fn public(&mut self) -> Result<&PublicKeyBuf, ErrorCode> {
        let Unwrapped { secret, public, .. } = &mut *self.unwrapped;
        if public.is_empty() {
            self.algorithm.public_key(secret, public)?;
        }
        Ok(public)
    }

    /// Signs into the front of `out`; returns the signature's length.
    pub(crate) fn sign(
        self,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let secret = &self.unwrapped.secret;
        fits(self.algorithm.sign(secret, algorithm, message, self.rng, out))
    }

    /// Verifies a signature.
    pub(crate) fn verify(
        mut self,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), ErrorCode> {
        let implementation = self.algorithm;
        fits(implementation.verify(self.public()?, algorithm, message, signature))
    }

    /// Computes a MAC into the front of `out`; returns its length.
    pub(crate) fn mac(
        self,
        algorithm: MacAlgorithm,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        fits(self.algorithm.mac(&self.unwrapped.secret, algorithm, message, out))
    }

    /// Verifies a MAC.
    pub(crate) fn verify_mac(
        self,
        algorithm: MacAlgorithm,
        message: &[u8],
        mac: &[u8],
    ) -> Result<(), ErrorCode> {
        fits(self.algorithm.verify_mac(&self.unwrapped.secret, algorithm, message, mac))
    }

    /// Encrypts into the front of `out`; returns the blob's length.
    pub(crate) fn encrypt(
        self,
        context: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let binding = binding(self.unwrapped, context);
        let secret = &self.unwrapped.secret;
        fits(self.algorithm.encrypt(secret, &binding, plaintext, self.rng, out))
    }

    /// Decrypts into the front of `out`; returns the plaintext's length.
    pub(crate) fn decrypt(
        self,
        context: &[u8],
        blob: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let binding = binding(self.unwrapped, context);
        fits(self.algorithm.decrypt(&self.unwrapped.secret, &binding, blob, out))
    }

    /// Encrypts with the public half into the front of `out`; returns the ciphertext's length.
    pub(crate) fn encrypt_public(
        mut self,
        algorithm: EncryptionAlgorithm,
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        fits(self.public().map(|_| ()))?;
        let public = &self.unwrapped.public;
        fits(self.algorithm.encrypt_public(public, algorithm, plaintext, self.rng, out))
    }

    /// Decrypts with the private half into the front of `out`; returns the plaintext's length.
    pub(crate) fn decrypt_private(
        self,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let secret = &self.unwrapped.secret;
        fits(self.algorithm.decrypt_private(secret, algorithm, ciphertext, self.rng, out))
    }

    /// Agrees on a shared secret with a peer's public key.
    pub(crate) fn agree(self, peer: &[u8], shared: &mut SecretBuf) -> Result<(), ErrorCode> {
        fits(self.algorithm.agree(&self.unwrapped.secret, peer, shared))
    }

    /// Encapsulates a shared secret; returns the length of the ciphertext in `out`.
    pub(crate) fn encapsulate(
        mut self,
        shared: &mut Secret<32>,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        fits(self.public().map(|_| ()))?;
        let public = &self.unwrapped.public;
        fits(self.algorithm.encapsulate(public, self.rng, shared, out))
    }

    /// Decapsulates a shared secret.
    pub(crate) fn decapsulate(
        self,
        ciphertext: &[u8],
        shared: &mut Secret<32>,
    ) -> Result<(), ErrorCode> {
        fits(self.algorithm.decapsulate(&self.unwrapped.secret, ciphertext, shared))
    }
}

/// What an entry of the registry does not do, its spec is not for.
fn fits<T>(result: Result<T, ErrorCode>) -> Result<T, ErrorCode> {
    match result {
        Err(ErrorCode::UNSUPPORTED) => Err(ErrorCode::SPEC_DENIED),
        result => result,
    }
}

fn binding<'a>(key: &'a Unwrapped, context: &'a [u8]) -> Binding<'a> {
    Binding { key: key.attributes.key, material: &key.attributes.material, context }
}
