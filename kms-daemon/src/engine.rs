//! Keys at work: every use of key material, by a device of the pool.
//!
//! Keys are taken only as [`Authorized`], so nothing here can run before `policy::authorize` has
//! decided. What comes back stays in the driver's zeroising buffers; callers borrow from them.

use std::sync::Arc;

use host_driver::pool::Route;
use host_driver::{CallError, Pool, Reply};
use hsm_protocol::command::{cipher, key, mac, random, sign};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, MacAlgorithm, MessageType, SigningAlgorithm};
use hsm_protocol::{AuditTag, Bytes, Command};

use crate::audit::DeviceReceipt;
use crate::envelope::Envelope;
use crate::error::{Exception, KmsError};
use crate::key::{KeyId, KeyMaterial, KeyRecord};
use crate::policy::{Authorized, AuthorizedAccount};

mod refusal;

use self::refusal::{Busy, refusal};

/// The devices that use keys.
#[derive(Clone)]
pub struct Engine {
    pool: Arc<Pool>,
}

/// The devices as one request uses them: commands carry its tag, and their receipts go to its
/// audit record.
pub struct Devices<'a> {
    pool: &'a Pool,
    tag: AuditTag,
    receipts: &'a mut Vec<DeviceReceipt>,
}

impl Engine {
    /// An engine over a pool of devices of one domain.
    #[must_use]
    pub const fn new(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    /// The devices, for the request with the given audit tag.
    pub fn devices<'a>(
        &'a self,
        audit_tag: [u8; AuditTag::SIZE],
        receipts: &'a mut Vec<DeviceReceipt>,
    ) -> Devices<'a> {
        Devices { pool: &self.pool, tag: AuditTag(audit_tag), receipts }
    }
}

impl Devices<'_> {
    /// Makes the first key material of a new key.
    ///
    /// # Errors
    /// [`Exception::DependencyTimeout`] if no device can do it now.
    pub async fn generate_key(
        &mut self,
        _account: &AuthorizedAccount,
        id: KeyId,
        spec: KeySpec,
        usage: KeyUsage,
    ) -> Result<KeyMaterial, KmsError> {
        let command = key::GenerateKey { id: id.device(), spec, usage };
        let reply = self.call(&command, Some(spec), Busy::DependencyTimeout).await?;
        let made = response(&reply)?;
        Ok(KeyMaterial { id: made.material, token: made.token.to_vec() })
    }

    /// Random bytes of the devices' DRBG.
    ///
    /// # Errors
    /// [`Exception::DependencyTimeout`] if no device can do it now.
    pub async fn random(
        &mut self,
        _account: &AuthorizedAccount,
        length: u16,
    ) -> Result<Reply<random::Random>, KmsError> {
        self.call(&random::Random { length }, None, Busy::DependencyTimeout).await
    }

    /// Encrypts under the current key material.
    ///
    /// # Errors
    /// [`Exception::KeyUnavailable`] if no device can do it now.
    pub async fn encrypt<'k>(
        &mut self,
        key: &'k Authorized<KeyRecord>,
        context: &'k [u8],
        plaintext: &'k [u8],
    ) -> Result<Reply<cipher::Encrypt<'k>>, KmsError> {
        let command = cipher::Encrypt {
            key: current(key)?,
            context: Bytes(context),
            plaintext: Bytes(plaintext),
        };
        self.use_key(key, &command).await
    }

    /// Decrypts a blob of this key.
    ///
    /// # Errors
    /// [`Exception::InvalidCiphertext`] if the blob is damaged, of unknown key material, or has
    /// another context; [`Exception::KeyUnavailable`] if no device can do it now.
    pub async fn decrypt<'k>(
        &mut self,
        key: &'k Authorized<KeyRecord>,
        context: &'k [u8],
        blob: Envelope<'k>,
    ) -> Result<Reply<cipher::Decrypt<'k>>, KmsError> {
        let command = cipher::Decrypt {
            key: of_blob(key, blob)?,
            context: Bytes(context),
            blob: Bytes(blob.bytes),
        };
        self.use_key(key, &command).await
    }

    /// Decrypts a blob of `source` and encrypts under `destination`, inside one device.
    ///
    /// # Errors
    /// As for [`Devices::decrypt`].
    pub async fn re_encrypt<'k>(
        &mut self,
        source: &'k Authorized<KeyRecord>,
        source_context: &'k [u8],
        blob: Envelope<'k>,
        destination: &'k Authorized<KeyRecord>,
        destination_context: &'k [u8],
    ) -> Result<Reply<cipher::ReEncrypt<'k>>, KmsError> {
        let command = cipher::ReEncrypt {
            source: of_blob(source, blob)?,
            source_context: Bytes(source_context),
            blob: Bytes(blob.bytes),
            destination: current(destination)?,
            destination_context: Bytes(destination_context),
        };
        self.use_key(destination, &command).await
    }

    /// A data key of `length` bytes, in clear and encrypted.
    ///
    /// # Errors
    /// [`Exception::KeyUnavailable`] if no device can do it now.
    pub async fn data_key<'k>(
        &mut self,
        key: &'k Authorized<KeyRecord>,
        context: &'k [u8],
        length: u16,
    ) -> Result<Reply<cipher::GenerateDataKey<'k>>, KmsError> {
        let context = Bytes(context);
        let command = cipher::GenerateDataKey { key: current(key)?, context, length };
        self.use_key(key, &command).await
    }

    /// A data key of `length` bytes, encrypted only.
    ///
    /// # Errors
    /// [`Exception::KeyUnavailable`] if no device can do it now.
    pub async fn wrapped_data_key<'k>(
        &mut self,
        key: &'k Authorized<KeyRecord>,
        context: &'k [u8],
        length: u16,
    ) -> Result<Reply<cipher::GenerateDataKeyWithoutPlaintext<'k>>, KmsError> {
        let context = Bytes(context);
        let command =
            cipher::GenerateDataKeyWithoutPlaintext { key: current(key)?, context, length };
        self.use_key(key, &command).await
    }

    /// Signs a message or digest.
    ///
    /// # Errors
    /// [`Exception::KeyUnavailable`] if no device can do it now.
    pub async fn sign<'k>(
        &mut self,
        key: &'k Authorized<KeyRecord>,
        algorithm: SigningAlgorithm,
        message_type: MessageType,
        message: &'k [u8],
    ) -> Result<Reply<sign::Sign<'k>>, KmsError> {
        let message = Bytes(message);
        let command = sign::Sign { key: current(key)?, algorithm, message_type, message };
        self.use_key(key, &command).await
    }

    /// Verifies a signature.
    ///
    /// # Errors
    /// [`Exception::KmsInvalidSignature`]; [`Exception::KeyUnavailable`] if no device can do it
    /// now.
    pub async fn verify(
        &mut self,
        key: &Authorized<KeyRecord>,
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
        response(&self.use_key(key, &command).await?)
    }

    /// The public half of an asymmetric key.
    ///
    /// # Errors
    /// [`Exception::KeyUnavailable`] if no device can do it now.
    pub async fn public_key<'k>(
        &mut self,
        key: &'k Authorized<KeyRecord>,
    ) -> Result<Reply<key::ExportPublicKey<'k>>, KmsError> {
        self.use_key(key, &key::ExportPublicKey { key: current(key)? }).await
    }

    /// Computes a MAC.
    ///
    /// # Errors
    /// [`Exception::KeyUnavailable`] if no device can do it now.
    pub async fn generate_mac<'k>(
        &mut self,
        key: &'k Authorized<KeyRecord>,
        algorithm: MacAlgorithm,
        message: &'k [u8],
    ) -> Result<Reply<mac::GenerateMac<'k>>, KmsError> {
        let message = Bytes(message);
        let command = mac::GenerateMac { key: current(key)?, algorithm, message };
        self.use_key(key, &command).await
    }

    /// Verifies a MAC.
    ///
    /// # Errors
    /// [`Exception::KmsInvalidMac`]; [`Exception::KeyUnavailable`] if no device can do it now.
    pub async fn verify_mac(
        &mut self,
        key: &Authorized<KeyRecord>,
        algorithm: MacAlgorithm,
        message: &[u8],
        mac: &[u8],
    ) -> Result<(), KmsError> {
        let command = mac::VerifyMac {
            key: current(key)?,
            algorithm,
            message: Bytes(message),
            mac: Bytes(mac),
        };
        response(&self.use_key(key, &command).await?)
    }

    /// Calls a device that supports keys like `key`.
    async fn use_key<C: Command>(
        &mut self,
        key: &Authorized<KeyRecord>,
        command: &C,
    ) -> Result<Reply<C>, KmsError> {
        self.call(command, Some(key.spec), Busy::KeyUnavailable).await
    }

    /// Calls a device that supports `spec`, if one is given.
    async fn call<C: Command>(
        &mut self,
        command: &C,
        spec: Option<KeySpec>,
        busy: Busy,
    ) -> Result<Reply<C>, KmsError> {
        let route = Route { spec, deadline: None };
        match self.pool.call_with(command, self.tag, route).await {
            Ok(reply) => {
                self.receipts.extend(reply.receipt.map(record_form));
                Ok(reply)
            }
            Err(error) => {
                if let CallError::Refused { receipt: Some(receipt), .. } = &error {
                    self.receipts.push(record_form(**receipt));
                }
                Err(refusal(error, busy))
            }
        }
    }
}

/// The response in a reply's buffer.
///
/// # Errors
/// [`Exception::KmsInternal`] if it does not decode.
pub fn response<C: Command>(reply: &Reply<C>) -> Result<C::Response<'_>, KmsError> {
    reply.response().map_err(KmsError::internal)
}

/// The material that encrypts, signs and computes MACs.
fn current(record: &KeyRecord) -> Result<key::KeyRef<'_>, KmsError> {
    let material = record
        .current_material()
        .ok_or_else(|| KmsError::internal(format!("{} has no key material", record.arn())))?;
    Ok(key::KeyRef { id: record.id.device(), token: Bytes(&material.token) })
}

/// The material that a blob was made with.
fn of_blob<'k>(record: &'k KeyRecord, blob: Envelope<'_>) -> Result<key::KeyRef<'k>, KmsError> {
    let material = record
        .material(&blob.material)
        .ok_or_else(|| KmsError::bare(Exception::InvalidCiphertext))?;
    Ok(key::KeyRef { id: record.id.device(), token: Bytes(&material.token) })
}

/// A receipt as audit records hold it.
fn record_form(receipt: host_driver::audit::DeviceReceipt) -> DeviceReceipt {
    let host_driver::audit::DeviceReceipt { device, epoch, entry, head } = receipt;
    DeviceReceipt { device, epoch, entry, head }
}
