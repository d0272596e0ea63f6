//! Encryption, data keys and data key pairs.

use host_driver::Reply;
use hsm_protocol::Bytes;
use hsm_protocol::command::cipher;
use hsm_protocol::command::key::KeyRef;
use hsm_protocol::key_spec::{EncryptionAlgorithm, KeySpec};
use hsm_protocol::token::sealed::PairPurpose;
use zeroize::Zeroizing;

use super::approval::{refuse_unrepeatable, rule_of_key};
use super::keys::is_slow;
use super::{Busy, Delivery, Devices, Receiver, current, of_blob};
use crate::envelope::Envelope;
use crate::policy::Authorized;
use kms_base::error::KmsError;
use kms_model::action::{self, KeyAction};

/// A ciphertext, and what makes it one of its key.
#[derive(Debug, Clone, Copy)]
pub enum Ciphertext<'a> {
    /// A blob of a symmetric key.
    Blob(Envelope<'a>),
    /// What the public half of an asymmetric key encrypted.
    Asymmetric(EncryptionAlgorithm, &'a [u8]),
}

/// An action that makes a data key pair.
pub trait MakesPairs: KeyAction {}

impl MakesPairs for action::GenerateDataKeyPair {}
impl MakesPairs for action::GenerateDataKeyPairWithoutPlaintext {}

/// A key to encrypt or decrypt with.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a, A> {
    /// The key.
    pub key: &'a Authorized<A>,
    /// The algorithm.
    pub algorithm: EncryptionAlgorithm,
    /// Canonical encryption context; empty with an asymmetric algorithm.
    pub context: &'a [u8],
}

impl<'a, A> Side<'a, A> {
    /// The same for a device, with the material to use.
    const fn named(self, key: KeyRef<'a>) -> cipher::Side<'a> {
        cipher::Side { key, algorithm: self.algorithm, context: Bytes(self.context) }
    }
}

impl Devices<'_> {
    /// Encrypts under the current key material.
    ///
    /// # Errors
    /// `Exception::KeyUnavailable` if no device can do it now.
    pub async fn encrypt<'k>(
        &mut self,
        key: &'k Authorized<action::Encrypt>,
        context: &'k [u8],
        plaintext: &'k [u8],
    ) -> Result<Reply<cipher::Encrypt<'k>>, KmsError> {
        let used = current(key)?;
        let command =
            cipher::Encrypt { key: used, context: Bytes(context), plaintext: Bytes(plaintext) };
        self.use_key(key, used, &command).await
    }

    /// Decrypts a blob of this key.
    ///
    /// # Errors
    /// `Exception::InvalidCiphertext` if the blob is damaged, of unknown key material, or has
    /// another context; `Exception::KeyUnavailable` if no device can do it now.
    pub async fn decrypt<'k>(
        &mut self,
        key: &'k Authorized<action::Decrypt>,
        context: &'k [u8],
        blob: Envelope<'k>,
        receiver: Receiver<'k>,
    ) -> Result<Delivery<'k, cipher::Decrypt<'k>>, KmsError> {
        let used = of_blob(key, blob)?;
        let command =
            cipher::Decrypt { key: used, context: Bytes(context), blob: Bytes(blob.bytes) };
        self.deliver(command, Some(used), receiver, Some(key.spec), Busy::KeyUnavailable).await
    }

    /// Decrypts a blob of `source` and encrypts under `destination`, inside one device.
    ///
    /// # Errors
    /// As for [`Devices::decrypt`].
    pub async fn re_encrypt<'k>(
        &mut self,
        source: &'k Authorized<action::ReEncryptFrom>,
        source_context: &'k [u8],
        blob: Envelope<'k>,
        destination: &'k Authorized<action::ReEncryptTo>,
        destination_context: &'k [u8],
    ) -> Result<Reply<cipher::ReEncrypt<'k>>, KmsError> {
        let (from, to) = (of_blob(source, blob)?, current(destination)?);
        let command = cipher::ReEncrypt {
            source: from,
            source_context: Bytes(source_context),
            blob: Bytes(blob.bytes),
            destination: to,
            destination_context: Bytes(destination_context),
        };
        let spec = Some(destination.spec);
        self.call_using(&[from, to], &command, spec, Busy::KeyUnavailable).await
    }

    /// A data key of `length` bytes, in the clear and encrypted.
    ///
    /// # Errors
    /// `Exception::KeyUnavailable` if no device can do it now.
    pub async fn data_key<'k>(
        &mut self,
        key: &'k Authorized<action::GenerateDataKey>,
        context: &'k [u8],
        length: u16,
        receiver: Receiver<'k>,
    ) -> Result<Delivery<'k, cipher::GenerateDataKey<'k>>, KmsError> {
        let (used, context) = (current(key)?, Bytes(context));
        let command = cipher::GenerateDataKey { key: used, context, length };
        self.deliver(command, Some(used), receiver, Some(key.spec), Busy::KeyUnavailable).await
    }

    /// A data key of `length` bytes, encrypted only.
    ///
    /// # Errors
    /// `Exception::KeyUnavailable` if no device can do it now.
    pub async fn wrapped_data_key<'k>(
        &mut self,
        key: &'k Authorized<action::GenerateDataKeyWithoutPlaintext>,
        context: &'k [u8],
        length: u16,
    ) -> Result<Reply<cipher::GenerateDataKeyWithoutPlaintext<'k>>, KmsError> {
        let (used, context) = (current(key)?, Bytes(context));
        let command = cipher::GenerateDataKeyWithoutPlaintext { key: used, context, length };
        self.use_key(key, used, &command).await
    }

    /// Encrypts with the public half of an asymmetric key.
    ///
    /// # Errors
    /// `Exception::KeyUnavailable` if no device can do it now.
    pub async fn encrypt_public<'k>(
        &mut self,
        key: &'k Authorized<action::Encrypt>,
        algorithm: EncryptionAlgorithm,
        plaintext: &'k [u8],
    ) -> Result<Reply<cipher::EncryptPublic<'k>>, KmsError> {
        let plaintext = Bytes(plaintext);
        let command = cipher::EncryptPublic { key: current(key)?, algorithm, plaintext };
        self.use_public(key, &command).await
    }

    /// Decrypts with the private half of an asymmetric key.
    ///
    /// # Errors
    /// `Exception::InvalidCiphertext`; `Exception::KeyUnavailable` if no device can do it
    /// now.
    pub async fn decrypt_private<'k>(
        &mut self,
        key: &'k Authorized<action::Decrypt>,
        algorithm: EncryptionAlgorithm,
        ciphertext: &'k [u8],
        receiver: Receiver<'k>,
    ) -> Result<Delivery<'k, cipher::DecryptPrivate<'k>>, KmsError> {
        let (used, ciphertext) = (current(key)?, Bytes(ciphertext));
        let command = cipher::DecryptPrivate { key: used, algorithm, ciphertext };
        self.deliver(command, Some(used), receiver, Some(key.spec), Busy::KeyUnavailable).await
    }

    /// Decrypts a ciphertext of one key and encrypts it under another, inside one device.
    ///
    /// # Errors
    /// `Exception::InvalidCiphertext`; `Exception::Validation` if the plaintext is too long
    /// for the destination; `Exception::KeyUnavailable` if no device can do it now.
    pub async fn re_encrypt_across<'k>(
        &mut self,
        source: Side<'k, action::ReEncryptFrom>,
        ciphertext: Ciphertext<'k>,
        destination: Side<'k, action::ReEncryptTo>,
    ) -> Result<Reply<cipher::ReEncryptAcross<'k>>, KmsError> {
        let (key, bytes) = match ciphertext {
            Ciphertext::Blob(blob) => (of_blob(source.key, blob)?, blob.bytes),
            Ciphertext::Asymmetric(_, bytes) => (current(source.key)?, bytes),
        };
        let to = current(destination.key)?;
        let command = cipher::ReEncryptAcross {
            source: source.named(key),
            ciphertext: Bytes(bytes),
            destination: destination.named(to),
        };
        let spec = Some(more_demanding(source.key.spec, destination.key.spec));
        // Of an asymmetric destination the public half is enough.
        let is_symmetric = destination.algorithm == EncryptionAlgorithm::SYMMETRIC_DEFAULT;
        let used = if is_symmetric { &[key, to][..] } else { &[key] };
        self.call_using(used, &command, spec, Busy::KeyUnavailable).await
    }

    /// What [`Devices::data_key_pair`] takes for a pair of this spec.
    ///
    /// # Errors
    /// `Exception::UnsupportedOperation` if no device has the spec;
    /// `Exception::KeyUnavailable` if none has found a pair in time.
    pub async fn prepared_pair<A: MakesPairs>(
        &mut self,
        key: &Authorized<A>,
        spec: KeySpec,
    ) -> Result<Zeroizing<Vec<u8>>, KmsError> {
        if is_slow(spec) && rule_of_key(key).is_some() {
            return Err(refuse_unrepeatable("a data key pair of this spec"));
        }
        self.pair_if_slow(spec, PairPurpose::DATA_KEY_PAIR, Busy::DataKeyPair).await
    }

    /// A data key pair, its private half in the clear and encrypted.
    ///
    /// # Errors
    /// `Exception::UnsupportedOperation` if no device has the spec;
    /// `Exception::KeyUnavailable` if none can do it now.
    pub async fn data_key_pair<'k>(
        &mut self,
        key: &'k Authorized<action::GenerateDataKeyPair>,
        context: &'k [u8],
        spec: KeySpec,
        pair: &'k [u8],
        receiver: Receiver<'k>,
    ) -> Result<Delivery<'k, cipher::GenerateDataKeyPair<'k>>, KmsError> {
        let (used, context, pair) = (current(key)?, Bytes(context), Bytes(pair));
        let command = cipher::GenerateDataKeyPair { key: used, context, spec, pair };
        self.deliver(command, Some(used), receiver, Some(spec), Busy::DataKeyPair).await
    }

    /// A data key pair, its private half encrypted only.
    ///
    /// # Errors
    /// As for [`Devices::data_key_pair`].
    pub async fn wrapped_data_key_pair<'k>(
        &mut self,
        key: &'k Authorized<action::GenerateDataKeyPairWithoutPlaintext>,
        context: &'k [u8],
        spec: KeySpec,
        pair: &'k [u8],
    ) -> Result<Reply<cipher::GenerateDataKeyPairWithoutPlaintext<'k>>, KmsError> {
        let (used, context, pair) = (current(key)?, Bytes(context), Bytes(pair));
        let request = cipher::GenerateDataKeyPair { key: used, context, spec, pair };
        let command = cipher::GenerateDataKeyPairWithoutPlaintext { request };
        self.call_using(&[used], &command, Some(spec), Busy::DataKeyPair).await
    }
}

/// Of two specs that encrypt, the one that fewer boards have: memory is what small ones lack, and a
/// board that has an RSA spec has the smaller ones and symmetric keys too. What RSA needs of it grows
/// with the modulus, which is as long as the secret.
fn more_demanding(one: KeySpec, other: KeySpec) -> KeySpec {
    let size = |spec: &KeySpec| spec.row().map_or(0, |row| row.secret_size);
    std::cmp::max_by_key(one, other, size)
}

#[cfg(test)]
mod tests {
    use hsm_protocol::key_spec::KEY_SPECS;

    use super::*;

    #[test]
    fn a_longer_modulus_demands_more() {
        let rows = KEY_SPECS.iter().filter(|row| !row.encryption_algorithms.is_empty());
        let specs: Vec<_> = rows.map(|row| row.spec).collect();
        let [symmetric, rsa @ ..] = specs.as_slice() else { panic!("nothing encrypts") };
        assert_eq!(*symmetric, KeySpec::SYMMETRIC_DEFAULT);
        assert_eq!(rsa, [KeySpec::RSA_2048, KeySpec::RSA_3072, KeySpec::RSA_4096]);
        for (at, more) in specs.iter().enumerate() {
            for less in &specs[..at] {
                assert_eq!(more_demanding(*less, *more), *more);
                assert_eq!(more_demanding(*more, *less), *more);
            }
        }
    }
}
