//! Calls of one device, short enough for tests.

use std::thread;
use std::time::Duration;

use host_driver::device::Device;
use host_driver::error::CallError;
use hsm_protocol::command::cipher::{Decrypt, Encrypt};
use hsm_protocol::command::key::{GenerateKey, KeyRef, PrepareKeyPair};
use hsm_protocol::key_spec::{KeySpec, KeyUsage};
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{Bytes, Command, ErrorCode, KeyId};

use crate::testbed::TAG;

/// How often a device is asked whether it has found a key pair.
const PAUSE: Duration = Duration::from_millis(20);

/// A key made by a device, as a host keeps it.
#[derive(Clone, Debug)]
pub struct StoredKey {
    /// The key id.
    pub id: KeyId,
    /// The key token.
    pub token: Vec<u8>,
}

impl StoredKey {
    /// As commands take it.
    #[must_use]
    pub fn by_ref(&self) -> KeyRef<'_> {
        KeyRef { id: self.id, token: Bytes(&self.token) }
    }
}

/// Generates a key.
///
/// # Panics
/// If the device does otherwise.
#[must_use]
pub fn make(device: &Device, number: u8, spec: KeySpec, usage: KeyUsage) -> StoredKey {
    let id = KeyId::single_region([number; 16]);
    let reply = device.call_blocking(&GenerateKey { id, spec, usage }, TAG).expect("generated");
    let token = reply.response().expect("decodes").token.to_vec();
    StoredKey { id, token }
}

/// A key pair prepared for a purpose; waits until the device has found one.
///
/// # Panics
/// If the device refuses.
#[must_use]
pub fn prepare(device: &Device, spec: KeySpec, purpose: PairPurpose) -> Vec<u8> {
    loop {
        match device.call_blocking(&PrepareKeyPair { spec, purpose }, TAG) {
            Err(CallError::Refused { code: ErrorCode::NOT_READY, .. }) => thread::sleep(PAUSE),
            reply => {
                let reply = reply.expect("a crypto user may");
                return reply.response().expect("decodes").pair.to_vec();
            }
        }
    }
}

/// Generates an encryption key.
///
/// # Panics
/// If the device does otherwise.
#[must_use]
pub fn symmetric(device: &Device, number: u8) -> StoredKey {
    make(device, number, KeySpec::SYMMETRIC_DEFAULT, KeyUsage::ENCRYPT_DECRYPT)
}

/// Generates a signing key.
///
/// # Panics
/// If the device does otherwise.
#[must_use]
pub fn signing(device: &Device, number: u8) -> StoredKey {
    make(device, number, KeySpec::ECC_NIST_P256, KeyUsage::SIGN_VERIFY)
}

/// Generates a MAC key.
///
/// # Panics
/// If the device does otherwise.
#[must_use]
pub fn mac(device: &Device, number: u8) -> StoredKey {
    make(device, number, KeySpec::HMAC_256, KeyUsage::GENERATE_VERIFY_MAC)
}

/// The device's reason to refuse a command.
///
/// # Panics
/// If it does not.
#[must_use]
pub fn refusal<C: Command>(device: &Device, command: &C) -> ErrorCode {
    match device.call_blocking(command, TAG) {
        Err(CallError::Refused { code, .. }) => code,
        other => panic!("{:?} was not refused: {other:?}", C::OPCODE),
    }
}

/// Encrypts.
///
/// # Panics
/// If the device does otherwise.
#[must_use]
pub fn encrypt(device: &Device, key: &StoredKey, context: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let (context, plaintext) = (Bytes(context), Bytes(plaintext));
    let command = Encrypt { key: key.by_ref(), context, plaintext };
    let reply = device.call_blocking(&command, TAG).expect("encrypted");
    reply.response().expect("decodes").blob.to_vec()
}

/// Decrypts.
///
/// # Panics
/// If the device does otherwise.
#[must_use]
pub fn decrypt(device: &Device, key: &StoredKey, context: &[u8], blob: &[u8]) -> Vec<u8> {
    let command = Decrypt { key: key.by_ref(), context: Bytes(context), blob: Bytes(blob) };
    let reply = device.call_blocking(&command, TAG).expect("decrypted");
    reply.response().expect("decodes").plaintext.to_vec()
}

/// The reason to refuse a decryption.
///
/// # Panics
/// If the device does otherwise.
#[must_use]
pub fn decrypt_refused(device: &Device, key: &StoredKey, context: &[u8], blob: &[u8]) -> ErrorCode {
    let command = Decrypt { key: key.by_ref(), context: Bytes(context), blob: Bytes(blob) };
    refusal(device, &command)
}

/// The code a command is refused with, if it is.
///
/// # Panics
/// If the call fails in another way.
#[must_use]
pub fn outcome<C: Command>(device: &Device, command: &C) -> Option<ErrorCode> {
    match device.call_blocking(command, TAG) {
        Ok(_) => None,
        Err(CallError::Refused { code, .. }) => Some(code),
        Err(error) => panic!("{:?}: {error}", C::OPCODE),
    }
}
