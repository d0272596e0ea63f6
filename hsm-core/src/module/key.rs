//! An unwrapped key in the hands of a handler.

use hsm_protocol::ErrorCode;
use hsm_protocol::key_spec::{MacAlgorithm, SigningAlgorithm};

use crate::algorithm::{Algorithm, Binding, Message, PublicKeyBuf};
use crate::drbg::Drbg;
use crate::keystore::cache::Unwrapped;

/// An unwrapped key with its algorithm, for the time of one command.
pub(crate) struct Key<'m> {
    pub(super) unwrapped: &'m mut Unwrapped,
    pub(super) algorithm: &'static dyn Algorithm,
    pub(super) rng: &'m mut Drbg,
}

impl Key<'_> {
    /// The public half.
    pub(crate) fn public(&mut self) -> Result<&PublicKeyBuf, ErrorCode> {
        let Unwrapped { secret, public, .. } = &mut *self.unwrapped;
        if public.is_none() {
            let mut buffer = PublicKeyBuf::new();
            self.algorithm.public_key(secret, &mut buffer)?;
            *public = Some(buffer);
        }
        public.as_ref().ok_or(ErrorCode::INTERNAL)
    }

    /// Signs into the front of `out`; returns the signature's length.
    pub(crate) fn sign(
        self,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        self.algorithm.sign(&self.unwrapped.secret, algorithm, message, self.rng, out)
    }

    /// Verifies a signature.
    pub(crate) fn verify(
        mut self,
        algorithm: SigningAlgorithm,
        message: Message<'_>,
        signature: &[u8],
    ) -> Result<(), ErrorCode> {
        let implementation = self.algorithm;
        implementation.verify(self.public()?, algorithm, message, signature)
    }

    /// Computes a MAC into the front of `out`; returns its length.
    pub(crate) fn mac(
        self,
        algorithm: MacAlgorithm,
        message: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        self.algorithm.mac(&self.unwrapped.secret, algorithm, message, out)
    }

    /// Encrypts into the front of `out`; returns the blob's length.
    pub(crate) fn encrypt(
        self,
        context: &[u8],
        plaintext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let binding = binding(self.unwrapped, context);
        self.algorithm.encrypt(&self.unwrapped.secret, &binding, plaintext, self.rng, out)
    }

    /// Decrypts into the front of `out`; returns the plaintext's length.
    pub(crate) fn decrypt(
        self,
        context: &[u8],
        blob: &[u8],
        out: &mut [u8],
    ) -> Result<usize, ErrorCode> {
        let binding = binding(self.unwrapped, context);
        self.algorithm.decrypt(&self.unwrapped.secret, &binding, blob, out)
    }
}

fn binding<'a>(key: &'a Unwrapped, context: &'a [u8]) -> Binding<'a> {
    Binding { key: key.attributes.key, material: &key.attributes.material, context }
}
