//! Imports key material into a device, wrapped as its owner would.

use std::time::SystemTime;

use aes_kw::{KeyInit, KwpAes256};
use host_driver::CallError;
use host_driver::device::Device;
use hsm_protocol::command::import::{ImportKey, ParametersForImport};
use hsm_protocol::key_spec::{KeySpec, KeyUsage, WrappingAlgorithm};
use hsm_protocol::token::sealed::PairPurpose;
use hsm_protocol::{Bytes, ErrorCode, KeyId};
use rsa::pkcs8::DecodePublicKey;
use rsa::{Oaep, PublicKey};
use sha2::Sha256;

use crate::calls::prepare;
use crate::testbed::TAG;

/// Key that wraps the material; nobody here has a secret to keep.
const KEY: [u8; 32] = [0x17; 32];

/// A device and a wrapping key pair of its own.
pub struct Importer<'d> {
    device: &'d Device,
    pair: Vec<u8>,
}

impl<'d> Importer<'d> {
    /// Waits until the device has found a wrapping key pair.
    ///
    /// # Panics
    /// If the device refuses.
    #[must_use]
    pub fn new(device: &'d Device) -> Self {
        Self { device, pair: prepare(device, KeySpec::RSA_2048, PairPurpose::IMPORT) }
    }

    /// Imports raw bytes or PKCS#8; the key token, or why the device refuses the material.
    ///
    /// # Errors
    /// The device's, for the material.
    ///
    /// # Panics
    /// If anything else goes wrong.
    pub fn import(
        &self,
        id: KeyId,
        spec: KeySpec,
        usage: KeyUsage,
        material: &[u8],
    ) -> Result<Vec<u8>, ErrorCode> {
        let parcel = self.wrap(id, spec, usage, material);
        match self.device.call_blocking(&parcel.command(), TAG) {
            Ok(reply) => Ok(reply.response().expect("decodes").token.to_vec()),
            Err(CallError::Refused { code, .. }) => Err(code),
            Err(other) => panic!("{other}"),
        }
    }

    /// Wraps raw bytes or PKCS#8 for a key.
    ///
    /// # Panics
    /// If the device refuses.
    #[must_use]
    pub fn wrap(&self, id: KeyId, spec: KeySpec, usage: KeyUsage, material: &[u8]) -> Parcel {
        let algorithm = WrappingAlgorithm::RSA_AES_KEY_WRAP_SHA_256;
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock").as_millis();
        let now_ms = u64::try_from(now).expect("before the year 584556019");
        let pair = Bytes(&self.pair);
        let expires_ms = now_ms + 600_000;
        let request = ParametersForImport { id, spec, usage, algorithm, expires_ms, pair };
        let parameters = self.device.call_blocking(&request, TAG).expect("a crypto user may");
        let parameters = parameters.response().expect("decodes");

        let wrapped = wrap_with_aes(&parameters.public, material);
        Parcel { id, now_ms, token: parameters.token.to_vec(), wrapped }
    }
}

/// Wraps material for an RSA public key, DER, by RSA_AES_KEY_WRAP_SHA_256.
///
/// # Panics
/// If it is not an RSA key.
#[must_use]
pub fn wrap_with_aes(public: &[u8], material: &[u8]) -> Vec<u8> {
    let public = PublicKey::from_public_key_der(public).expect("an RSA key");
    let mut rng = getrandom::SysRng;
    let mut wrapped = public.encrypt(&mut rng, Oaep::<Sha256>::new(), &KEY).expect("32 bytes fit");
    let mut body = vec![0; material.len().next_multiple_of(8) + 8];
    let kwp = KwpAes256::new(&KEY.into());
    wrapped.extend_from_slice(kwp.wrap_key(material, &mut body).expect("room for all"));
    wrapped
}

/// Wrapped key material on its way.
#[derive(Debug)]
pub struct Parcel {
    id: KeyId,
    now_ms: u64,
    token: Vec<u8>,
    wrapped: Vec<u8>,
}

impl Parcel {
    /// Its import.
    #[must_use]
    pub fn command(&self) -> ImportKey<'_> {
        let (token, wrapped) = (Bytes(&self.token), Bytes(&self.wrapped));
        ImportKey { id: self.id, now_ms: self.now_ms, token, wrapped }
    }
}
