//! Shared secrets.

use host_driver::Reply;
use hsm_protocol::Bytes;
use hsm_protocol::command::agree;

use super::{Busy, Delivery, Devices, Receiver, current};
use crate::policy::Authorized;
use kms_base::error::KmsError;
use kms_model::action;

impl Devices<'_> {
    /// Agrees on a shared secret with a peer, whose public key is DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// `Exception::Validation` if the public key is not a point of the same curve;
    /// `Exception::KeyUnavailable` if no device can do it now.
    pub async fn derive_shared_secret<'k>(
        &mut self,
        key: &'k Authorized<action::DeriveSharedSecret>,
        peer: &'k [u8],
        receiver: Receiver<'k>,
    ) -> Result<Delivery<'k, agree::DeriveSharedSecret<'k>>, KmsError> {
        let used = current(key)?;
        let command = agree::DeriveSharedSecret { key: used, peer: Bytes(peer) };
        self.deliver(command, Some(used), receiver, Some(key.spec), Busy::KeyUnavailable).await
    }

    /// Makes a shared secret and encapsulates it for the key.
    ///
    /// # Errors
    /// `Exception::KeyUnavailable` if no device can do
    /// it now.
    pub async fn encapsulate<'k>(
        &mut self,
        key: &'k Authorized<action::Encapsulate>,
    ) -> Result<Reply<agree::Encapsulate<'k>>, KmsError> {
        self.use_public(key, &agree::Encapsulate { key: current(key)? }).await
    }

    /// Decapsulates a shared secret.
    ///
    /// # Errors
    /// `Exception::InvalidCiphertext` if the ciphertext has a wrong length; a wrong one of the
    /// right length gives another secret. `Exception::KeyUnavailable` if no device can do it
    /// now.
    pub async fn decapsulate<'k>(
        &mut self,
        key: &'k Authorized<action::Decapsulate>,
        ciphertext: &'k [u8],
    ) -> Result<Reply<agree::Decapsulate<'k>>, KmsError> {
        let used = current(key)?;
        let command = agree::Decapsulate { key: used, ciphertext: Bytes(ciphertext) };
        self.use_key(key, used, &command).await
    }
}
