//! Signatures and MACs.

use host_driver::Reply;
use hsm_protocol::Bytes;
use hsm_protocol::command::{mac, sign};
use hsm_protocol::key_spec::{MacAlgorithm, MessageType, SigningAlgorithm};

use super::{Devices, current, response};
use crate::policy::Authorized;
use kms_base::error::KmsError;
use kms_model::action;

impl Devices<'_> {
    /// Signs a message or digest.
    ///
    /// # Errors
    /// `Exception::KeyUnavailable` if no device can do it now.
    pub async fn sign<'k>(
        &mut self,
        key: &'k Authorized<action::Sign>,
        algorithm: SigningAlgorithm,
        message_type: MessageType,
        message: &'k [u8],
    ) -> Result<Reply<sign::Sign<'k>>, KmsError> {
        let message = Bytes(message);
        let used = current(key)?;
        let command = sign::Sign { key: used, algorithm, message_type, message };
        self.use_key(key, used, &command).await
    }

    /// Verifies a signature.
    ///
    /// # Errors
    /// `Exception::KmsInvalidSignature`; `Exception::KeyUnavailable` if no device can do it
    /// now.
    pub async fn verify(
        &mut self,
        key: &Authorized<action::Verify>,
        algorithm: SigningAlgorithm,
        message_type: MessageType,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), KmsError> {
        let command = sign::Verify {
            key: current(key)?,
            algorithm,
            message_type,
            message: Bytes(message),
            signature: Bytes(signature),
        };
        response(&self.use_public(key, &command).await?)
    }

    /// Computes a MAC.
    ///
    /// # Errors
    /// `Exception::KeyUnavailable` if no device can do it now.
    pub async fn generate_mac<'k>(
        &mut self,
        key: &'k Authorized<action::GenerateMac>,
        algorithm: MacAlgorithm,
        message: &'k [u8],
    ) -> Result<Reply<mac::GenerateMac<'k>>, KmsError> {
        let message = Bytes(message);
        let used = current(key)?;
        let command = mac::GenerateMac { key: used, algorithm, message };
        self.use_key(key, used, &command).await
    }

    /// Verifies a MAC.
    ///
    /// # Errors
    /// `Exception::KmsInvalidMac`; `Exception::KeyUnavailable` if no device can do it now.
    pub async fn verify_mac(
        &mut self,
        key: &Authorized<action::VerifyMac>,
        algorithm: MacAlgorithm,
        message: &[u8],
        mac: &[u8],
    ) -> Result<(), KmsError> {
        let used = current(key)?;
        let command =
            mac::VerifyMac { key: used, algorithm, message: Bytes(message), mac: Bytes(mac) };
        response(&self.use_key(key, used, &command).await?)
    }
}
